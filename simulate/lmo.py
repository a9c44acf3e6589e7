"""Steps along a linear minimization oracle: normalized SGD, Signum, Muon, Scion.

    m <- (1 - alpha) m + alpha g,   W <- (1 - eta lambda) W + eta lmo(m),   alpha = 1 - momentum,

with lmo(m) the minimizer of <m, v> over the unit ball of a norm. Weight decay lambda = 0 is the
unconstrained method; lambda > 0 keeps the weights in the ball of radius 1/lambda once there
(Frank-Wolfe: a step eta of the method is a step eta lambda of Frank-Wolfe on that ball). Leaves of
a pytree take their steps side by side: the norm is then the largest of the leaves' norms.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simulate.in_turn import map_in_turn
from theory.checks import check_choice, check_real
from theory.newton_schulz import MUON, Coefficients, check_coefficients, newton_schulz
from theory.norms import NORMS, find_norm, lmo, polar_factor

INITIALISE = ("gradient", "zero")


class LmoState(NamedTuple):
    """Average gradient and number of steps taken; nothing is kept without momentum."""

    average: Any
    taken: jax.Array


def scale_by_lmo(
    norm: str,
    alpha: jax.Array | float | None = None,
    *,
    initialise: str = "gradient",
    coefficients: Coefficients | None = None,
) -> optax.GradientTransformation:
    """Replaces the gradient by the LMO of its running average: a direction of norm one, downhill.

    Args:
        norm: one of `theory.norms.NORMS`.
        alpha: weight of the newest gradient, in (0, 1]; left out, one, and no average is kept.
            A traced value outside the range makes the step not-a-number.
        initialise: the average before the first step: that first `gradient`, or `zero`. The first
            direction is the same; later ones weigh the first gradient by 1 - alpha or not.
        coefficients: polar factors by Newton-Schulz with these instead of by SVD.

    Returns:
        The transformation; add its result to the weights (it already points downhill).

    Raises:
        ValueError: for an unknown norm or option, alpha outside (0, 1], or, from `init`, a leaf
            that is no matrix where the norm needs one.
    """
    check_choice("norm", norm, tuple(NORMS))
    check_choice("initialise", initialise, INITIALISE)
    if alpha is not None:
        check_real("alpha", alpha, above=0.0, at_most=1.0)
    polar = polar_factor
    if coefficients is not None:
        polar = partial(newton_schulz, coefficients=check_coefficients(coefficients))
    oracle = partial(lmo, norm, polar=polar)

    def init(params: Any) -> LmoState:
        for leaf in jax.tree.leaves(params):
            find_norm(norm, leaf.shape)
        average = None if alpha is None else jax.tree.map(jnp.zeros_like, params)
        return LmoState(average, jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, LmoState]:
        del params
        if alpha is None:
            return map_in_turn(oracle, updates), state
        weight = jnp.where((alpha > 0) & (alpha <= 1), alpha, jnp.nan)
        if initialise == "gradient":
            weight = jnp.where(state.taken == 0, jnp.ones_like(weight), weight)
        average = jax.tree.map(
            lambda m, g: (1 - weight).astype(g.dtype) * m + weight.astype(g.dtype) * g,
            state.average,
            updates,
        )
        return map_in_turn(oracle, average), LmoState(average, state.taken + 1)

    return optax.GradientTransformation(init, update)


@dataclass(frozen=True)
class LmoMethod:
    """Factory of LMO methods, `method(learning_rate, momentum, weight_decay)`; see the module.

    Hashable by value: the engine compiles once for each choice below, never for a number.

    Attributes:
        norm: one of `theory.norms.NORMS`.
        coefficients: polar factors by Newton-Schulz with these; None: exactly, by SVD.
        initialise: the average before the first step, `gradient` or `zero`; see `scale_by_lmo`.
    """

    norm: str
    coefficients: Coefficients | None = None
    initialise: str = "gradient"

    @property
    def elementwise(self) -> bool:
        """Whether no two entries are coupled; see `simulate.elementwise`."""
        return self.norm == "max"

    def check(
        self,
        learning_rate: Any = 0.0,
        momentum: Any = None,
        weight_decay: Any = None,
        steps: Any = None,
    ) -> None:
        """Refuses bad choices and numbers; traced numbers pass.

        Raises:
            ValueError: naming the argument, its value and its range.
        """
        del steps  # only schedules look at the recording grid
        scale_by_lmo(self.norm, initialise=self.initialise, coefficients=self.coefficients)
        if momentum is not None:
            check_real("momentum", momentum, at_least=0.0, below=1.0)
        if weight_decay is not None:
            check_real("weight_decay", weight_decay, at_least=0.0)
        if not callable(learning_rate):
            check_real("learning_rate", learning_rate, at_least=0.0)

    def __call__(
        self,
        learning_rate: Any,
        momentum: jax.Array | float | None = None,
        weight_decay: jax.Array | float | None = None,
    ) -> optax.GradientTransformation:
        """The transformation.

        Args:
            learning_rate: eta, a number or an optax schedule.
            momentum: 1 - alpha in [0, 1); left out, zero, and no average is kept.
            weight_decay: lambda >= 0, the inverse radius of the ball; left out, unconstrained.

        Returns:
            An optax transformation.

        Raises:
            ValueError: see `check`.
        """
        self.check(learning_rate, momentum, weight_decay)
        alpha = None if momentum is None else 1 - momentum
        direction = scale_by_lmo(
            self.norm, alpha, initialise=self.initialise, coefficients=self.coefficients
        )
        step = optax.scale_by_learning_rate(learning_rate, flip_sign=False)
        if weight_decay is None:
            return optax.chain(direction, step)
        return optax.chain(direction, optax.add_decayed_weights(-weight_decay), step)


normalized_sgd = LmoMethod("euclidean")
signum = LmoMethod("max")
spectral_descent = LmoMethod("spectral")
muon = LmoMethod("spectral", coefficients=MUON)
scion_input = LmoMethod("one_to_rms")
scion_hidden = LmoMethod("rms_to_rms", coefficients=MUON)
scion_output = LmoMethod("rms_to_inf")
