"""Exact curves, asymptotics, bounds and laws of gradient methods on power-law quadratics."""

from theory.decomposition import Decomposition
from theory.fit_uncertainty import bootstrap, conditioning, percentile_intervals, warnings_of
from theory.fitting import Fit, Runs, fit_chinchilla, runs
from theory.laws import Chinchilla, chinchilla, compute_exponents, compute_optimal
from theory.linear_methods import (
    gd,
    gd_asymptote,
    gd_asymptote_window,
    loss_exponents,
    preconditioned_gd,
)
from theory.problem import PowerLawQuadratic, power_law
from theory.sgd import critical_learning_rate, propagator, sgd, stability_sum
from theory.spectrum import Spectrum, approximation_error, compress, explicit_spectrum

__all__ = [
    "Chinchilla",
    "Decomposition",
    "Fit",
    "PowerLawQuadratic",
    "Runs",
    "Spectrum",
    "approximation_error",
    "bootstrap",
    "chinchilla",
    "compress",
    "compute_exponents",
    "compute_optimal",
    "conditioning",
    "critical_learning_rate",
    "explicit_spectrum",
    "fit_chinchilla",
    "gd",
    "gd_asymptote",
    "gd_asymptote_window",
    "loss_exponents",
    "percentile_intervals",
    "power_law",
    "preconditioned_gd",
    "propagator",
    "runs",
    "sgd",
    "stability_sum",
    "warnings_of",
]
