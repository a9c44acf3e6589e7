"""Runs gradient methods on the proxy problems."""

from simulate.bigram import (
    Bigram,
    ExponentEstimate,
    SampledBigram,
    bigram,
    bigram_spectrum,
    measure_exponents,
)
from simulate.least_squares import DataLeastSquares, LeastSquares, least_squares
from simulate.optimizers import nesterov, sgd
from simulate.problems import (
    DiagonalQuadratic,
    Problem,
    RotatedQuadratic,
    diagonal_quadratic,
    rotated_quadratic,
)
from simulate.sweep import Ensemble, ensemble, sweep
from simulate.text import BigramCounts, count_bigrams, read_text
from simulate.trajectory import NEVER, Trajectory, record_steps, simulate

__all__ = [
    "NEVER",
    "Bigram",
    "BigramCounts",
    "DataLeastSquares",
    "DiagonalQuadratic",
    "Ensemble",
    "ExponentEstimate",
    "LeastSquares",
    "Problem",
    "RotatedQuadratic",
    "SampledBigram",
    "Trajectory",
    "bigram",
    "bigram_spectrum",
    "count_bigrams",
    "diagonal_quadratic",
    "ensemble",
    "least_squares",
    "measure_exponents",
    "nesterov",
    "read_text",
    "record_steps",
    "rotated_quadratic",
    "sgd",
    "simulate",
    "sweep",
]
