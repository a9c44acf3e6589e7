"""Tuning bounds that are no posynomials: numerically, with exponents fitted and errors stated.

Nothing here is exact. The minimum is searched from a lattice of starts in the logarithms, and the
exponents are slopes between growing budgets; what corrections of the order 1/log T do to a slope is
extrapolated away once and reported as error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from theory.bound_formula import letter
from theory.checks import check_real

# Values by letter (eta, alpha, B, K, T) to the bound, traced.
BoundFunction: TypeAlias = Callable[[Mapping[str, jax.Array]], jax.Array]

_STARTS = {"eta": (-0.25, -0.5, -0.75, -1.0), "alpha": (0.0, -1 / 3, -0.5), "B": (0.0, 0.25, 0.5)}
_KEPT = 4  # lattice points that are followed
_POLISH = 8  # Newton steps
_WIDTH = 1e-5  # of the differences


@dataclass(frozen=True)
class NumericOptimum:
    """A minimum found numerically.

    Attributes:
        tokens: T.
        values: of eta, alpha, B, K by letter.
        bound: the minimum.
        at_limit: variables at an end of their range.
    """

    tokens: float
    values: Mapping[str, float]
    bound: float
    at_limit: tuple[str, ...]


@dataclass(frozen=True)
class FittedExponent:
    """A slope in log-log coordinates at the largest budgets.

    Attributes:
        value: extrapolated to infinite budget with corrections in 1/log T.
        error: change by the extrapolation plus change of the extrapolated value.
        constant: value at the largest budget over T^value.
    """

    value: float
    error: float
    constant: float


def numeric_optimum(
    bound: BoundFunction,
    tune: Sequence[str],
    tokens: float,
    hold: Mapping[str, float] | None = None,
    eta_max: float = np.inf,
) -> NumericOptimum:
    """The smallest value of a bound over eta <= eta_max, 0 < alpha <= 1, 1 <= B <= T at T = B K.

    Args:
        bound: a function of values by letter, that JAX can differentiate.
        tune: words or letters out of learning_rate, momentum, batch_size.
        tokens: T >= 1.
        hold: values of the others by letter; alpha = 1 and B = 1 where nothing is said.
        eta_max: largest learning rate.

    Returns:
        `NumericOptimum`.

    Raises:
        ValueError: if a variable is unknown or a number is outside its domain.

    Kind: fit; a local minimum, the lowest of several starts.
    Valid: smooth bounds.
    Source: L-BFGS-B in the logarithms, then Newton's method on what is at no limit.
    """
    search = _search(bound, tune, hold or {}, eta_max)
    return search(tokens)


def numeric_exponents(
    bound: BoundFunction,
    tune: Sequence[str],
    budgets: Sequence[float],
    hold: Mapping[str, float] | None = None,
    eta_max: float = np.inf,
) -> dict[str, FittedExponent]:
    """Exponents of the tuned variables and of the bound, from optima at growing budgets.

    Args:
        bound: a function of values by letter, that JAX can differentiate.
        tune: words or letters out of learning_rate, momentum, batch_size.
        budgets: T, at least four, rising.
        hold: values of the others by letter.
        eta_max: largest learning rate.

    Returns:
        `FittedExponent` by letter, and for `bound`.

    Raises:
        ValueError: if the budgets are too few or do not rise.

    Kind: fit.
    Valid: corrections to the slopes that fall like 1/log T or faster; the error is an estimate.
    Source: Richardson extrapolation of s(T) = p + q / log T.
    """
    amounts = np.asarray(budgets, dtype=float)
    check_real("budgets", amounts, above=1.0)
    if amounts.size < 4 or np.any(np.diff(amounts) <= 0.0):
        raise ValueError(f"`budgets` must be at least four rising numbers, got {amounts}.")
    search = _search(bound, tune, hold or {}, eta_max)
    found = [search(float(amount)) for amount in amounts]
    series = {name: [x.values[name] for x in found] for name in map(letter, tune)}
    series["bound"] = [x.bound for x in found]
    return {name: _fitted(np.log(amounts), np.log(values)) for name, values in series.items()}


def _fitted(log_budgets: np.ndarray, logs: np.ndarray) -> FittedExponent:
    slopes = np.diff(logs) / np.diff(log_budgets)
    middles = (log_budgets[1:] + log_budgets[:-1]) / 2.0
    better = np.diff(slopes * middles) / np.diff(middles)
    error = abs(better[-1] - slopes[-1]) + abs(better[-1] - better[-2])
    constant = np.exp(logs[-1] - better[-1] * log_budgets[-1])
    return FittedExponent(float(better[-1]), float(error), float(constant))


def _search(
    bound: BoundFunction, tune: Sequence[str], hold: Mapping[str, float], eta_max: float
) -> Callable[[float], NumericOptimum]:
    names = tuple(letter(name) for name in tune)
    held = _held(names, hold)

    def values(point: jax.Array, log_tokens: jax.Array) -> dict[str, jax.Array]:
        logs = {name: point[k] for k, name in enumerate(names)}
        logs |= {name: jnp.asarray(np.log(value)) for name, value in held.items()}
        logs |= {"T": log_tokens, "K": log_tokens - logs["B"]}
        return {name: jnp.exp(value) for name, value in logs.items()}

    def log_bound(point: jax.Array, log_tokens: jax.Array) -> jax.Array:
        return jnp.log(bound(values(point, log_tokens)))

    value_and_slope = jax.jit(jax.value_and_grad(log_bound))

    # By differences: compiling second derivatives would take longer than all the rest.
    def curvature(point: np.ndarray, log_tokens: float) -> np.ndarray:
        sides = _WIDTH * np.eye(point.size)
        rise = [value_and_slope(point + side, log_tokens)[1] for side in sides]
        fall = [value_and_slope(point - side, log_tokens)[1] for side in sides]
        return (np.array(rise) - np.array(fall)) / (2.0 * _WIDTH)

    def search(tokens: float) -> NumericOptimum:
        check_real("tokens", tokens, at_least=max(1.0, held.get("B", 1.0)))
        log_tokens = np.log(tokens)
        tops = {"eta": np.log(eta_max), "alpha": 0.0, "B": log_tokens}
        low = np.array([0.0 if name == "B" else -np.inf for name in names])
        high = np.array([tops[name] for name in names])
        grid = np.array(list(product(*(_STARTS[name] for name in names)))) * log_tokens
        starts = np.clip(grid, low, high)
        heights = [float(value_and_slope(start, log_tokens)[0]) for start in starts]
        order = np.argsort(np.nan_to_num(heights, nan=np.inf))[:_KEPT]
        runs = [
            minimize(
                lambda x: tuple(map(np.asarray, value_and_slope(x, log_tokens))),
                starts[k],
                jac=True,
                method="L-BFGS-B",
                bounds=list(zip(low, high, strict=True)),
                options={"maxiter": 200, "ftol": 1e-12, "gtol": 1e-9},
            )
            for k in order
        ]
        point = min(runs, key=lambda run: run.fun).x
        free = (point > low) & (point < high)
        least, pull = map(np.asarray, value_and_slope(point, log_tokens))
        for _ in range(_POLISH if np.any(free) else 0):
            bent = curvature(point, log_tokens)[np.ix_(free, free)]
            trial = point.copy()
            trial[free] -= np.linalg.lstsq(bent, pull[free], rcond=None)[0]
            if np.any(trial < low) or np.any(trial > high):
                break
            lower, flatter = map(np.asarray, value_and_slope(trial, log_tokens))
            if not np.linalg.norm(flatter[free]) < np.linalg.norm(pull[free]):
                break
            point, least, pull = trial, lower, flatter
        reached = values(jnp.asarray(point), jnp.asarray(log_tokens))
        return NumericOptimum(
            tokens,
            {name: float(x) for name, x in reached.items()},
            float(np.exp(least)),
            tuple(name for name, inner in zip(names, free, strict=True) if not inner),
        )

    return search


def _held(names: tuple[str, ...], hold: Mapping[str, float]) -> dict[str, float]:
    for name in names:
        if name not in _STARTS or names.count(name) > 1:
            raise ValueError(
                f"`tune` must name some of eta, alpha, B once, got {', '.join(names)}."
            )
    held = {"alpha": 1.0, "B": 1.0} | {letter(name): value for name, value in hold.items()}
    for name, value in held.items():
        check_real(name, value, above=0.0)
        if name not in _STARTS or (name in names and name in hold):
            raise ValueError(f"`hold`: {name} must be one of eta, alpha, B that is not tuned.")
    check_real("alpha", held["alpha"], at_most=1.0)
    left = {name: value for name, value in held.items() if name not in names}
    if "eta" not in {*names, *left}:
        raise ValueError("`learning_rate` must be tuned or held.")
    return left
