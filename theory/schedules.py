"""Learning-rate schedules, and the exponents of SGD tuned under each.

A schedule is a function of the fraction u = t / T of the run, with values in [0, 1] and peak one;
step t = 0..T-1 uses the learning rate peak * schedule(t / T). The exact curves of
`theory.scheduled_descent` take the rates themselves, so any other schedule can be given there.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp

from theory.checks import Real, check_float64, check_real, is_traced
from theory.linear_methods import loss_exponents
from theory.problem import PowerLawQuadratic

Schedule = Callable[[jax.Array], jax.Array]


def constant(u: jax.Array) -> jax.Array:
    """The constant schedule, 1.

    Args:
        u: fraction of the run in [0, 1], any shape.

    Returns:
        Array shaped like `u`.

    Kind: definition.
    Valid: 0 <= u <= 1.
    Source: none needed.
    """
    return jnp.ones_like(u)


def linear_decay(u: jax.Array) -> jax.Array:
    """Linear decay to zero, 1 - u.

    Args:
        u: fraction of the run in [0, 1], any shape.

    Returns:
        Array shaped like `u`.

    Kind: definition.
    Valid: 0 <= u <= 1.
    Source: Defazio et al. 2023 (arXiv 2310.07831).
    """
    return 1.0 - u


def cosine(u: jax.Array) -> jax.Array:
    """Cosine decay to zero, (1 + cos(pi u)) / 2.

    Args:
        u: fraction of the run in [0, 1], any shape.

    Returns:
        Array shaped like `u`.

    Kind: definition.
    Valid: 0 <= u <= 1.
    Source: Loshchilov and Hutter 2016 (arXiv 1608.03983).
    """
    return jnp.cos(u * (jnp.pi / 2)) ** 2


@lru_cache(maxsize=64)
def power_decay(exponent: float) -> Schedule:
    """Power decay to zero, (1 - u)^exponent.

    Args:
        exponent: at least 0; 0 is constant, 1 is linear decay.

    Returns:
        The schedule.

    Raises:
        ValueError: if `exponent` is negative.

    Kind: definition.
    Valid: 0 <= u <= 1.
    Source: optimal for SGD at exponent 2a - 1, Bordelon and Mori 2026 (arXiv 2602.04774).
    """
    check_real("exponent", exponent, at_least=0.0)
    return lambda u: (1.0 - u) ** exponent


@lru_cache(maxsize=64)
def warmup_stable_decay(cooldown: float, warmup: float = 0.0) -> Schedule:
    """Linear warmup, a plateau at one, linear decay to zero.

    Args:
        cooldown: fraction of the run spent decaying, in (0, 1].
        warmup: fraction of the run spent warming up, in [0, 1 - cooldown].

    Returns:
        The schedule; with a warmup it starts from zero.

    Raises:
        ValueError: if a fraction is outside its domain.

    Kind: definition.
    Valid: 0 <= u <= 1.
    Source: Haegele et al. 2024 (arXiv 2405.18392).
    """
    check_real("cooldown", cooldown, above=0.0, at_most=1.0)
    check_real("warmup", warmup, at_least=0.0, at_most=1.0 - cooldown)

    def schedule(u: jax.Array) -> jax.Array:
        rise = jnp.ones_like(u) if warmup == 0 else u / warmup
        return jnp.minimum(jnp.minimum(rise, 1.0), (1.0 - u) / cooldown)

    return schedule


def schedule_rates(schedule: Schedule, peak: Real, steps: int) -> jax.Array:
    """The learning rates peak * schedule(t / T) of a run, t = 0..T-1.

    Args:
        schedule: a function of the fraction of the run.
        peak: positive, any shape.
        steps: T >= 1.

    Returns:
        Array [..., T], leading axes those of `peak`.

    Raises:
        ValueError: if `peak` or `steps` is outside its domain.

    Kind: definition.
    Valid: always.
    Source: none needed; the last step has fraction 1 - 1/T, so it is never wasted at rate zero.
    """
    check_float64()
    check_real("peak", peak, above=0.0)
    check_real("steps", steps, at_least=1)
    shape = schedule(jnp.arange(float(steps)) / float(steps))
    return jnp.asarray(peak, float)[..., None] * shape


def tuned_sgd_exponents(
    problem: PowerLawQuadratic, decay_power: Real
) -> tuple[jax.Array, jax.Array]:
    """Exponents (loss, peak learning rate) of SGD tuned for each horizon, against T.

    Loss ~ T^-loss and eta* ~ T^-rate at fixed batch size with label noise. With s = (b - 1)/a and
    m = min(decay_power + 1, a): loss = s m / (s m + 1), rate = (s m + 1 - m) / (s m + 1) where that
    is positive (easy phase); else rate = 0 and loss = s (hard phase).

    Args:
        problem: the quadratic, a > 1.
        decay_power: how the schedule ends, ~ (1 - u)^power: 0 constant, 1 linear decay and
            warmup-stable-decay, 2 cosine; any shape.

    Returns:
        Two arrays shaped like `decay_power`.

    Raises:
        ValueError: if `decay_power` is negative or a <= 1.

    Kind: asymptotic; a factor log T is missing where decay_power + 1 = a.
    Valid: sigma^2 > 0, 1 << T, N infinite, a > 1, b > 1.
    Source: derived. With remaining intrinsic time r and eta ~ eta_0 (r / eta_0 T)^(p/(p+1)), the
        noise is the integral of r^(-(2 - 1/a)) eta(r) dr from 1 to tau = eta_0 T: it lives at r = 1
        for p + 1 < a and at r = tau else, and equals tau^(1/m) / T either way; balanced against
        the bias tau^-s. Agrees with Bordelon and Mori 2026 (arXiv 2602.04774) at p = 2a - 1, and
        with Li et al. 2025 (arXiv 2509.19189) table 1 for constant and linearly decaying rates.
    """
    check_real("decay_power", decay_power, at_least=0.0)
    if not is_traced(problem.capacity_exponent):
        check_real("capacity_exponent", problem.capacity_exponent, above=1.0)
    _, slope = loss_exponents(problem)
    memory = jnp.minimum(
        jnp.asarray(decay_power, float) + 1.0, jnp.asarray(problem.capacity_exponent, float)
    )
    rate = (slope * memory + 1.0 - memory) / (slope * memory + 1.0)
    easy = slope * memory / (slope * memory + 1.0)
    return jnp.where(rate > 0, easy, slope), jnp.maximum(rate, 0.0)
