"""Compute-optimal phases of one-pass SGD on power-law random features ("4+3 phases").

Loss and model size at the optimal split of a compute budget f = size x samples follow
P ~ f^-eta and d ~ f^xi; which two terms of the loss balance decides the pair. Letters of this
toolkit: spectrum i^-a, loss per mode i^-b. The paper's are spectrum j^-2 alpha and target j^-beta,
so a = 2 alpha and b = 2 alpha + 2 beta; `from_random_features` translates.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real
from theory.problem import PowerLawQuadratic
from theory.spectrum import as_spectrum, mode_sum

# Where phase IV splits, 2 alpha = 2 - sqrt(2) in the paper's letters.
PHASE_FOUR_SPLIT = 2.0 - math.sqrt(2.0)

# Which two terms of the loss are equal at the optimum: pp, the risk of the leading modes; ac, their
# tail seen through the random features; 0, the floor of the size; Kpp, the noise of the batch.
BALANCES = {
    "Ia": ("F_pp", "F_0"),
    "Ib": ("F_pp", "F_0"),
    "Ic": ("F_pp", "F_0"),
    "II": ("F_pp", "F_ac"),
    "III": ("K_pp", "F_ac"),
    "IVa": ("K_pp", "F_0"),
    "IVb": ("F_pp", "K_pp"),
}


class ComputeOptimal(NamedTuple):
    """Compute-optimal law P ~ f^-loss_exponent, d ~ f^size_exponent.

    Attributes:
        phase: name of the phase, "Ia" .. "IVb".
        loss_exponent: eta > 0.
        size_exponent: xi in (0, 1).
        proven: False in the phases that the paper only conjectures.
    """

    phase: str
    loss_exponent: float
    size_exponent: float
    proven: bool


def from_random_features(alpha: Real, beta: Real) -> tuple[Real, Real]:
    """Exponents (a, b) = (2 alpha, 2 alpha + 2 beta) from those of the random-feature model.

    Args:
        alpha: exponent of the features, x_j = j^-alpha z_j.
        beta: exponent of the target, b_j = j^-beta.

    Returns:
        Capacity exponent a and source exponent b.

    Kind: definition.
    Valid: alpha > 0, alpha + beta > 1/2 (finite loss).
    Source: Paquette et al. 2024 (arXiv 2405.15074) section 1; lam_j (w_j)^2 = j^-2alpha j^-2beta.
    """
    return 2.0 * alpha, 2.0 * alpha + 2.0 * beta


def to_random_features(capacity_exponent: Real, source_exponent: Real) -> tuple[Real, Real]:
    """Exponents (alpha, beta) = (a/2, (b - a)/2) of the random-feature model.

    Args:
        capacity_exponent: a > 0.
        source_exponent: b > 1.

    Returns:
        alpha and beta.

    Kind: definition.
    Valid: a > 0, b > 1.
    Source: inverse of `from_random_features`.
    """
    return capacity_exponent / 2.0, (source_exponent - capacity_exponent) / 2.0


def phase(capacity_exponent: float, source_exponent: float) -> str:
    """Name of the phase of (a, b).

    Args:
        capacity_exponent: a > 0.
        source_exponent: b > 1.

    Returns:
        "Ia", "Ib", "Ic", "II", "III", "IVa" or "IVb"; a boundary belongs to the phase with the
        smaller source, then to that with the smaller capacity. The loss exponent is continuous; the
        size exponent jumps between IVa and IVb, where two splits of the compute tie.

    Raises:
        ValueError: if an exponent is outside its domain.

    Kind: exact.
    Valid: a > 0, b > 1.
    Source: Paquette et al. 2024 (arXiv 2405.15074) figure 2 and table 1, in the letters (a, b):
        2 beta < 1 is b < a + 1, beta < alpha is b < 2 a.
    """
    check_real("capacity_exponent", capacity_exponent, above=0.0)
    check_real("source_exponent", source_exponent, above=1.0)
    a, b = capacity_exponent, source_exponent
    if b <= a + 1.0:
        return "Ib" if a <= 1.0 else "Ia"
    if a > 1.0:
        return "II" if b <= 2.0 * a else "III"
    if a <= 0.5:
        return "Ic"
    return "IVb" if a <= PHASE_FOUR_SPLIT else "IVa"


def compute_optimal(capacity_exponent: float, source_exponent: float) -> ComputeOptimal:
    """Compute-optimal exponents of one-pass SGD on random features.

    Args:
        capacity_exponent: a > 0.
        source_exponent: b > 1.

    Returns:
        A `ComputeOptimal`.

    Raises:
        ValueError: if an exponent is outside its domain.

    Kind: asymptotic (f -> infinity); finite-size exponents differ by 0.01 .. 0.07 at d <= 1024.
    Valid: a > 0, b > 1; Gaussian features, more hidden than trained dimensions, no label noise,
        step size of order 1 / trace. Phases Ib and Ic below a = 1/2 are conjectured.
    Source: Paquette et al. 2024 (arXiv 2405.15074) table 1; re-derived by balancing `BALANCES`.
    """
    name = phase(capacity_exponent, source_exponent)
    a, b = capacity_exponent, source_exponent
    loss, size = {
        "Ia": lambda: ((b - 1) / (a + 1), 1 / (a + 1)),
        "Ib": lambda: ((b - 1) / 2, 1 / 2),
        "Ic": lambda: _conjectured(a, b),
        "II": lambda: ((b - 1) / b, (b - a) / b),
        "III": lambda: (1 - 1 / (2 * a), 1 / 2),
        "IVa": lambda: (a / 2, 1 / 2),
        "IVb": lambda: _noise_limited(a, b),
    }[name]()
    return ComputeOptimal(name, loss, size, proven=name not in ("Ib", "Ic") or a >= 0.5)


def _conjectured(a: float, b: float) -> tuple[float, float]:
    denominator = 2.0 * (b - a - 1.0) - a * (b - a - 3.0)
    return a * (b - 1.0) / denominator, (b - 1.0) / denominator


def _noise_limited(a: float, b: float) -> tuple[float, float]:
    denominator = 2.0 * (b - a) - a - a * (b - a)
    return (1.0 - a) * (b - 1.0) / denominator, (b - 2.0 * a) / denominator


def random_feature_resolution(problem: PowerLawQuadratic, features: Real) -> jax.Array:
    """Scale c at which `features` random projections resolve the spectrum.

    The root of sum_j lam_j c / (1 + lam_j c) = features: mode j is learned where lam_j c >> 1.

    Args:
        problem: the quadratic; its size is the number v of hidden dimensions.
        features: d in (0, v), number of random features.

    Returns:
        A scalar, c > 0.

    Raises:
        ValueError: if `features` is outside its domain.

    Kind: exact solution of the deterministic equivalent, to rounding.
    Valid: 0 < d < v.
    Source: Paquette et al. 2024 (arXiv 2405.15074), the fixed point of the resolvent at z -> 0; for
        v -> infinity and a > 1, c d^-a -> ((pi/a) / sin(pi/a))^-a.
    """
    check_real("features", features, above=0.0, below=math.floor(problem.size))
    return _resolution(problem, jnp.asarray(features, float))


@jax.jit
def _resolution(problem: PowerLawQuadratic, features: jax.Array) -> jax.Array:
    spectrum = as_spectrum(problem)

    def resolved(log_scale: jax.Array) -> jax.Array:
        x = spectrum.eigenvalues * jnp.exp(log_scale)
        return mode_sum(spectrum, x / (1.0 + x))

    def halve(_: int, bracket: tuple) -> tuple:
        low, high = bracket
        middle = (low + high) / 2
        too_few = resolved(middle) < features
        return jnp.where(too_few, middle, low), jnp.where(too_few, high, middle)

    # sum >= v lam_v c / (1 + lam_v c) above, <= c sum lam below.
    trace = mode_sum(spectrum, spectrum.eigenvalues)
    count = jnp.sum(spectrum.weights)
    smallest = jnp.min(spectrum.eigenvalues)
    low = jnp.log(features / trace)
    high = jnp.log(features / (count - features) / smallest)
    bracket = jax.lax.fori_loop(0, 64, halve, (low, high))
    return jnp.exp((bracket[0] + bracket[1]) / 2)


def random_feature_floor(problem: PowerLawQuadratic, features: Real) -> jax.Array:
    """Loss that `features` random features leave after infinite training.

    1/2 sum_j i^-b / (1 + lam_j c), c of `random_feature_resolution`.

    Args:
        problem: the quadratic; its size is the number v of hidden dimensions.
        features: d in (0, v).

    Returns:
        A scalar, without the irreducible loss and without dimensions beyond v.

    Raises:
        ValueError: if `features` is outside its domain.

    Kind: asymptotic (d -> infinity at fixed v/d), the deterministic equivalent.
    Valid: 0 < d < v; relative spread between draws of the features decreases with d.
    Source: Paquette et al. 2024 (arXiv 2405.15074), F_0; our loss is half of theirs.
    """
    scale = random_feature_resolution(problem, features)
    spectrum = as_spectrum(problem)
    left = spectrum.energies / (1.0 + spectrum.eigenvalues * scale)
    return mode_sum(spectrum, left) / 2
