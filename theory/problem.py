"""The proxy problem: a convex quadratic with power-law spectrum and power-law initial energies.

    f(x) = sigma^2/2 + 1/2 sum_{i>=1} lam_i (x_i - x*_i)^2,   x_0 = 0,
    lam_i = i^-a,   lam_i (x*_i)^2 = i^-b.

A model of size N trains the modes 1..N; the others stay at zero. Float64.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real

MAX_SIZE = 1e15  # mode numbers stay exact integers in float64


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["capacity_exponent", "source_exponent", "noise_variance"],
    meta_fields=["size"],
)
@dataclass(frozen=True)
class PowerLawQuadratic:
    """A power-law quadratic; build it with `power_law`, which checks its arguments.

    Attributes:
        capacity_exponent: a, eigenvalue of mode i is i^-a.
        source_exponent: b, initial energy of mode i, lam_i (x*_i)^2, is i^-b.
        size: N, number of trained modes (static; a float, so that 1e12 can be written).
        noise_variance: sigma^2, variance of the label noise (loss units).
    """

    capacity_exponent: Real
    source_exponent: Real
    size: float
    noise_variance: Real = 0.0

    @property
    def irreducible(self) -> jax.Array:
        """Loss that no model of this family can remove, sigma^2/2."""
        return jnp.asarray(self.noise_variance, float) / 2


def power_law(
    capacity_exponent: Real,
    source_exponent: Real,
    size: float,
    noise_variance: Real = 0.0,
) -> PowerLawQuadratic:
    """A checked `PowerLawQuadratic`.

    Args:
        capacity_exponent: a > 0.
        source_exponent: b > 1, so that the initial loss is finite.
        size: N in [1, 1e15]; a model of size N trains modes 1..floor(N).
        noise_variance: sigma^2 >= 0.

    Returns:
        The problem, a pytree whose leaves are the exponents and the noise variance.

    Raises:
        ValueError: naming the argument outside its domain.

    Kind: definition.
    Valid: a > 0, b > 1, 1 <= N <= 1e15, sigma^2 >= 0.
    Source: source and capacity conditions, Bordelon et al. 2024 (arXiv 2402.01092) section 2.
    """
    check_real("capacity_exponent", capacity_exponent, above=0.0)
    check_real("source_exponent", source_exponent, above=1.0)
    check_real("size", size, at_least=1.0, at_most=MAX_SIZE)
    check_real("noise_variance", noise_variance, at_least=0.0)
    return PowerLawQuadratic(
        jnp.asarray(capacity_exponent, float),
        jnp.asarray(source_exponent, float),
        float(size),
        jnp.asarray(noise_variance, float),
    )


def mode_index(size: float) -> jax.Array:
    """Mode numbers 1..floor(size) as floats.

    Args:
        size: N >= 1, small enough to hold the modes in memory.

    Returns:
        Array [floor(N)].

    Kind: definition.
    Valid: N >= 1.
    Source: modes are counted from one throughout.
    """
    return jnp.arange(1, int(size) + 1).astype(float)


def eigenvalues(problem: PowerLawQuadratic, index: jax.Array) -> jax.Array:
    """Eigenvalues `index ** -capacity_exponent` of the Hessian.

    Args:
        problem: the quadratic.
        index: mode numbers, any shape, >= 1.

    Returns:
        Array shaped like `index`.

    Kind: definition.
    Valid: index >= 1.
    Source: capacity condition, Bordelon et al. 2024 (arXiv 2402.01092).
    """
    return index ** -jnp.asarray(problem.capacity_exponent)


def energies(problem: PowerLawQuadratic, index: jax.Array) -> jax.Array:
    """Initial energies lam_i (x*_i)^2 = `index ** -source_exponent` (twice the loss of a mode).

    Args:
        problem: the quadratic.
        index: mode numbers, any shape, >= 1.

    Returns:
        Array shaped like `index`.

    Kind: definition.
    Valid: index >= 1.
    Source: source condition, Bordelon et al. 2024 (arXiv 2402.01092).
    """
    return index ** -jnp.asarray(problem.source_exponent)
