"""The methods compared on matrices, without momentum, and what theory says of each.

Where a method works on a spectrum, the loss is exact: gradient descent and its normalized form see
the entries of W in the eigenbases of A and B however the problem is turned, sign descent sees them
only where those are the coordinates, and spectral descent sees singular values only where W* shares
the bases of A and B.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.methods import (
    Exponent,
    gd_exponent,
    no_exponent,
    normalized_curve,
    sign_exponent,
)
from experiments.tuned_curves import Curve, rate_grid
from simulate.adaptive import adam
from simulate.lmo import normalized_sgd, signum, spectral_descent
from simulate.optimizers import OptimizerFactory, sgd
from simulate.shampoo import shampoo
from simulate.soap import soap
from simulate.tuning import Tuned, tune_learning_rate
from theory.linear_methods import gd
from theory.problem import PowerLawQuadratic
from theory.sign_methods import sign_descent
from theory.spectrum import Spectrum

# A rate is judged by its two neighbours: methods with steps of fixed length have needles.
SPACING = 0.1
WIDTH = 1

Modes = PowerLawQuadratic | Spectrum


def _gd_curve(modes: Modes, rate: float, steps: np.ndarray) -> np.ndarray:
    return np.asarray(gd(modes, rate, steps).bias)


def _sign_curve(modes: Modes, rate: float, steps: np.ndarray) -> np.ndarray:
    return np.asarray(sign_descent(modes, rate, steps).bias)


@dataclass(frozen=True)
class Method:
    """A method of this study.

    Attributes:
        optimizer: factory.
        rates: lowest and highest learning rate on the power-law matrices.
        text_rates: the same on text, for GD in units of the inverse largest eigenvalue. None: the
            method is left out there.
        derived: exponent of the tuned loss on the aligned problem; NaN where none is known.
        curve: exact loss on the modes that the method sees; None without theory.
        sees: on which alignments it sees modes: `entries` of the matrix in the eigenbases of A and
            B, or `singular` values of W*.
        hyperparameters: the same for every rate.
    """

    optimizer: OptimizerFactory
    rates: tuple[float, float]
    text_rates: tuple[float, float] | None = None
    derived: Exponent = no_exponent
    curve: Curve | None = None
    sees: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, float] = field(default_factory=dict)


_ANY_BASIS = {"aligned": "singular", "turned": "singular", "crossed": "entries"}
_AVERAGES = {"momentum": 0.0, "second_momentum": 0.95}

METHODS: dict[str, Method] = {
    "gd": Method(sgd, (0.5, 2.6), (0.5, 2.6), gd_exponent, _gd_curve, _ANY_BASIS),
    "normalized_sgd": Method(
        normalized_sgd, (0.005, 0.6), (0.01, 1.0), gd_exponent, normalized_curve, _ANY_BASIS
    ),
    "sign": Method(
        signum,
        (0.002, 0.4),
        (0.0005, 0.2),
        sign_exponent,
        _sign_curve,
        {"aligned": "singular", "crossed": "entries"},
    ),
    "adam": Method(adam, (0.005, 0.6), (0.0005, 0.2), hyperparameters=_AVERAGES),
    "muon": Method(
        spectral_descent,
        (0.008, 0.5),
        (0.005, 0.6),
        sign_exponent,
        _sign_curve,
        {"aligned": "singular", "turned": "singular"},
    ),
    "shampoo": Method(shampoo, (0.05, 2.0)),
    "soap": Method(soap, (0.008, 0.6), hyperparameters=_AVERAGES | {"basis_momentum": 0.95}),
}
TEXT_METHODS = tuple(name for name, method in METHODS.items() if method.text_rates)


def tuned_run(method: Method, problem: Any, steps: np.ndarray, span: tuple[float, float]) -> Tuned:
    """Simulates all rates and tunes at every horizon, a rate judged over its neighbours."""
    return tune_learning_rate(
        problem,
        method.optimizer,
        steps,
        rate_grid(*span, SPACING),
        hyperparameters=method.hyperparameters,
        tolerance=SPACING * WIDTH,
    )
