"""Eigendecomposition of diag(d) - rho u u^T with relatively accurate small eigenvalues.

A general symmetric eigensolver is accurate to eps times the *largest* eigenvalue. The propagator
of SGD raises 1 - x_j to the power T, so an error eps in x_j costs eps T, which at T = 1e12 is
everything. Here each eigenvalue is found from the secular equation

    sum_i u_i^2 / (d_i - x) = 1 / rho

as a *distance from the nearest pole*, differences of poles being formed before that distance is
added, so every d_i - x_j, and with it every eigenvector component, is relatively accurate.
Float64; pure JAX with static shapes, so it runs under jit, vmap and grad.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

MAX_ITERATIONS = 80
# Poles closer than this, relative to the larger one, are one pole to working precision.
DEFLATION = 8 * 2.220446049250313e-16


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["order", "cosines", "sines", "coupling", "values", "differences", "active"],
    meta_fields=[],
)
@dataclass(frozen=True)
class RankOneEigen:
    """Eigendecomposition of diag(d) - rho u u^T, [n] eigenvalues.

    Attributes:
        order: permutation that sorts d ascending.
        cosines: plane rotations that merge coincident poles, [n-1].
        sines: plane rotations that merge coincident poles, [n-1].
        coupling: u, sorted and rotated; exactly zero at deflated poles, [n].
        values: eigenvalues x_j, interlacing the sorted d from below, [n].
        differences: d_i - x_j, [n, n], each relatively accurate.
        active: which poles are not deflated, [n].
    """

    order: jax.Array
    cosines: jax.Array
    sines: jax.Array
    coupling: jax.Array
    values: jax.Array
    differences: jax.Array
    active: jax.Array

    def project(self, vector: jax.Array) -> jax.Array:
        """Coefficients of a vector [n] in the orthonormal eigenvectors, [n]."""
        rotated = _apply_rotations(vector[self.order], self.cosines, self.sines)
        along = jnp.where(self.active[:, None], rotated[:, None] * self.directions(), 0.0)
        return jnp.where(self.active, jnp.sum(along, axis=0) / self.norms(), rotated)

    def combine(self, coefficients: jax.Array) -> jax.Array:
        """The vector [n] with these coefficients in the eigenvectors: undoes `project`."""
        scaled = jnp.where(self.active, coefficients / self.norms(), 0.0)
        along = jnp.sum(self.directions() * scaled, axis=1)
        rotated = jnp.where(self.active, along, coefficients)
        sorted_vector = _undo_rotations(rotated, self.cosines, self.sines)
        return jnp.zeros_like(sorted_vector).at[self.order].set(sorted_vector)

    def directions(self) -> jax.Array:
        """Unnormalised eigenvectors u_i / (d_i - x_j) of the active part, [n, n]."""
        both = self.active[:, None] & self.active[None, :]
        safe = jnp.where(both, self.differences, 1.0)
        return jnp.where(both, self.coupling[:, None] / safe, 0.0)

    def norms(self) -> jax.Array:
        """Euclidean norms of the columns of `directions`, [n]; one where deflated."""
        squares = jnp.sum(self.directions() ** 2, axis=0)
        return jnp.sqrt(jnp.where(self.active, squares, 1.0))


def rank_one_eigen(poles: jax.Array, coupling: jax.Array, strength: jax.Array) -> RankOneEigen:
    """Eigendecomposition of diag(poles) - strength coupling coupling^T.

    Args:
        poles: d, [n], real.
        coupling: u, [n], non-negative.
        strength: rho > 0, a scalar.

    Returns:
        A `RankOneEigen`; eigenvalues keep the order of the sorted poles.

    Kind: exact to rounding, relative in each d_i - x_j.
    Valid: finite poles, rho > 0.
    Source: secular equation, Golub 1973; the two-pole rational iteration of Bunch, Nielsen and
        Sorensen 1978 from the nearest pole, kept inside a bracket. The derivative is that of one
        Newton step from the root (implicit function theorem).
    """
    order = jnp.argsort(poles)
    d, u, cosines, sines = _deflate(poles[order], coupling[order])
    active = u > 0
    lower = _previous_active(active)
    origin, sign, distance = lax.stop_gradient(_solve(d, u, strength, active, lower))
    gaps = d[:, None] - d[origin][None, :]
    distance = _implicit_step(gaps, u, strength, sign, distance, active)
    differences = gaps - sign * distance
    values = jnp.where(active, d[origin] + sign * distance, d)
    return RankOneEigen(order, cosines, sines, u, values, differences, active)


def _deflate(d: jax.Array, u: jax.Array) -> tuple[jax.Array, ...]:
    """Rotates the coupling of coincident neighbours into the upper one."""

    def step(carry: jax.Array, pair: tuple) -> tuple:
        low, high, u_high = pair
        close = high - low <= DEFLATION * jnp.maximum(jnp.abs(low), jnp.abs(high))
        radius = jnp.hypot(carry, u_high)
        merge = close & (radius > 0)
        safe = jnp.where(merge, radius, 1.0)
        cosine = jnp.where(merge, u_high / safe, 1.0)
        sine = jnp.where(merge, carry / safe, 0.0)
        left = jnp.where(merge, 0.0, carry)
        return jnp.where(merge, radius, u_high), (left, cosine, sine)

    last, (rest, cosines, sines) = lax.scan(step, u[0], (d[:-1], d[1:], u[1:]))
    return d, jnp.append(rest, last), cosines, sines


def _apply_rotations(vector: jax.Array, cosines: jax.Array, sines: jax.Array) -> jax.Array:
    def step(carry: jax.Array, rotation: tuple) -> tuple:
        cosine, sine, entry = rotation
        return sine * carry + cosine * entry, cosine * carry - sine * entry

    last, rest = lax.scan(step, vector[0], (cosines, sines, vector[1:]))
    return jnp.append(rest, last)


def _undo_rotations(vector: jax.Array, cosines: jax.Array, sines: jax.Array) -> jax.Array:
    def step(carry: jax.Array, rotation: tuple) -> tuple:
        cosine, sine, entry = rotation
        return sine * carry + cosine * entry, cosine * carry - sine * entry

    first, rest = lax.scan(step, vector[-1], (cosines, sines, vector[:-1]), reverse=True)
    return jnp.append(first, rest)


def _previous_active(active: jax.Array) -> jax.Array:
    """Index of the nearest active pole below each pole, -1 if there is none."""
    index = jnp.where(active, jnp.arange(active.size), -1)
    return jnp.concatenate([jnp.array([-1], index.dtype), lax.cummax(index)[:-1]])


def _solve(
    d: jax.Array, u: jax.Array, strength: jax.Array, active: jax.Array, lower: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Origin pole, side and distance of every root."""
    own = jnp.arange(d.size)
    has_lower = lower >= 0
    weight = u**2
    reach = strength * jnp.sum(weight)
    gap = jnp.where(has_lower, d - d[lower], reach)
    above = own[:, None] >= own[None, :]  # pole i at or above root j

    def split_sums(differences: jax.Array) -> tuple[jax.Array, ...]:
        terms = jnp.where(weight[:, None] > 0, weight[:, None] / differences, 0.0)
        slopes = jnp.where(weight[:, None] > 0, terms / differences, 0.0)
        upper = jnp.sum(jnp.where(above, terms, 0.0), axis=0)
        under = jnp.sum(jnp.where(above, 0.0, terms), axis=0)
        return (
            upper,
            under,
            jnp.sum(jnp.where(above, slopes, 0.0), axis=0),
            jnp.sum(jnp.where(above, 0.0, slopes), axis=0),
        )

    middle_upper, middle_under, _, _ = split_sums(d[:, None] - d[None, :] + gap / 2)
    # The secular function grows with x: positive at the middle means the root lies lower.
    near_lower = has_lower & (middle_upper + middle_under > 1.0 / strength)
    origin = jnp.where(near_lower, lower, own)
    sign = jnp.where(near_lower, 1.0, -1.0)
    smallest = jnp.where(
        near_lower,
        weight[origin] / middle_upper,
        weight / (1.0 / strength + jnp.abs(middle_under)),
    )
    largest = jnp.where(has_lower, gap / 2, reach)
    # Half and double absorb the rounding of the bounds themselves.
    low, high = smallest / 2, jnp.minimum(2 * largest, jnp.where(has_lower, gap, 2 * reach))
    gaps = d[:, None] - d[origin][None, :]
    lower_gap = d[lower] - d[origin]
    upper_gap = d - d[origin]

    def refine(state: tuple) -> tuple:
        t, low, high, _, count = state
        sums = split_sums(gaps - sign * t)
        value = sums[0] + sums[1] - 1.0 / strength
        go_up = (value > 0) == (sign < 0)
        low, high = jnp.where(go_up, t, low), jnp.where(go_up, high, t)
        p, q = upper_gap - sign * t, jnp.where(has_lower, sign * t - lower_gap, 1.0)
        move = _rational_step(p, q, has_lower, sums, value)
        proposal = t + sign * move
        inside = (proposal > low) & (proposal < high)
        settled = (jnp.abs(move) <= 4e-16 * t) | (high - low <= 4e-16 * high) | ~active
        after = jnp.where(inside, proposal, jnp.sqrt(low) * jnp.sqrt(high))
        return jnp.where(settled, t, after), low, high, settled, count + 1

    def unfinished(state: tuple) -> jax.Array:
        return ~jnp.all(state[3]) & (state[4] < MAX_ITERATIONS)

    start = jnp.sqrt(low) * jnp.sqrt(high)
    state = lax.while_loop(unfinished, refine, (start, low, high, ~active, jnp.array(0)))
    return origin, sign, state[0]


