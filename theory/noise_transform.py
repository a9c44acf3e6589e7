"""The noise of SGD as a rational transform of its spectrum, for many horizons at once.

With s = eta lam, d0 = s (2 - s) and d = d0 - s^2/B the second moments have the resolvent of
diag(d) - rho u u^T (see `theory.sgd`), whose rank-one part is solved by hand:

    F = sum w lam^2 / (d - x),  G = sum w e / (d0 - x),  E = sum w e (s^2/B) / ((d - x) (d0 - x)),
    noise of the start: (E + rho F G) / (1 - rho F),  of the labels: -rho s2 F / (x (1 - rho F)).

G belongs to the mean iterate; what is left is proportional to 1/B, so the noise never cancels
against the bias. A constant has no inverse, but would cost the digits by which it exceeds the
rest: each sum is taken as its difference from that at a reference point y < 0,
F(x) = F(y) + (x - y) F1(x), F1 = sum (w lam^2 / (d - y)) / (d - x), formed without subtraction.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from theory.contours import FIRST_STEPS

# Nodes added in one pass over the accumulators: fewer move more memory, more spill registers.
UNROLL = 4


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["steps", "energies", "loads", "inverse_batch", "strength", "label_noise"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Dynamics:
    """What the second moments of one configuration need, on n nodes.

    Attributes:
        steps: s = eta lam, [n], in (0, 2 / (1 + 1/B)).
        energies: weight times initial energy, w lam (x*)^2, [n].
        loads: weight times lam^2, [n].
        inverse_batch: 1/B, a scalar.
        strength: rho = eta^2/B, a scalar.
        label_noise: s2, label noise with that of the untrained modes, a scalar.
    """

    steps: jax.Array
    energies: jax.Array
    loads: jax.Array
    inverse_batch: jax.Array
    strength: jax.Array
    label_noise: jax.Array

    @property
    def mean_poles(self) -> jax.Array:
        """d0, rates at which squared means decay, [n]."""
        return self.steps * (2.0 - self.steps)

    @property
    def poles(self) -> jax.Array:
        """d, rates at which second moments decay by themselves, [n]."""
        return self.steps * (2.0 - (1.0 + self.inverse_batch) * self.steps)

    @property
    def kicks(self) -> jax.Array:
        """s^2/B, share of a mode's drive that becomes its noise, [n]."""
        return self.inverse_batch * self.steps**2


def noise_transform(modes: Dynamics, points: jax.Array, reference: jax.Array) -> jax.Array:
    """Transform of the loss of the fluctuations on the points of a contour.

    Args:
        modes: the dynamics, stable, on a multiple of `UNROLL` nodes.
        points: x, off the positive axis, [k], complex.
        reference: y < 0, of the size of the smallest |x|, a scalar.

    Returns:
        Complex array [k]; with `theory.contours.Contours.kernel` it sums to the noise.

    Kind: exact to rounding (relative to the change of each sum from the reference point).
    Valid: SGD stable in mean square.
    Source: derived; Sherman and Morrison's formula for diag(d) - rho u u^T.
    """
    from_pole, from_mean = modes.poles - reference, modes.mean_poles - reference
    p = modes.loads / from_pole
    q = modes.energies / from_mean
    t = modes.energies * modes.kicks / (from_pole * from_mean)
    f, g, e = jnp.sum(p), jnp.sum(q), jnp.sum(t)
    f1, g1, e1 = _cauchy_sums(modes, (p, q, t, from_pole), points)
    rest = 1.0 - modes.strength * f
    start = (e + modes.strength * f * g) / rest
    reals = (f, g, rest, start, modes.strength, modes.label_noise, reference)
    f, g, rest, start, rho, noise, y = (real.astype(complex) for real in reals)
    shift = points - y
    whole_f, whole_g = f + shift * f1, g + shift * g1
    initial = shift * (e1 + rho * (f * g1 + f1 * (whole_g + start)))
    labels = rho * noise * whole_f / points
    return (initial - labels) / (2.0 * (rest - rho * shift * f1))


def _cauchy_sums(
    modes: Dynamics, rows: tuple[jax.Array, ...], points: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """F1, G1 and E1, [k] each; in real arithmetic, imaginary parts over that of the point."""
    x, y = points.real, points.imag
    y2 = y**2

    def add(totals: tuple, row: tuple) -> tuple[tuple, None]:
        poles, means, p, q, t, v = row
        inverses = [
            (1.0 / ((poles[j] - x) ** 2 + y2), 1.0 / ((means[j] - x) ** 2 + y2))
            for j in range(UNROLL)
        ]
        f, fi, g, gi, e, ei = totals
        # Without the barrier each of the six sums would repeat the divisions.
        for j, (m, n) in enumerate(lax.optimization_barrier(inverses)):
            a, b = poles[j] - x, means[j] - x
            pm, qn, tm, vn = p[j] * m, q[j] * n, t[j] * m, v[j] * n
            f, fi = f + pm * a, fi + pm
            g, gi = g + qn * b, gi + qn
            e, ei = e + tm * (a + vn * (a * b - y2)), ei + tm * (1.0 + vn * (a + b))
        return (f, fi, g, gi, e, ei), None

    blocks = tuple(v.reshape(-1, UNROLL) for v in (modes.poles, modes.mean_poles, *rows))
    f, fi, g, gi, e, ei = lax.scan(add, (jnp.zeros_like(x),) * 6, blocks)[0]
    return lax.complex(f, y * fi), lax.complex(g, y * gi), lax.complex(e, y * ei)


def first_noise(modes: Dynamics, count: jax.Array) -> jax.Array:
    """Loss of the fluctuations after 0..`FIRST_STEPS` - 1 steps, stepped.

    Args:
        modes: the dynamics.
        count: how many steps to take, below `FIRST_STEPS`; later entries stay zero.

    Returns:
        Array [FIRST_STEPS].

    Kind: exact to rounding.
    Valid: any learning rate.
    Source: derived; the recursion of `theory.sgd` for weighted energies of mean and fluctuation.
    """

    def step(t: jax.Array, state: tuple) -> tuple:
        mean, extra, losses = state
        drive = jnp.sum(mean) + jnp.sum(extra) + modes.label_noise
        kick = modes.kicks * mean + modes.strength * modes.loads * drive
        extra = extra - modes.poles * extra + kick
        return mean - modes.mean_poles * mean, extra, losses.at[t + 1].set(jnp.sum(extra) / 2.0)

    begin = (modes.energies, jnp.zeros_like(modes.loads), jnp.zeros(FIRST_STEPS))
    return lax.fori_loop(0, count, step, begin)[2]
