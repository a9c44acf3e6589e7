"""How gradient noise and batch size set the best learning rate of one step on a quadratic.

A step x - eta u along a random direction u, made from the mean of B samples' gradients, changes a
quadratic loss in the mean by exactly -eta E<g, u> + eta^2 E(u' H u) / 2: the best learning rate and
the best gain follow from these two numbers (`OneStep`). Each method below has its own two.

Noise of one sample: covariance Sigma, or independent Gaussian with standard deviation s_i.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real, is_traced
from theory.sign_sgd import expected_sign


@partial(jax.tree_util.register_dataclass, data_fields=["slope", "curvature"], meta_fields=[])
@dataclass(frozen=True)
class OneStep:
    """Expected effect of one step, as a function of its learning rate.

    Attributes:
        slope: E<g, u>, first-order decrease of the loss per learning rate.
        curvature: E(u' H u), positive.
    """

    slope: jax.Array
    curvature: jax.Array

    @property
    def learning_rate(self) -> jax.Array:
        """The learning rate that lowers the expected loss most."""
        return self.slope / self.curvature

    @property
    def gain(self) -> jax.Array:
        """Expected decrease of the loss at that learning rate."""
        return self.slope**2 / (2.0 * self.curvature)

    def change(self, learning_rate: Real) -> jax.Array:
        """Expected change of the loss at any learning rate."""
        eta = jnp.asarray(learning_rate, float)
        return -eta * self.slope + eta**2 * self.curvature / 2.0


def sgd_step(gradient: Real, covariance: Real, hessian: Real, batch_size: Real) -> OneStep:
    """One step of SGD: learning rate eta_max / (1 + B_noise / B).

    Args:
        gradient: g, [d], not zero.
        covariance: Sigma of one sample's gradient, [d] or [d, d].
        hessian: H, [d] or [d, d].
        batch_size: B > 0, any shape.

    Returns:
        `OneStep` of arrays shaped like `batch_size`.

    Raises:
        ValueError: if shapes differ, the gradient is zero or a batch size is not positive.

    Kind: exact.
    Valid: quadratics, unbiased noise of any distribution; elsewhere to second order.
    Source: McCandlish et al. 2018 (arXiv 1812.06162) equation 2.6; E u = g, Cov u = Sigma / B.
    """
    check_real("batch_size", batch_size, above=0.0)
    g, noise, curve = _parts(gradient, covariance, hessian)
    batch = jnp.asarray(batch_size, float)
    spread = _product_trace(curve, noise)
    return OneStep(jnp.broadcast_to(jnp.sum(g**2), batch.shape), _form(curve, g) + spread / batch)


def normalized_step(gradient: Real, covariance: Real, hessian: Real, batch_size: Real) -> OneStep:
    """One step of normalized SGD: rate eta_max sqrt(1 + B_simple/B) / (1 + B_noise/B).

    It surges, with a peak at B = B_noise B_simple / (B_simple - 2 B_noise), exactly where
    B_simple > 2 B_noise: where the noise lies in flatter directions than the gradient.

    Args:
        gradient: g, [d], not zero.
        covariance: Sigma of one sample's gradient, [d] or [d, d].
        hessian: H, [d] or [d, d].
        batch_size: B > 0, any shape.

    Returns:
        `OneStep` of arrays shaped like `batch_size`.

    Raises:
        ValueError: if shapes differ, the gradient is zero or a batch size is not positive.

    Kind: asymptotic (noise spread over many directions): the squared norm of the noisy gradient is
        replaced by its mean |g|^2 + tr(Sigma)/B; relative error of the order of the inverse
        effective dimension tr(Sigma^2) / tr(Sigma)^2, none without noise.
    Valid: tr(Sigma^2) << tr(Sigma)^2.
    Source: derived; dividing `sgd_step` by that norm.
    """
    step = sgd_step(gradient, covariance, hessian, batch_size)
    g, noise, _ = _parts(gradient, covariance, hessian)
    square = jnp.sum(g**2) + jnp.sum(_diagonal(noise)) / jnp.asarray(batch_size, float)
    return OneStep(step.slope / jnp.sqrt(square), step.curvature / square)


def sign_step(gradient: Real, noise_std: Real, hessian: Real, batch_size: Real) -> OneStep:
    """One step of signSGD under independent Gaussian noise.

    With m_i = erf(sqrt(B/2) g_i / s_i): slope sum m_i g_i, curvature sum H_ii + sum over i != j of
    m_i m_j H_ij.

    Args:
        gradient: g, [d], not zero.
        noise_std: s > 0 of one sample, a scalar or [d].
        hessian: H, [d] (a diagonal) or [d, d].
        batch_size: B > 0, any shape.

    Returns:
        `OneStep` of arrays shaped like `batch_size`.

    Raises:
        ValueError: if shapes differ, the gradient is zero, or a number is not positive.

    Kind: exact.
    Valid: quadratics, Gaussian noise independent between coordinates.
    Source: Li et al. 2024 (arXiv 2405.14578) theorem 1; sign^2 = 1, independent signs multiply.
    """
    check_real("batch_size", batch_size, above=0.0)
    check_real("noise_std", noise_std, above=0.0)
    g, curve = _gradient(gradient), _operator("hessian", hessian)
    _check_same(g, curve, "hessian")
    batch = jnp.asarray(batch_size, float)
    mean = expected_sign(g, noise_std, batch[..., None])
    diagonal = _diagonal(curve)
    coupled = _form(curve, mean) - jnp.sum(diagonal * mean**2, axis=-1)
    return OneStep(jnp.sum(mean * g, axis=-1), jnp.sum(diagonal) + coupled)


def spectral_step(gradient: Real, noise_std: Real, curvature: Real, batch_size: Real) -> OneStep:
    """One step along the polar factor (Muon) of a noisy gradient, Hessian a multiple of one.

    Slope sum_k s_k^2 / sqrt(s_k^2 + max(m, n) s^2 / B), s_k the singular values of g; curvature
    h min(m, n). With equal s_k the rate is eta_max / sqrt(1 + B_simple / B).

    Args:
        gradient: g, [m, n], not zero.
        noise_std: s > 0, of every entry of one sample's gradient.
        curvature: h > 0, the Hessian is h times the identity.
        batch_size: B > 0, any shape.

    Returns:
        `OneStep` of arrays shaped like `batch_size`.

    Raises:
        ValueError: if the gradient is no matrix or zero, or a number is not positive.

    Kind: asymptotic (long matrices): the Gram matrix of the noise on the short side is replaced by
        its mean; relative error of the order of sqrt(min(m, n) / max(m, n)), none without noise.
    Valid: min(m, n) << max(m, n); independent noise of one variance.
    Source: derived; mean-field of Su (kexue.fm/archives/11285), singular value by singular value.
    """
    check_real("batch_size", batch_size, above=0.0)
    check_real("noise_std", noise_std, above=0.0)
    check_real("curvature", curvature, above=0.0)
    g = jnp.asarray(gradient, float)
    if g.ndim != 2:
        raise ValueError(f"`gradient` must be a matrix [m, n], got shape {g.shape}.")
    _check_nonzero(g)
    batch = jnp.asarray(batch_size, float)[..., None]
    values = jnp.linalg.svd(g, compute_uv=False)
    noise = max(g.shape) * jnp.asarray(noise_std, float) ** 2 / batch
    slope = jnp.sum(values**2 / jnp.sqrt(values**2 + noise), axis=-1)
    return OneStep(
        slope, jnp.broadcast_to(min(g.shape) * jnp.asarray(curvature, float), slope.shape)
    )


def _gradient(gradient: Real) -> jax.Array:
    g = jnp.asarray(gradient, float)
    if g.ndim != 1:
        raise ValueError(f"`gradient` must be a vector [d], got shape {g.shape}.")
    _check_nonzero(g)
    return g


def _check_nonzero(gradient: jax.Array) -> None:
    check_real("gradient", gradient)
    if not is_traced(gradient) and not bool(jnp.any(gradient != 0.0)):
        raise ValueError("`gradient` must not be zero, got all entries 0.")


def _operator(name: str, values: Real) -> jax.Array:
    operator = jnp.asarray(values, float)
    if operator.ndim not in (1, 2) or operator.shape[0] != operator.shape[-1]:
        raise ValueError(f"`{name}` must be [d] or [d, d], got shape {operator.shape}.")
    return operator


def _check_same(gradient: jax.Array, operator: jax.Array, name: str) -> None:
    if operator.shape[0] != gradient.size:
        raise ValueError(
            f"`{name}` must have sides of {gradient.size} like `gradient`, got {operator.shape}."
        )


def _parts(
    gradient: Real, covariance: Real, hessian: Real
) -> tuple[jax.Array, jax.Array, jax.Array]:
    g = _gradient(gradient)
    noise, curve = _operator("covariance", covariance), _operator("hessian", hessian)
    _check_same(g, noise, "covariance")
    _check_same(g, curve, "hessian")
    return g, noise, curve


def _diagonal(operator: jax.Array) -> jax.Array:
    return operator if operator.ndim == 1 else jnp.diagonal(operator)


def _form(operator: jax.Array, vectors: jax.Array) -> jax.Array:
    """V' H v over the last axis."""
    image = vectors * operator if operator.ndim == 1 else vectors @ operator
    return jnp.sum(image * vectors, axis=-1)


def _product_trace(first: jax.Array, second: jax.Array) -> jax.Array:
    if first.ndim == 2 and second.ndim == 2:
        return jnp.sum(first * second.T)
    return jnp.sum(_diagonal(first) * _diagonal(second))
