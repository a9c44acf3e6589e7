"""The methods whose scaling is compared: how each is simulated, and what theory says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.aligned_methods import aligned_muon, aligned_shampoo
from experiments.tuned_curves import Curve
from simulate.adaptive import adam, lion
from simulate.least_squares import least_squares
from simulate.lmo import muon, normalized_sgd, signum
from simulate.matrix_problems import matrix_quadratic
from simulate.optimizers import nesterov, sgd
from simulate.problems import DiagonalQuadratic, diagonal_quadratic, rotated_quadratic
from simulate.soap import Soap
from theory.accelerated import heavy_ball as heavy_ball_curve
from theory.accelerated import nesterov as nesterov_curve
from theory.linear_methods import gd, loss_exponents, preconditioned_gd
from theory.normalized_methods import normalized_gd
from theory.problem import PowerLawQuadratic
from theory.sgd import sgd as sgd_curve
from theory.sign_methods import sign_descent, sign_descent_exponents

MOMENTUM = 0.8
PRECONDITIONER = 0.5
BATCH_SIZE = 4.0

Exponent = Callable[[PowerLawQuadratic], float]


@dataclass(frozen=True)
class Method:
    """A method on a problem.

    Attributes:
        label: in tables.
        family: key of the palette of figures.
        build: power-law problem and random key to a problem to simulate.
        optimizer: factory of an optax transformation.
        rates: lowest and highest learning rate the search starts from.
        derived: exponent of the tuned optimization error in T; NaN where none is derived.
        why: the argument for it, in a clause.
        kind: which sizes and horizons fit it: `modes`, `stochastic`, `dense` or `matrix`.
        hyperparameters: the same for every rate.
        curve: exact optimization error, where theory has it.
        curve_steps: horizons at which the exact curve is judged, at sizes no simulation reaches.
        curve_rates: range of the rates there; None: `rates`.
    """

    label: str
    family: str
    build: Callable[[PowerLawQuadratic, jax.Array], Any]
    optimizer: Any
    rates: tuple[float, float]
    derived: Exponent
    why: str
    kind: str = "modes"
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    curve: Curve | None = None
    curve_steps: tuple[float, ...] = tuple(2.0 ** np.arange(4, 13))
    curve_rates: tuple[float, float] | None = None


def diagonal(problem: PowerLawQuadratic, key: jax.Array) -> DiagonalQuadratic:
    """The problem in its eigenbasis."""
    del key
    return diagonal_quadratic(problem)


def preconditioned(problem: PowerLawQuadratic, key: jax.Array) -> DiagonalQuadratic:
    """The problem with gradients multiplied by lam^-p: what a method sees behind a fixed one."""
    plain = diagonal(problem, key)
    return replace(plain, curvature=plain.eigenvalues ** (1 - PRECONDITIONER))


def rotated(problem: PowerLawQuadratic, key: jax.Array) -> Any:
    """The problem in a uniformly random basis."""
    return rotated_quadratic(problem, key)


def regression(problem: PowerLawQuadratic, key: jax.Array) -> Any:
    """One-pass least squares."""
    del key
    return least_squares(problem, BATCH_SIZE)


def matrix(problem: PowerLawQuadratic, key: jax.Array, alignment: str) -> Any:
    """The matrix quadratic."""
    return matrix_quadratic(problem, alignment=alignment, key=key)


def gd_exponent(problem: PowerLawQuadratic) -> float:
    """(b - 1)/a."""
    return float(loss_exponents(problem)[1])


def _preconditioned_exponent(problem: PowerLawQuadratic) -> float:
    return float(loss_exponents(problem, PRECONDITIONER)[1])


def _sgd_exponent(problem: PowerLawQuadratic) -> float:
    beta = gd_exponent(problem)
    return beta / (1 + beta)


def sign_exponent(problem: PowerLawQuadratic) -> float:
    """Of sign descent; NaN where it has none."""
    return sign_descent_exponents(problem).beta


def no_exponent(problem: PowerLawQuadratic) -> float:
    """NaN: none is derived."""
    del problem
    return np.nan


def normalized_curve(modes: Any, rate: float, steps: np.ndarray) -> Any:
    """Optimization error of normalized GD on a problem or a spectrum."""
    whole = steps.astype(int)
    return normalized_gd(modes, np.full(int(whole[-1]), rate)).optimization[whole]


METHODS: dict[str, Method] = {
    "gd": Method(
        "GD",
        "gd",
        diagonal,
        sgd,
        (0.6, 2.4),
        gd_exponent,
        "(b-1)/a",
        curve=lambda p, rate, t: gd(p, rate, t).optimization,
    ),
    "preconditioned": Method(
        "GD behind lam^-1/2",
        "gd",
        preconditioned,
        sgd,
        (0.6, 2.4),
        _preconditioned_exponent,
        "(b-1)/(a(1-p))",
        curve=lambda p, rate, t: preconditioned_gd(p, rate, t, PRECONDITIONER).optimization,
    ),
    "momentum": Method(
        "heavy ball 0.8",
        "momentum",
        diagonal,
        sgd,
        (0.3, 4.2),
        gd_exponent,
        "GD with the rate eta/(1-momentum)",
        hyperparameters={"momentum": MOMENTUM},
        curve=lambda p, rate, t: heavy_ball_curve(p, rate, MOMENTUM, t).optimization,
    ),
    "nesterov": Method(
        "Nesterov 0.8",
        "nesterov",
        diagonal,
        nesterov,
        (0.3, 2.4),
        gd_exponent,
        "GD with the rate eta/(1-momentum)",
        hyperparameters={"momentum": MOMENTUM},
        curve=lambda p, rate, t: nesterov_curve(p, rate, MOMENTUM, t).optimization,
    ),
    "sgd": Method(
        f"SGD, batch {BATCH_SIZE:.0f}",
        "sgd",
        regression,
        sgd,
        (0.03, 1.5),
        _sgd_exponent,
        "beta/(1+beta), bias against noise",
        kind="stochastic",
        curve=lambda p, rate, t: sgd_curve(p, rate, BATCH_SIZE, t).optimization,
        curve_steps=tuple(10.0 ** np.arange(4, 13)),
        curve_rates=(1e-7, 1.5),
    ),
    "normalized": Method(
        "normalized GD",
        "normalized_sgd",
        diagonal,
        normalized_sgd,
        (0.004, 0.6),
        gd_exponent,
        "GD's, were eta/|g| to stay near its stability limit",
        curve=normalized_curve,
        curve_steps=tuple(2.0 ** np.arange(4, 11)),
        curve_rates=(5e-4, 0.6),
    ),
    "sign": Method(
        "sign descent",
        "sign",
        diagonal,
        signum,
        (0.001, 0.5),
        sign_exponent,
        "2 for b >= a > 1, 2(b-1)/(a-1) for 1 < b < a, none for a <= 1",
        curve=lambda p, rate, t: sign_descent(p, rate, t).optimization,
        # Odd: at even horizons every mode nearer than one step is back at its start.
        curve_steps=tuple(4.0 ** np.arange(2, 11) + 1),
        curve_rates=(1e-7, 1.0),
    ),
    "signum": Method(
        "Signum 0.8",
        "sign",
        diagonal,
        signum,
        (0.001, 0.5),
        sign_exponent,
        "sign descent's",
        hyperparameters={"momentum": MOMENTUM},
    ),
    "lion": Method("Lion", "scion", diagonal, lion, (0.001, 0.5), sign_exponent, "sign descent's"),
    "adam": Method("Adam", "adam", diagonal, adam, (0.001, 0.8), no_exponent, "none known"),
    "rotated gd": Method(
        "GD, rotated basis",
        "gd",
        rotated,
        sgd,
        (0.6, 2.4),
        gd_exponent,
        "(b-1)/a, whatever the basis",
        kind="dense",
        curve=lambda p, rate, t: gd(p, rate, t).optimization,
    ),
    "rotated sign": Method(
        "sign descent, rotated basis",
        "sign",
        rotated,
        signum,
        (0.001, 0.5),
        sign_exponent,
        "sign descent's, were it free of the basis",
        kind="dense",
    ),
    "muon": Method(
        "Muon, aligned",
        "muon",
        diagonal,
        aligned_muon,
        (0.001, 0.5),
        sign_exponent,
        "sign descent's, were its iterations exact",
    ),
    "muon crossed": Method(
        "Muon, crossed",
        "muon",
        partial(matrix, alignment="crossed"),
        muon,
        (0.004, 0.5),
        sign_exponent,
        "sign descent's, were W* and the curvature aligned",
        kind="matrix",
    ),
    "shampoo": Method(
        "Shampoo, aligned",
        "shampoo",
        diagonal,
        aligned_shampoo,
        (0.02, 2.0),
        no_exponent,
        "none known",
    ),
    "soap": Method(
        "SOAP, aligned",
        "soap",
        partial(matrix, alignment="aligned"),
        Soap(),
        (0.004, 0.8),
        no_exponent,
        "none known",
        kind="matrix",
    ),
}
