"""Constants of the convergence bounds: distance to go, smoothness and noise, in which norm.

    Delta = f(x_0) - f*,   |grad f(x) - grad f(y)|_* <= L |x - y|,
    |v|_* <= rho |v|_2,   E |g - grad f|_2^2 <= sigma^2 for one sample,

with |.| the norm that a step is measured in and |.|_* its dual. For a quadratic with Hessian H the
smallest L is the largest |H v|_* over |v| <= 1. Noise sigma and the ratio rho enter as a product.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_choice, check_real
from theory.lmo_smoothness import (
    as_hessian,
    euclidean_smoothness,
    matrix_smoothness,
    max_smoothness,
)
from theory.norms import find_norm


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["initial_gap", "smoothness", "norm_ratio", "noise"],
    meta_fields=[],
)
@dataclass(frozen=True)
class BoundConstants:
    """What a bound knows of a problem and a norm; build it with `bound_constants`.

    Attributes:
        initial_gap: Delta, loss above its minimum at the start.
        smoothness: L, Lipschitz constant of the gradient from the norm to its dual.
        norm_ratio: rho, largest dual norm over Euclidean norm.
        noise: sigma, root mean square Euclidean norm of the gradient noise of one sample.
    """

    initial_gap: Real
    smoothness: Real
    norm_ratio: Real
    noise: Real

    @property
    def symbols(self) -> dict[str, Real]:
        """The same by the names used in the expressions of the bounds."""
        return {
            "Delta": self.initial_gap,
            "L": self.smoothness,
            "rho": self.norm_ratio,
            "sigma": self.noise,
        }


def bound_constants(
    initial_gap: Real, smoothness: Real, norm_ratio: Real = 1.0, noise: Real = 1.0
) -> BoundConstants:
    """Checked `BoundConstants`.

    Args:
        initial_gap: Delta > 0 (loss units).
        smoothness: L > 0.
        norm_ratio: rho > 0.
        noise: sigma >= 0.

    Returns:
        The constants.

    Raises:
        ValueError: if one is outside its domain.

    Kind: definition.
    Valid: all positive, noise possibly zero.
    Source: Kovalev 2025 (arXiv 2503.12645) assumptions 1 to 3.
    """
    check_real("initial_gap", initial_gap, above=0.0)
    check_real("smoothness", smoothness, above=0.0)
    check_real("norm_ratio", norm_ratio, above=0.0)
    check_real("noise", noise, at_least=0.0)
    return BoundConstants(
        *(jnp.asarray(x, float) for x in (initial_gap, smoothness, norm_ratio, noise))
    )


def norm_ratio(norm: str, shape: tuple[int, ...]) -> float:
    """rho, the largest |v|_* / |v|_2 over arrays of a shape.

    Args:
        norm: key of `theory.norms.NORMS`.
        shape: of the parameters; [d_out, d_in] for matrix norms.

    Returns:
        1 (euclidean), sqrt(d) (max), sqrt(min(m, n)) (spectral), sqrt(d_out d_in) (one_to_rms),
        sqrt(min(m, n) d_out / d_in) (rms_to_rms), sqrt(d_out / d_in) (rms_to_inf).

    Raises:
        ValueError: if there is no such norm, or it needs a matrix.

    Kind: exact.
    Valid: every shape with positive sides.
    Source: derived; Cauchy-Schwarz over entries, singular values, columns or rows, reached where
        all of them are equal.
    """
    find_norm(norm, shape)
    if not shape or min(shape) < 1:
        raise ValueError(f"`shape` must have positive sides, got {shape}.")
    if norm in ("euclidean", "max"):
        return 1.0 if norm == "euclidean" else float(np.prod(shape)) ** 0.5
    rows, columns = shape
    return {
        "spectral": min(rows, columns),
        "one_to_rms": rows * columns,
        "rms_to_rms": min(rows, columns) * rows / columns,
        "rms_to_inf": rows / columns,
    }[norm] ** 0.5


def white_noise(noise_std: Real, shape: tuple[int, ...]) -> jax.Array:
    """Sigma of independent noise of one standard deviation in every entry of the gradient.

    Args:
        noise_std: s >= 0, of one entry of one sample's gradient.
        shape: of the parameters.

    Returns:
        s sqrt(d), d the number of entries.

    Raises:
        ValueError: if `noise_std` is negative.

    Kind: exact.
    Valid: any distribution with that variance.
    Source: E |xi|_2^2 = d s^2.
    """
    check_real("noise_std", noise_std, at_least=0.0)
    return jnp.asarray(noise_std, float) * float(np.prod(shape)) ** 0.5


def vector_constants(norm: str, hessian: Real, error: Real, noise_std: Real) -> BoundConstants:
    """All constants of 1/2 (x - x*)' H (x - x*) with white gradient noise.

    Args:
        norm: `euclidean` or `max`.
        hessian: H, [d] (a diagonal) or [d, d], positive semidefinite.
        error: x_0 - x*, [d].
        noise_std: s >= 0, of one entry of one sample's gradient.

    Returns:
        `BoundConstants` of that norm.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact; L as `max_smoothness` says.
    Valid: positive semidefinite H; white noise.
    Source: derived; see the functions called.
    """
    check_choice("norm", norm, ("euclidean", "max"))
    curvature, start = as_hessian(hessian), jnp.asarray(error, float)
    if start.shape != curvature.shape[:1]:
        raise ValueError(f"`error` must have shape {curvature.shape[:1]}, got {start.shape}.")
    pull = curvature * start if curvature.ndim == 1 else curvature @ start
    smooth = euclidean_smoothness if norm == "euclidean" else max_smoothness
    return bound_constants(
        jnp.sum(pull * start) / 2,
        smooth(curvature),
        norm_ratio(norm, start.shape),
        white_noise(noise_std, start.shape),
    )


def matrix_constants(
    norm: str, left: Real, right: Real, error: Real, noise_std: Real
) -> BoundConstants:
    """All constants of 1/2 |A^(1/2) (W - W*) B^(1/2)|_F^2 with white gradient noise.

    Args:
        norm: key of `theory.norms.NORMS`.
        left: A, [m] (a diagonal) or [m, m], positive semidefinite.
        right: B, [n] or [n, n], positive semidefinite.
        error: W_0 - W*, [m, n].
        noise_std: s >= 0, of one entry of one sample's gradient.

    Returns:
        `BoundConstants` of that norm.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact; L as `matrix_smoothness` says.
    Valid: positive semidefinite A and B; white noise.
    Source: derived; see the functions called.
    """
    rows, columns = as_hessian(left, "left"), as_hessian(right, "right")
    start = jnp.asarray(error, float)
    if start.shape != (rows.shape[0], columns.shape[0]):
        expected = (rows.shape[0], columns.shape[0])
        raise ValueError(f"`error` must have shape {expected}, got {start.shape}.")
    pull = _dense(rows) @ start @ _dense(columns)
    return bound_constants(
        jnp.sum(pull * start) / 2,
        matrix_smoothness(norm, rows, columns),
        norm_ratio(norm, start.shape),
        white_noise(noise_std, start.shape),
    )


def _dense(curvature: jax.Array) -> jax.Array:
    return jnp.diag(curvature) if curvature.ndim == 1 else curvature
