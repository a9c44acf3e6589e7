"""Learning-rate schedules inside the engine: peak rate and horizon are traced numbers.

A schedule is a function of a peak `learning_rate` and a `horizon` T that returns an optax schedule,
the rate of update t = 0, 1, ..., T - 1. `Scheduled(method, schedule)` is a factory with `horizon`
as one more hyperparameter, so one compiled call sweeps rates and horizons together.

A run longer than its schedule: from t = T on the rate stays at the schedule's end value
(`beyond="hold"`; a schedule that ends at zero freezes the run, so one recording grid serves many
horizons), or the run is refused (`beyond="refuse"`).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simulate.elementwise import is_elementwise
from simulate.optimizers import OptimizerFactory
from theory.checks import check_choice, check_real, is_traced

Number: TypeAlias = jax.Array | float
ScheduleFactory: TypeAlias = Callable[..., optax.Schedule]

BEYOND = ("hold", "refuse")


def constant(learning_rate: Number, horizon: Number) -> optax.Schedule:
    """The peak rate throughout.

    Args:
        learning_rate: at least 0.
        horizon: T >= 1, number of updates.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    return _shape(learning_rate, horizon, jnp.ones_like)


def linear(learning_rate: Number, horizon: Number) -> optax.Schedule:
    """Linear decay to zero, eta (1 - t/T).

    Args:
        learning_rate: eta >= 0.
        horizon: T >= 1, number of updates.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    return _shape(learning_rate, horizon, lambda passed: 1 - passed)


def cosine(learning_rate: Number, horizon: Number) -> optax.Schedule:
    """Half a cosine down to zero, eta (1 + cos(pi t/T)) / 2.

    Args:
        learning_rate: eta >= 0.
        horizon: T >= 1, number of updates.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    # As a squared cosine it keeps its digits near the end, where 1 + cos cancels.
    return _shape(learning_rate, horizon, lambda passed: jnp.cos(passed * (jnp.pi / 2)) ** 2)


def power(learning_rate: Number, horizon: Number, exponent: Number = 2.0) -> optax.Schedule:
    """Power decay to zero, eta (1 - t/T)^exponent.

    Args:
        learning_rate: eta >= 0.
        horizon: T >= 1, number of updates.
        exponent: at least 0; one is linear decay.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    check_real("exponent", exponent, at_least=0.0)
    return _shape(learning_rate, horizon, lambda passed: (1 - passed) ** exponent)


def inverse_power(learning_rate: Number, horizon: Number, exponent: Number = 0.5) -> optax.Schedule:
    """Open-ended decay eta (1 + t)^-exponent, up to T.

    Args:
        learning_rate: eta >= 0, the first rate.
        horizon: T >= 1, number of updates.
        exponent: at least 0.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    check_real("exponent", exponent, at_least=0.0)
    return _shape(learning_rate, horizon, lambda passed: (1 + passed * horizon) ** -exponent)


