"""Published measurements of tuned runs, as data: Filatov et al. 2025 (arXiv 2510.03871 v1).

All numbers are read in the paper. Not known: seeds and spread behind a single entry, and for the
larger models which panel of the figure is which (inferred from their order). Laws that were fitted
to them, and others: `theory.published_laws`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LossTable:
    """Smallest training loss over the learning rate, and the output layer's norm there.

    Attributes:
        tokens: D of the rows, [rows].
        batch_sizes: B of the columns in samples of 4096 tokens, [columns].
        loss: [rows, columns].
        log2_norm: of the output matrix, RMS to max norm, [rows, columns].
        best: B printed in bold in each row, [rows].
    """

    tokens: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    loss: tuple[tuple[float, ...], ...]
    log2_norm: tuple[tuple[float, ...], ...]
    best: tuple[int, ...]


@dataclass(frozen=True)
class ModelRow:
    """Losses of a larger model at D = 2^33 for B = 32..1024.

    Attributes:
        name: what was scaled.
        width: embedding dimension.
        layers: number of blocks.
        parameters: N, as printed.
        loss: over `MODEL_BATCH_SIZES`.
        best: B printed in bold.
    """

    name: str
    width: int
    layers: int
    parameters: float
    loss: tuple[float, ...]
    best: int


# Llama-type proxy of 69M parameters (width 256, 4 layers), Scion without momentum, weight decay or
# warm-up, constant learning rate; minima of fitted parabolas. Known: paper.
LOSS_TABLE = LossTable(
    tokens=(2**31, 2**33, 2**35, 2**37),
    batch_sizes=(32, 64, 128, 256, 512, 1024, 2048),
    loss=(
        (4.58, 4.41, 4.40, 4.51, 4.70, 5.05, 5.39),
        (4.59, 4.28, 4.15, 4.19, 4.24, 4.29, 4.55),
        (4.56, 4.28, 4.12, 4.02, 3.97, 4.03, 4.09),
        (4.67, 4.47, 4.19, 3.97, 3.88, 3.86, 3.92),
    ),
    log2_norm=(
        (7.65, 7.26, 6.92, 6.73, 6.18, 5.88, 5.45),
        (7.87, 7.64, 7.29, 6.91, 6.44, 6.21, 6.23),
        (8.00, 7.97, 7.75, 7.28, 6.89, 6.43, 6.52),
        (8.36, 7.88, 7.58, 7.67, 7.33, 6.95, 6.75),
    ),
    best=(128, 128, 512, 1024),
)
SAMPLE_TOKENS = 4096  # context of all runs of the table

# Which panel of the figure is which model is inferred from their order.
MODEL_BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
MODEL_TOKENS = 2**33
MODEL_ROWS = (
    ModelRow("wider x4", 1024, 4, 314e6, (3.92, 3.77, 3.71, 3.73, 3.80, 4.01), 128),
    ModelRow("wider x12", 3072, 4, 1.3e9, (3.69, 3.55, 3.56, 3.60, 3.70, 3.93), 64),
    ModelRow("deeper x8", 256, 32, 91e6, (4.11, 3.97, 3.91, 3.95, 4.03, 4.32), 128),
    ModelRow("deeper x32", 256, 128, 168e6, (3.94, 3.88, 3.86, 3.91, 4.01, 4.26), 128),
)
OPTIMAL_LOG2_NORM = (7.0, 0.2)  # proxy, all horizons: value and error
OPTIMAL_LOG2_NORM_MODELS = (7.4, 0.2)  # all models at 2^33 tokens

# Learning rates of input, hidden and output layers that are always in the best tenth, and what they
# gain: tokens, loss with them, loss with equal rates (B = 512).
LAYER_RATES = (1.0, 1.0 / 8.0, 1.0)
LAYER_GAINS = ((2**29, 5.10, 5.45), (2**31, 4.38, 4.66), (2**33, 4.06, 4.22), (2**35, 3.93, 4.00))
