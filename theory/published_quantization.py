"""Published measurements of quantized training, as data with source and confidence.

Vlassis et al. 2025 (arXiv 2509.23500) compare optimizers under post-training quantization and
quantization-aware training; none of its numbers below was read in the paper itself. QuEST (arXiv
2502.05003) publishes runs and a fit. How a number is known: `digest` read in somebody else's
account, `digests` in two that agree, `code` in the authors' repository.
"""

from collections.abc import Mapping
from dataclasses import dataclass

KNOWN = ("code", "digests", "digest")
_OUTLIERS = "Vlassis et al. 2025 (arXiv 2509.23500)"


@dataclass(frozen=True)
class Efficiency:
    """rho of a one-term law L = A' (N rho)^-alpha + E at 4 bits, with the law's E.

    Attributes:
        rho: size of a full-precision model of the same loss, over N.
        irreducible: E; from one account only, and not to be ranked: six sizes do not determine it.
        known: how rho is known.
    """

    rho: float
    irreducible: float
    known: str


# Quantization-aware training at 4 bits (QuEST's method), D / N = 20, sizes 50M to 1.5B. Five of the
# six rho have a second account that agrees. A', alpha and leave-one-out intervals: not recovered.
QAT_EFFICIENCY: Mapping[str, Efficiency] = {
    "adamw": Efficiency(0.863, 1.40, "digest"),
    "muon": Efficiency(0.852, 1.85, "digest"),
    "psgd": Efficiency(0.739, 1.39, "digest"),
    "scion": Efficiency(0.856, 1.75, "digest"),
    "shampoo": Efficiency(0.879, 1.72, "digest"),
    "soap": Efficiency(0.822, 2.22, "digest"),
}
QAT_SOURCE = f"{_OUTLIERS}, table of the quantized law"


@dataclass(frozen=True)
class Correlations:
    """Pearson correlations of a metric with accuracy after 4-bit post-training quantization.

    Attributes:
        max_to_median: of MMR; positive: more outliers went with better accuracy.
        kurtosis: which of the two kurtoses is not known.
        relative_error: of R at the last layer.
        size: of the models.
        known: how they are known.
    """

    max_to_median: float
    kurtosis: float
    relative_error: float
    size: str
    known: str


# Another account calls the first two about zero; a third gives 0.70 to R: both look misread.
PTQ_CORRELATIONS = Correlations(0.62, 0.70, -0.89, "760M", "digests")

# Orders that are stated in words: outliers, and the gain of linear layers.
LEAST_OUTLIERS, MOST_OUTLIERS = "muon", "shampoo"
HIGHEST_GAIN, LOWEST_GAINS = "muon", ("adamw", "shampoo")

# Mean zero-shot accuracy in percent by size: full precision; after 4-bit post-training quantization
# of checkpoints at one common loss; after 4-bit quantization-aware training. Known: digest (the
# 500M row of the second: digests). The second minus the first is no drop: other checkpoints.
ACCURACY: Mapping[str, Mapping[str, float]] = {
    "50M": {"adamw": 43.75, "muon": 45.03, "shampoo": 44.81},
    "125M": {"adamw": 48.64, "muon": 49.62, "shampoo": 49.53},
    "350M": {"adamw": 56.58, "muon": 58.08, "shampoo": 56.51},
    "760M": {"adamw": 63.90, "muon": 64.63, "shampoo": 63.05},
    "1.5B": {"adamw": 67.93, "muon": 69.19, "shampoo": 68.16},
}
PTQ_ACCURACY: Mapping[str, Mapping[str, float]] = {
    "350M": {
        "adamw": 49.23,
        "muon": 47.42,
        "psgd": 50.09,
        "scion": 49.80,
        "shampoo": 53.93,
        "soap": 49.08,
    },
    "500M": {"adamw": 55.17, "muon": 50.60, "shampoo": 55.65},
    "760M": {
        "adamw": 59.22,
        "muon": 50.00,
        "psgd": 52.11,
        "scion": 53.74,
        "shampoo": 59.26,
        "soap": 46.22,
    },
    "1.5B": {"adamw": 62.51, "muon": 47.75, "shampoo": 63.88},
}
QAT_ACCURACY: Mapping[str, Mapping[str, float]] = {
    "350M": {"adamw": 54.64, "muon": 55.19, "shampoo": 55.02},
    "500M": {"adamw": 60.07, "muon": 61.05, "shampoo": 60.80},
    "760M": {"adamw": 62.22, "muon": 62.32, "shampoo": 62.76},
    "1.5B": {"adamw": 66.82, "muon": 67.08, "shampoo": 67.34},
}
# Printed beside them: percent of the full-precision accuracy that is lost, relative, as the
# accuracies say (not recovered at 500M); but for Muon at 1.5B, where 2.11 is the difference in
# points and 3.05 the relative loss.
QAT_DROP: Mapping[str, Mapping[str, float]] = {
    "350M": {"adamw": -3.43, "muon": -4.98, "shampoo": -2.64},
    "500M": {"adamw": -0.53, "muon": -0.73, "shampoo": -0.38},
    "760M": {"adamw": -2.63, "muon": -3.57, "shampoo": -0.46},
    "1.5B": {"adamw": -1.63, "muon": -2.11, "shampoo": -1.20},
}
STEP_SECONDS: Mapping[str, float] = {"adamw": 6.28, "shampoo": 8.38}  # 760M; known: digest