def warmup_stable_decay(
    learning_rate: Number, horizon: Number, warmup: Number = 0.0, decay: Number = 0.2
) -> optax.Schedule:
    """Linear warm-up, a plateau, and linear decay to zero.

    With W = warmup T and C = decay T: eta (t + 1)/W while below eta, then eta, and from t = T - C
    on eta (T - t)/C.

    Args:
        learning_rate: eta >= 0, the plateau.
        horizon: T >= 1, number of updates.
        warmup: part of the horizon spent warming up, in [0, 1].
        decay: part of the horizon spent decaying, in [0, 1]; the two add to at most one.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    check_real("warmup", warmup, at_least=0.0, at_most=1.0)
    check_real("decay", decay, at_least=0.0, at_most=1.0)
    _check_sum(warmup, decay)

    def shape(passed: jax.Array) -> jax.Array:
        # A part of length zero is a jump: dividing by its smallest positive stand-in makes it one.
        tiny = jnp.finfo(passed.dtype).tiny
        rising = (passed + 1 / horizon) / jnp.maximum(warmup, tiny)
        falling = (1 - passed) / jnp.maximum(decay, tiny)
        return jnp.minimum(jnp.minimum(rising, falling), jnp.ones_like(passed))

    return _shape(learning_rate, horizon, shape)


def _check_sum(warmup: Number, decay: Number) -> None:
    if not is_traced(warmup, decay):
        # 0.7 + 0.3 may round above one.
        check_real("warmup + decay", np.add(warmup, decay), at_most=1.0 + 1e-12)


def _shape(
    learning_rate: Number, horizon: Number, shape: Callable[[jax.Array], jax.Array]
) -> optax.Schedule:
    """Rate times a function of the part of the horizon that has passed, clamped to one."""
    check_real("learning_rate", learning_rate, at_least=0.0)
    check_real("horizon", horizon, at_least=1.0)

    def schedule(count: Any) -> jax.Array:
        dtype = jnp.result_type(float, learning_rate)
        if isinstance(learning_rate, jax.Array):
            dtype = learning_rate.dtype
        passed = jnp.asarray(count, dtype) / jnp.asarray(horizon, dtype)
        return learning_rate * shape(jnp.minimum(passed, jnp.ones_like(passed)))

    return schedule


@dataclass(frozen=True)
class Scheduled:
    """Factory of a method under a schedule, `scheduled(learning_rate, horizon, **others)`.

    Hyperparameters that the schedule names (`exponent`, `warmup`, `decay`) go to it, all others to
    the method; each may be swept. Hashable by value.

    Attributes:
        method: optimizer factory whose `learning_rate` may be an optax schedule.
        schedule: one of this module's functions, or one like them.
        beyond: what happens to a run past its horizon, `hold` or `refuse`; see the module. A
            traced horizon that is too short makes the rate not-a-number, and the run reports that
            it diverged there.
    """

    method: OptimizerFactory
    schedule: ScheduleFactory
    beyond: str = "hold"

    @property
    def elementwise(self) -> bool:
        """Whether the method couples no two entries; see `simulate.elementwise`."""
        return is_elementwise(self.method)

    def check(self, steps: Sequence[int] | np.ndarray | None = None, **numbers: Any) -> None:
        """Refuses, before any run, bad choices, bad numbers and schedules shorter than the run.

        Args:
            steps: recording grid of the run, if known.
            numbers: hyperparameters, scalars or arrays of one length.

        Raises:
            ValueError: naming the argument; with `beyond="refuse"`, if the last step is past the
                shortest horizon.
        """
        check_choice("beyond", self.beyond, BEYOND)
        own, others = self._split(numbers)
        if "horizon" in own:
            least = 1.0 if steps is None or self.beyond == "hold" else float(np.max(steps))
            check_real("horizon", own["horizon"], at_least=least)
        check_method = getattr(self.method, "check", None)
        if check_method is not None:
            check_method(**others)
        elif "learning_rate" in others:
            self.method(**others)

    def _split(self, numbers: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        names = set(inspect.signature(self.schedule).parameters) - {"learning_rate"}
        own = {name: value for name, value in numbers.items() if name in names}
        return own, {name: value for name, value in numbers.items() if name not in names}

    def __call__(
        self, learning_rate: Number, horizon: Number, **others: Any
    ) -> optax.GradientTransformation:
        """The transformation.

        Args:
            learning_rate: peak rate.
            horizon: T >= 1, number of updates.
            others: hyperparameters of the schedule and of the method.

        Raises:
            ValueError: if `beyond` is unknown or a number is outside its domain.
        """
        check_choice("beyond", self.beyond, BEYOND)
        own, rest = self._split({"horizon": horizon, **others})
        rate = self.schedule(learning_rate, **own)
        if self.beyond == "hold":
            return self.method(learning_rate=rate, **rest)

        def refused(count: Any) -> jax.Array:
            value = jnp.asarray(rate(count))
            return jnp.where(jnp.asarray(count) < horizon, value, jnp.full_like(value, jnp.nan))

        return self.method(learning_rate=refused, **rest)
