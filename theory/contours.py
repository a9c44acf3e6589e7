"""Contours for the inverse z-transform of moments of a linear recursion, over decades of steps.

A sum of decays f_T = sum_j c_j (1 - x_j)^T, 0 < x_j < 1, has the transform H(x) = sum_j c_j /
(x_j - x), and f_T is the integral of -(1 - x)^T H(x) dx / (2 pi i) around all x_j. Along

    1 - x = exp(-z),   z = mu (sin(alpha - i theta) - 1),   mu = 3 / (2 T_max),   alpha = pi/4,

a hyperbola around the positive axis, the trapezoidal rule in theta converges like
exp(-2 pi (pi/4) / h): a shift of theta by pi/4 i reaches the poles on one side, the line where
(1 - x)^T starts to grow on the other. Its length grows like the logarithm of T_max / T_min. On one
contour the integrand of a short horizon also passes the scales of a long one, where H may be
larger by T_max / T_min, so that is held below a thousand: longer ranges take several contours.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_real

ROUNDING = 1e-15
SPACING = 2.0 * np.pi * (np.pi / 4.0) / -np.log(ROUNDING)
RANGE = 1e3
# Counts of points are rounded up to a multiple of this: similar ranges share compiled code.
POINTS_PER_CLASS = 8
# From here on (1 - x)^T has decayed where the contour leaves the strip of one branch of log(1 - x).
FIRST_STEPS = 32
SCALE = 1.5


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["decay", "points", "measure", "reference", "longest", "ratio"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Contours:
    """Points of several contours, the first for the longest horizons.

    Attributes:
        decay: z, so that (1 - x)^T = exp(-z T), [contours, points], complex.
        points: x, [contours, points], complex.
        measure: dx times the spacing over -2 pi i, twice for the conjugate half, [contours,
            points], complex; a result is the real part of a sum.
        reference: a point on the negative axis at the scale of each contour, [contours].
        longest: the longest horizon of the first contour, a scalar.
        ratio: of the longest horizons of neighbouring contours, a scalar.
    """

    decay: jax.Array
    points: jax.Array
    measure: jax.Array
    reference: jax.Array
    longest: jax.Array
    ratio: jax.Array

    def which(self, steps: jax.Array) -> jax.Array:
        """The contour that serves a horizon, integers shaped like `steps`."""
        behind = self.longest / jnp.maximum(steps, 1.0)
        ends = self.ratio ** jnp.arange(1.0, self.reference.size)
        return jnp.sum(behind[..., None] > ends, axis=-1)

    def kernel(self, steps: jax.Array) -> jax.Array:
        """Measure times (1 - x)^T on the contour of each horizon, [..., points]."""
        own = self.which(steps)
        return self.measure[own] * jnp.exp(-self.decay[own] * steps[..., None].astype(complex))


def contours(shortest: Real, longest: Real) -> Contours:
    """Contours that serve every horizon between two.

    Args:
        shortest: T_min >= 32.
        longest: T_max >= `shortest`.

    Returns:
        `Contours` with one row for at most three decades of horizons.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to 1e-12 of the largest (1/T) H(1/T) on a contour (measured; discretisation and
        truncation 1e-15 each, times what H grows by over the decades of one contour).
    Valid: transforms analytic off the interval [0, 1] and bounded by those of positive measures.
    Source: hyperbola of Weideman and Trefethen 2007 (Math. Comp. 76, 1341), here in log(1 - x), so
        that powers of discrete steps are inverted and not exponentials.
    """
    check_real("shortest", shortest, at_least=FIRST_STEPS)
    check_real("longest", longest, at_least=float(np.asarray(shortest)))
    span = float(np.asarray(longest)) / float(np.asarray(shortest))
    count = max(1, int(np.ceil(np.log(span) / np.log(RANGE) - 1e-9)))
    ratio = span ** (1.0 / count)
    end = np.arccosh((-np.log(ROUNDING) * ratio / SCALE + 1.0) * np.sqrt(2.0))
    points = POINTS_PER_CLASS * int(np.ceil(end / SPACING / POINTS_PER_CLASS))
    theta = (np.arange(points) + 0.5) * SPACING
    ends = float(np.asarray(longest)) / ratio ** np.arange(count)
    scale = (SCALE / ends)[:, None]
    decay = scale * (np.sin(np.pi / 4 - 1j * theta) - 1.0)
    slope = -1j * scale * np.cos(np.pi / 4 - 1j * theta)
    measure = np.exp(-decay) * slope * SPACING * (1j / np.pi)
    return Contours(
        jnp.asarray(decay),
        jnp.asarray(-np.expm1(-decay)),
        jnp.asarray(measure),
        jnp.asarray(-1.0 / ends),
        jnp.asarray(ends[0]),
        jnp.asarray(ratio),
    )
