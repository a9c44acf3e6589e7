"""Conjugate gradients exactly: no method that uses only gradients of a quadratic is below it.

After n steps conjugate gradients have made

    L_n = 1/2 min { sum_i lam_i (x*_i)^2 p(lam_i)^2 : deg p <= n, p(0) = 1 },

and every method whose iterates are start plus combinations of past gradients has such a p, so L_n
bounds it from below. With pi_k the orthonormal polynomials of the measure that puts the energy
lam (x*)^2 on lam, the minimum is the Christoffel function at zero:

    L_n = 1/2 / sum_{k<=n} pi_k(0)^2.

Lanczos on the nodes, each vector orthogonalised twice against all before it, gives the recurrence
of pi_k; at zero, outside the spectrum, the recurrence itself loses no accuracy.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.accelerated import check_whole_steps
from theory.checks import Real, check_real
from theory.decomposition import Decomposition, decompose
from theory.linear_methods import loss_exponents
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum, compress

# p_n has n zeros, and p_n^2 must be summed, not fitted, by the nodes of a block: 64 nodes do it for
# every degree below 64 wherever all zeros fall.
POINTS_PER_BLOCK = 64
MAX_STEPS = 1000


def conjugate_gradients(problem: PowerLawQuadratic | Spectrum, steps: Real) -> Decomposition:
    """Loss of conjugate gradients, 1/2 / sum_{k<=T} pi_k(0)^2 beside the constant parts.

    Args:
        problem: the quadratic, or any spectrum.
        steps: T >= 0, whole numbers up to 1000, any shape; not traced.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if `steps` is outside its domain.

    Kind: exact to quadrature error and rounding; a lower bound for every method that combines
        gradients of the same quadratic, momentum and step sizes of any kind included. Relative
        error about eps over the least Ritz value, 1e-9 at T = 48 and a = 2.
    Valid: exact gradients; on fewer distinct eigenvalues than T + 1 the loss is zero to rounding.
    Source: Hestenes and Stiefel 1952; Christoffel function as in Szego, Orthogonal Polynomials,
        section 3.1.
    """
    check_real("steps", steps, at_least=0.0, at_most=MAX_STEPS)
    check_whole_steps(steps)
    spectrum = problem if isinstance(problem, Spectrum) else compress(problem, POINTS_PER_BLOCK)
    horizon = np.asarray(steps, dtype=int)
    curve = _christoffel(spectrum, max(int(horizon.max(initial=0)), 1))
    return decompose(spectrum, curve[horizon])


@partial(jax.jit, static_argnames="degree")
def _christoffel(spectrum: Spectrum, degree: int) -> jax.Array:
    """Loss after 0 .. degree steps."""
    lam, mass = spectrum.eigenvalues, spectrum.weights * spectrum.energies
    total = jnp.sum(mass)
    moving = total > 0.0
    first = jnp.sqrt(mass / jnp.where(moving, total, 1.0))

    def clean(vector: jax.Array, basis: jax.Array) -> jax.Array:
        return vector - basis.T @ (basis @ vector)

    def extend(k: jax.Array, carry: tuple) -> tuple:
        basis, before, now, link, sums = carry
        vector = lam * basis[k]
        diagonal = jnp.sum(basis[k] * vector)
        vector = clean(clean(vector, basis), basis)
        norm = jnp.sqrt(jnp.sum(vector**2))
        # The measure has no more points than steps: nothing is left to learn.
        more = norm > jnp.finfo(float).eps
        safe = jnp.where(more, norm, 1.0)
        basis = basis.at[k + 1].set(jnp.where(more, vector / safe, 0.0))
        value = jnp.where(more, -(diagonal * now + link * before) / safe, jnp.inf)
        return basis, now, value, norm, sums.at[k + 1].set(sums[k] + value**2)

    basis = jnp.zeros((degree + 1, lam.size)).at[0].set(first)
    begin = (basis, jnp.zeros(()), jnp.ones(()), jnp.zeros(()), jnp.ones(degree + 1))
    sums = jax.lax.fori_loop(0, degree, extend, begin)[-1]
    return total / (2.0 * jnp.where(jnp.isnan(sums), jnp.inf, sums))


def conjugate_gradients_exponent(problem: PowerLawQuadratic) -> jax.Array:
    """Slope of the loss of conjugate gradients against steps, (2 + a) (b - 1) / a.

    Args:
        problem: the quadratic.

    Returns:
        A scalar, loss ~ T^-exponent.

    Kind: asymptotic.
    Valid: 1 << T << N, discrete spectrum i^-a: exceeds the 2 (b - 1) / a of Chebyshev methods,
        because single eigenvalues at the top are removed one by one.
    Source: Velikanov and Yarotsky 2024 (JMLR 25), arXiv 2202.00992. T/2 zeros remove the top T/2
        modes, the rest act as Chebyshev polynomial on [0, T^-a], resolving lam ~ T^-(2 + a), and
        the mass below lam is lam^((b - 1) / a).
    """
    slope = loss_exponents(problem)[1]
    return (2.0 + jnp.asarray(problem.capacity_exponent, float)) * slope