@dataclass(frozen=True)
class QuantizedFit:
    """A published fit of L = A (N eff)^-alpha + B D^-beta + E to the runs of several formats.

    Attributes:
        irreducible: E.
        size_coefficient: A.
        size_exponent: alpha.
        tokens_coefficient: B.
        tokens_exponent: beta.
        efficiency: eff by format, 1 for the reference; `4`: weights and activations of 4 bits after
            a Hadamard rotation, `4NOH`: without it, `4WO`: weights only, `2:4`: 4 bits and half of
            the weights zero, `fp4`.
        reference: the format of efficiency 1.
        half_squares: half the sum of squared residuals of log loss there; printed times 1e-6,
            because residuals were multiplied by 1e-3 (which makes its Huber loss plain squares).
        known: how it is known.
        source: where it is printed.
    """

    irreducible: float
    size_coefficient: float
    size_exponent: float
    tokens_coefficient: float
    tokens_exponent: float
    efficiency: Mapping[str, float]
    reference: str
    half_squares: float
    known: str
    source: str


QUEST_FIT = QuantizedFit(
    irreducible=0.0014232897805828435,
    size_coefficient=8.134031011055859,
    size_exponent=0.062726522,
    tokens_coefficient=86.41190623830154,
    tokens_exponent=0.241288351,
    efficiency={
        "16": 1.0,
        "1": 0.0205046859,
        "2": 0.151870911,
        "3": 0.433126203,
        "4": 0.691831718,
        "8": 1.01619263,
        "fp4": 0.629639028,
        "2:4": 0.381222089,
        "1NOH": 0.0155770373,
        "2NOH": 0.0784119072,
        "3NOH": 0.322107861,
        "4NOH": 0.603270679,
        "8NOH": 0.937628722,
        "1WO": 0.138419575,
        "2WO": 0.413717453,
        "3WO": 0.653058816,
        "4WO": 0.840434222,
    },
    reference="16",
    half_squares=7.38431448432692e-4,
    known="code",
    source="output of the notebook of QuEST's repository (arXiv 2502.05003); 104 runs",
)


def quest_format(weight_quantizer: str, activation_quantizer: str, weight_bits: int) -> str:
    """Key of `QUEST_FIT.efficiency` that a run counts under.

    Args:
        weight_quantizer: name in the runs' table, for example HalfHadamardTrustQuantizer.
        activation_quantizer: the same for activations.
        weight_bits: of the weights.

    Returns:
        The format.

    Kind: definition.
    Valid: the names of those runs.
    Source: the same notebook; variants of one quantizer count as one format.
    """
    if "FourEight" in weight_quantizer:
        return "2:4"
    if "FP4" in weight_quantizer:
        return "fp4"
    if weight_quantizer == activation_quantizer == "NoQuantizer":
        return QUEST_FIT.reference
    rotated = "Hadamard" in weight_quantizer
    kind = "WO" if activation_quantizer == "NoQuantizer" else "" if rotated else "NOH"
    return f"{weight_bits}{kind}"
