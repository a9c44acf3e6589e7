"""Runs gradient methods on the proxy problems."""

from simulate.adaptive import (
    adam,
    adamw,
    lion,
    optax_muon,
)
from simulate.bigram import (
    Bigram,
    ExponentEstimate,
    SampledBigram,
    bigram,
    bigram_spectrum,
    measure_exponents,
)
from simulate.dana import dana
from simulate.least_squares import (
    DataLeastSquares,
    LeastSquares,
    least_squares,
)
from simulate.lmo import (
    LmoMethod,
    muon,
    normalized_sgd,
    scale_by_lmo,
    scion_hidden,
    scion_input,
    scion_output,
    signum,
    spectral_descent,
)
from simulate.matrix_problems import (
    MatrixLeastSquares,
    MatrixQuadratic,
    matrix_least_squares,
    matrix_quadratic,
)
from simulate.optimizers import nesterov, sgd
from simulate.problems import (
    DiagonalQuadratic,
    Problem,
    RotatedQuadratic,
    diagonal_quadratic,
    rotated_quadratic,
)
from simulate.random_features import RandomFeatures, random_features
from simulate.schedules import Scheduled
from simulate.shampoo import Shampoo, shampoo
from simulate.sketched_matrix import SketchedMatrix, sketched_matrix
from simulate.soap import Soap, soap
from simulate.sweep import (
    Ensemble,
    ensemble,
    sweep,
)
from simulate.text import (
    BigramCounts,
    count_bigrams,
    read_text,
)
from simulate.trajectory import (
    NEVER,
    Trajectory,
    record_steps,
    simulate,
)
from simulate.tuning import Tuned, tune_learning_rate

__all__ = [
    "NEVER",
    "Bigram",
    "BigramCounts",
    "DataLeastSquares",
    "DiagonalQuadratic",
    "Ensemble",
    "ExponentEstimate",
    "LeastSquares",
    "LmoMethod",
    "MatrixLeastSquares",
    "MatrixQuadratic",
    "Problem",
    "RandomFeatures",
    "RotatedQuadratic",
    "SampledBigram",
    "Scheduled",
    "Shampoo",
    "SketchedMatrix",
    "Soap",
    "Trajectory",
    "Tuned",
    "adam",
    "adamw",
    "bigram",
    "bigram_spectrum",
    "count_bigrams",
    "dana",
    "diagonal_quadratic",
    "ensemble",
    "least_squares",
    "lion",
    "matrix_least_squares",
    "matrix_quadratic",
    "measure_exponents",
    "muon",
    "nesterov",
    "normalized_sgd",
    "optax_muon",
    "random_features",
    "read_text",
    "record_steps",
    "rotated_quadratic",
    "scale_by_lmo",
    "scion_hidden",
    "scion_input",
    "scion_output",
    "sgd",
    "shampoo",
    "signum",
    "simulate",
    "sketched_matrix",
    "soap",
    "spectral_descent",
    "sweep",
    "tune_learning_rate",
]
