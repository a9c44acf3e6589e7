"""Compiled core of `theory.sgd_batch`: the curves of some configurations on given nodes."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import zeta

from theory.contours import FIRST_STEPS, Contours
from theory.linear_methods import log_abs_one_minus
from theory.noise_transform import Dynamics, first_noise, noise_transform
from theory.sgd import sgd
from theory.spectrum import Spectrum

# Configurations side by side in the innermost loops: their accumulators fit a core's cache.
LANES = 32
# The error of a contour is below 2e-12 of the sum of its terms' magnitudes (measured). Where that
# sum exceeds fifty times the loss, 1e-10 of the loss is not safe: close to the stability limit, or
# far beyond convergence without label noise.
CANCELLATION = 50.0

Nodes = tuple[np.ndarray, np.ndarray]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["capacity", "source", "size", "noise_variance", "learning_rate", "inverse_batch"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Configurations:
    """Many problems, each with its method; one entry a configuration.

    Attributes:
        capacity: a, [C].
        source: b, [C].
        size: N, whole numbers, [C].
        noise_variance: sigma^2, [C].
        learning_rate: eta, [C].
        inverse_batch: 1/B, [C]; zero for gradient descent.
    """

    capacity: jax.Array
    source: jax.Array
    size: jax.Array
    noise_variance: jax.Array
    learning_rate: jax.Array
    inverse_batch: jax.Array


@partial(
    jax.jit,
    static_argnames="noisy",
    # The widest registers of this host; XLA stays at half of them by itself.
    compiler_options={"xla_cpu_prefer_vector_width": 512},
)
def chunk_curves(
    many: Configurations,
    nodes: Nodes,
    steps: np.ndarray,
    path: Contours | None,
    early: int,
    noisy: bool,
) -> tuple[jax.Array, ...]:
    """Curves of a chunk of configurations.

    Args:
        many: the configurations, [C], C a multiple of 32.
        nodes: logarithms of mode numbers and weights, [C, n] each, n a multiple of 32.
        steps: horizons, [P] for all or [C, P].
        path: contours that serve all horizons of at least 32 steps; None if there are none.
        early: the longest horizon below 32.
        noisy: whether there is noise to compute.

    Returns:
        Bias [C, P], noise [C, P], approximation [C], and whether the noise is in doubt [C].

    Kind: exact; see `theory.sgd_batch.sgd_curves`.
    Valid: Gaussian data, fresh samples.
    Source: derived; see `theory.noise_transform`.
    """
    common = jnp.asarray(steps) if steps.ndim == 1 else None
    kernel = None if common is None or path is None else path.kernel(common)

    def one(given: tuple) -> tuple[jax.Array, ...]:
        this, log_index, weights, own = given
        horizons = own if common is None else common
        approximation = zeta(this.source, this.size + 1.0) / 2.0
        bias = _bias(this, log_index, weights, horizons)
        if not noisy:
            return bias, jnp.zeros_like(bias), approximation, jnp.array(False)
        plan = (path, kernel, early)
        noise, terms = _noise(this, (log_index, weights), approximation, horizons, plan)
        loss = this.noise_variance / 2.0 + approximation + bias + noise
        return bias, noise, approximation, jnp.any(terms > CANCELLATION * loss)

    rows = (many, *nodes, steps if common is None else jnp.zeros_like(many.size))
    return lax.map(one, rows, batch_size=LANES)


def _bias(
    this: Configurations, log_index: jax.Array, weights: jax.Array, steps: jax.Array
) -> jax.Array:
    """Loss of the mean iterate, [P]."""
    log_base = log_abs_one_minus(this.learning_rate * jnp.exp(-this.capacity * log_index))
    # exp(-2000) is zero, and zero steps leave one even where eta lam = 1.
    log_base = jnp.maximum(log_base, -1e3)
    # Weights of spare nodes are zero; in the exponent they also silence a diverging mode.
    start = jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1.0)), -jnp.inf)
    start = start - this.source * log_index
    return jnp.sum(jnp.exp(start + 2.0 * steps[:, None] * log_base), axis=-1) / 2.0


def _noise(
    this: Configurations,
    nodes: tuple[jax.Array, jax.Array],
    approximation: jax.Array,
    steps: jax.Array,
    plan: tuple[Contours | None, jax.Array | None, int],
) -> tuple[jax.Array, jax.Array]:
    """Loss of the fluctuations, infinite after step 0 where they grow, and what summed to it."""
    path, kernel, early = plan
    stable, modes = _dynamics(this, nodes, approximation)
    first = first_noise(modes, jnp.asarray(early))
    noise = first[jnp.clip(steps, 0, FIRST_STEPS - 1).astype(int)]
    terms = jnp.zeros_like(noise)
    if path is not None:
        rows = (path.points, path.reference)
        values = lax.map(lambda row: noise_transform(modes, *row), rows)[path.which(steps)]
        along = path.kernel(steps) if kernel is None else kernel
        real, imaginary = along.real * values.real, along.imag * values.imag
        late = steps >= FIRST_STEPS
        noise = jnp.where(late, jnp.maximum(jnp.sum(real - imaginary, axis=-1), 0.0), noise)
        terms = jnp.where(late, jnp.sum(jnp.abs(real) + jnp.abs(imaginary), axis=-1), 0.0)
    return jnp.where(stable | (steps == 0), noise, jnp.inf), terms


def _dynamics(
    this: Configurations, nodes: tuple[jax.Array, jax.Array], approximation: jax.Array
) -> tuple[jax.Array, Dynamics]:
    """Whether SGD is stable in mean square, and its dynamics; at rate zero where it is not."""
    log_index, weights = nodes
    eigenvalues = jnp.exp(-this.capacity * log_index)
    margin = 2.0 - (1.0 + this.inverse_batch) * this.learning_rate * eigenvalues
    share = this.inverse_batch * this.learning_rate * eigenvalues
    spread = jnp.sum(weights * share / jnp.where(margin > 0.0, margin, 1.0))
    stable = jnp.all(margin > 0.0) & (spread < 1.0)
    rate = jnp.where(stable, this.learning_rate, 0.0)
    return stable, Dynamics(
        rate * eigenvalues,
        weights * jnp.exp(-this.source * log_index),
        weights * eigenvalues**2,
        this.inverse_batch,
        this.inverse_batch * rate**2,
        this.noise_variance + 2.0 * approximation,
    )


@jax.jit
def diagonalised_noise(many: Configurations, nodes: Nodes, steps: np.ndarray) -> jax.Array:
    """Noise of a few configurations, one diagonalisation each.

    Args:
        many: the configurations, [C], stable.
        nodes: logarithms of mode numbers and weights, [C, n] each.
        steps: horizons, [P] for all or [C, P].

    Returns:
        Array [C, P].

    Kind: exact; see `theory.sgd.sgd`.
    Valid: Gaussian data, fresh samples, below the critical learning rate.
    Source: derived; see `theory.sgd`.
    """

    def one(given: tuple) -> jax.Array:
        this, log_index, weights, own = given
        spectrum = Spectrum(
            jnp.exp(-this.capacity * log_index),
            jnp.exp(-this.source * log_index),
            weights,
            zeta(this.source, this.size + 1.0) / 2.0,
            this.noise_variance,
        )
        return sgd(spectrum, this.learning_rate, 1.0 / this.inverse_batch, own).noise

    return lax.map(one, (many, *nodes, jnp.broadcast_to(steps, (many.size.size, steps.shape[-1]))))
