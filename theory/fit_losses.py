"""What a fit sums over the runs: Huber, squares, or a lower envelope. Float64."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from theory.checks import Real, check_choice, check_real

Kind = Literal["huber", "mse_log", "mse", "envelope"]
DESCRIPTIONS: dict[Kind, str] = {
    "huber": "sum-Huber on log loss",
    "mse_log": "half the sum of squares on log loss",
    "mse": "half the sum of squares on loss",
    "envelope": "sum-Huber on log loss, runs below the law weighted up (lower envelope)",
}
DEFAULT_DELTA = 1e-3
DEFAULT_PENALTY = 10.0
L1_DELTA = 1e-6  # thresholds this far below any noise give the sum of absolute residuals


@partial(jax.tree_util.register_dataclass, data_fields=["delta", "penalty"], meta_fields=["kind"])
@dataclass(frozen=True)
class Objective:
    """What is summed over the runs; build it with `make_objective`.

    Attributes:
        delta: Huber threshold on log loss; unused by the squares.
        kind: "huber" (on log loss), "mse_log" (squares on log loss), "mse" (squares on loss) or
            "envelope" (Huber on log loss, terms of runs below the law times `penalty`).
        penalty: weight of runs below the law; 1 but for "envelope".
    """

    delta: Real
    kind: Kind
    penalty: Real = 1.0

    @property
    def robust(self) -> bool:
        """Whether the threshold matters."""
        return self.kind in ("huber", "envelope")

    @property
    def scale(self) -> Real:
        """What the solver divides by, so that its tolerances mean something."""
        return self.delta if self.robust else DEFAULT_DELTA

    @property
    def description(self) -> str:
        """The estimand in words."""
        if not self.robust:
            return DESCRIPTIONS[self.kind]
        delta, penalty = float(self.delta), float(self.penalty)
        limit = " (the L1 limit)" if delta <= L1_DELTA else ""
        weighted = f", penalty {penalty:g}" if self.kind == "envelope" else ""
        return f"{DESCRIPTIONS[self.kind]}, delta {delta:g}{limit}{weighted}"


def make_objective(
    kind: Kind = "huber", delta: float = DEFAULT_DELTA, penalty: float = DEFAULT_PENALTY
) -> Objective:
    """A checked objective.

    Args:
        kind: "huber", "mse_log", "mse" or "envelope".
        delta: Huber threshold on log loss, positive; 1e-6 and below is the L1 limit.
        penalty: weight of runs below the law in the "envelope", at least 1; the more, the nearer
            the law comes to the lowest losses.

    Returns:
        An `Objective`.

    Raises:
        ValueError: naming the argument outside its domain.

    Kind: definition.
    Valid: delta > 0.
    Source: Hoffmann et al. 2022 (arXiv 2203.15556) equation 3 for "huber": a sum, not a mean. The
        envelope is an asymmetric Huber function, an M-quantile after Breckling and Chambers 1988.
    """
    check_choice("kind", kind, get_args(Kind))
    check_real("delta", delta, above=0.0)
    check_real("penalty", penalty, at_least=1.0)
    return Objective(float(delta), kind, float(penalty) if kind == "envelope" else 1.0)


def huber(residual: jax.Array, delta: Real) -> jax.Array:
    """Huber's function: r^2/2 within delta, delta (|r| - delta/2) beyond.

    Args:
        residual: any shape.
        delta: threshold, positive.

    Returns:
        Array shaped like `residual`.

    Kind: definition.
    Valid: delta > 0.
    Source: Huber 1964, Annals of Mathematical Statistics 35.
    """
    size = jnp.abs(residual)
    inner = jnp.minimum(size, delta)
    return inner * (size - inner / 2)


def run_terms(
    predicted: jax.Array, log_loss: jax.Array, chosen: Objective
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each run's term of the objective with its two derivatives by the predicted log loss.

    Args:
        predicted: log of the law, [n].
        log_loss: log L, [n].
        chosen: the objective.

    Returns:
        Value, slope and curvature, [n] each.

    Kind: exact.
    Valid: the Huber curvature is one-sided at |r| = delta.
    Source: derived.
    """
    if chosen.kind == "mse":
        law = jnp.exp(predicted)
        residual = law - jnp.exp(log_loss)
        return residual**2 / 2, residual * law, law * (residual + law)
    residual = predicted - log_loss
    if chosen.kind == "mse_log":
        return residual**2 / 2, residual, jnp.ones_like(residual)
    weight = jnp.where(residual > 0, chosen.penalty, 1.0)
    inside = jnp.where(jnp.abs(residual) <= chosen.delta, 1.0, 0.0)
    slope = jnp.clip(residual, -chosen.delta, chosen.delta)
    return weight * huber(residual, chosen.delta), weight * slope, weight * inside