def _rational_step(
    p: jax.Array, q: jax.Array, has_lower: jax.Array, sums: tuple[jax.Array, ...], value: jax.Array
) -> jax.Array:
    """Root of the interpolant c + s1/(p - h) - s2/(q + h) that matches both sums and slopes."""
    _, _, upper_slope, under_slope = sums
    s1, s2 = p**2 * upper_slope, q**2 * under_slope
    constant = value - s1 / p + s2 / q
    linear = value * (p - q) + s1 * q / p + s2 * p / q
    product = p * q * value
    root = jnp.sqrt(jnp.maximum(linear**2 + 4 * constant * product, 0.0))
    two_poles = -2 * product / (linear + jnp.where(linear >= 0, root, -root))
    return jnp.where(has_lower, two_poles, p + s1 / (value - s1 / p))


def _implicit_step(
    gaps: jax.Array,
    u: jax.Array,
    strength: jax.Array,
    sign: jax.Array,
    distance: jax.Array,
    active: jax.Array,
) -> jax.Array:
    """The root with its derivative attached; its value moves by rounding only."""
    both = active[:, None] & active[None, :]
    differences = jnp.where(both, gaps - sign * distance, 1.0)
    weight = jnp.where(both, u[:, None] ** 2, 0.0)
    value = jnp.sum(weight / differences, axis=0) - 1.0 / strength
    slope = jnp.sum(weight / differences**2, axis=0)
    step = jnp.where(active, value / lax.stop_gradient(jnp.where(active, slope, 1.0)), 0.0)
    return distance - sign * (step - lax.stop_gradient(step))
