"""What the bounds say where tuning laws are measured: exponents, optima, and the valley in B."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np

from experiments.tuning_exponents import POWERS, counted, regress
from experiments.tuning_optima import QUANTITIES, REGIMES, Grid, Optimum, Regime
from theory.bound_library import BOUNDS
from theory.lmo_bounds import kovalev_bound, sharper_bound
from theory.lmo_constants import BoundConstants, bound_constants
from theory.tuned_laws import tuned_learning_rate, tuned_momentum
from theory.tuned_optimum import optimum
from theory.tuning import TunedLaws, derive

VALLEY_BOUNDS = ("printed", "sharper")
_ROUNDING = 1e-6  # of the logarithm of a variable at its limit
_ZOOMS, _POINTS = 12, 21


def bound_laws(regime: Regime, grid: Grid, batch: float, symbols: dict[str, float]) -> TunedLaws:
    """What the engine derives of the printed bound in one regime.

    Args:
        regime: what is tuned.
        grid: which says what momentum is held at.
        batch: B where it is held.
        symbols: Delta, L, rho, sigma.
    """
    held = {"alpha": grid.held_alpha, "B": batch}
    hold = {name: value for name, value in held.items() if name not in regime.tuned}
    return derive(BOUNDS["kovalev"], regime.tuned, regime.budget, hold, symbols)


def derived_exponents(regime: Regime, grid: Grid) -> np.ndarray:
    """Exact exponents of the printed bound, [quantity, power]; NaN where nothing is tuned."""
    found = bound_laws(regime, grid, 1.0, {"Delta": 1.0, "L": 1.0, "rho": 1.0, "sigma": 1.0})
    rows = {law.variable: (law.exponent, law.dependence.get("B")) for law in found.laws}
    rows["value"] = found.rate.order, found.rate.dependence.get("B")
    exponents = np.full((len(QUANTITIES), len(POWERS)), np.nan)
    for k, name in enumerate(QUANTITIES):
        for power, exponent in enumerate(rows.get(name, ())):
            if exponent is not None:
                exponents[k, power] = float(exponent)
    return exponents


def other_tie_break() -> np.ndarray:
    """Exponents in the budget of the sharper bound's joint optimum, [quantity].

    It is at alpha = 1, where that bound is a posynomial.
    """
    constants = {"Delta": 1.0, "L": 1.0, "rho": 1.0, "sigma": 1.0}
    found = derive(BOUNDS["no_momentum"], ("eta", "B"), constants=constants)
    exponents = {law.variable: law.exponent for law in found.laws}
    exponents |= {"alpha": Fraction(0), "value": found.rate.order}
    return np.array([float(exponents[name] or 0) for name in QUANTITIES])


def bound_optimum(regime: Regime, grid: Grid, constants: BoundConstants) -> Optimum:
    """The printed bound's own optimum at the budgets and batch sizes of the grid, all terms."""
    symbols = {name: float(value) for name, value in constants.symbols.items()}
    batches = grid.batches if regime.held_batch else np.ones(1)
    logs = np.full((len(QUANTITIES), batches.size, grid.budgets.size), np.nan)
    free = np.ones(logs.shape[1:], bool)
    for row, batch in enumerate(batches):
        laws = bound_laws(regime, grid, float(batch), symbols)
        for column, tokens in enumerate(grid.budgets):
            amount = tokens / batch if regime.budget == "steps" else tokens
            found = optimum(laws, float(amount))
            for name in regime.tuned:
                logs[QUANTITIES.index(name), row, column] = found.log_values[name]
            logs[-1, row, column] = found.log_bound
            ends = [abs(found.log_values[name]) for name in regime.tuned if name != "eta"]
            free[row, column] = all(end > _ROUNDING for end in ends)
    return Optimum(logs, np.ones_like(free), free)


def bound_here(grid: Grid, constants: BoundConstants) -> tuple[np.ndarray, np.ndarray]:
    """The bound's own optima at these budgets, treated like measured ones.

    Returns:
        Fitted exponents, [regime, quantity, power], and the bound at the best rate and momentum,
        [batch, budget].
    """
    found = {name: bound_optimum(regime, grid, constants) for name, regime in REGIMES.items()}
    fits = [regress(x, REGIMES[name], grid, counted(x))[0] for name, x in found.items()]
    return np.array(fits), np.exp(found["eta, alpha"].logs[-1])


def valley(amounts: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Bounds at the best rate and momentum over their leading order, less one.

    Args:
        amounts: budgets T, [amount].
        places: log B / log T, [place].

    Returns:
        [bound, amount, place], all constants one; the leading order is that of small alpha.
    """
    constants = bound_constants(1.0, 1.0)
    tokens = amounts[:, None]
    batches = tokens**places
    lead = np.asarray(tuned_momentum(constants, 1.0, amounts).bound)[:, None]
    rows = [
        _least_over_alpha(partial(bound, constants, batches, tokens), batches.shape)
        for bound in (_printed, _sharper)
    ]
    return np.array([row / lead - 1 for row in rows])


def _printed(
    constants: BoundConstants, batches: np.ndarray, tokens: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    steps = tokens / batches
    eta = tuned_learning_rate(constants, alpha, batches, steps).learning_rate
    return np.asarray(kovalev_bound(constants, eta, alpha, batches, steps).total)


def _sharper(
    constants: BoundConstants, batches: np.ndarray, tokens: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    steps = tokens / batches
    # The terms in eta are Delta/(eta K) + L eta (2/alpha - 3/2).
    pull = float(constants.smoothness) * (2 / alpha - 1.5)
    eta = np.sqrt(float(constants.initial_gap) / (pull * steps))
    return np.asarray(sharper_bound(constants, eta, alpha, batches, steps).total)


def _least_over_alpha(
    bound: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """Smallest value over alpha in (0, 1] by closing in on the best of evenly spaced logarithms."""
    centre, reach = np.full(shape, -25.0), 25.0
    for _ in range(_ZOOMS):
        offsets = np.linspace(-reach, reach, _POINTS)[:, None, None]
        logs = np.minimum(centre + offsets, 0.0)
        best = np.argmin(bound(np.exp(logs)), axis=0)[None]
        centre = np.take_along_axis(logs, best, axis=0)[0]
        reach *= 3 / _POINTS
    return bound(np.exp(centre))
