"""One-pass SGD with momentum on Gaussian least squares, exactly, at any horizon.

Optax convention: m <- mu m + g, x <- x - eta m (heavy ball) or x <- x - eta (g + mu m) (Nesterov).
With e = x - x* and n = eta m, the second moments v = E e^2, c = E e n, w = E n^2 of each mode obey

    G  = h^2 (1 + 1/B) v + (eta^2/B) lam (sum_j lam_j v_j + s^2),     h = eta lam,
    w' = mu^2 w + 2 mu h c + G,
    heavy ball:  v' = v - 2 (mu c + h v) + w',                        c' = mu c + h v - w',
    Nesterov:    v' = v - 2 (mu^2 c + (1 + mu) h v) + mu^2 w' + 2 mu r + G,
                 c' = mu c + h v - mu w' - r,                         r = E n' eta g = mu h c + G,

where s^2 = sigma^2 + sum_{i>N} i^-b is the label noise, untrained modes included. The map I - P is
not symmetric; its powers come from P_{k+1} = 2 P_k - P_k^2 for I - P_k = (I - P)^(2^k), which keeps
the relative accuracy of small rates where squaring I - P itself would lose it.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.accelerated import check_whole_steps
from theory.checks import Real, is_traced
from theory.decomposition import Decomposition, decompose
from theory.momentum_noise import momentum_stability_sum
from theory.problem import PowerLawQuadratic
from theory.second_order import heavy_ball_residual, nesterov_residual
from theory.spectrum import Spectrum, compress, mode_sum

# Eight points a block: quadrature error 3e-12, and half the matrix dimension of sixteen.
POINTS_PER_BLOCK = 8


def sgd_momentum(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    batch_size: Real,
    steps: Real,
    *,
    nesterov: bool = False,
) -> Decomposition:
    """Expected loss of one-pass SGD with momentum, at any horizon.

    Cost: log2(T) products of matrices of dimension 3 n + 1, n nodes; n is about 320 at N = 1e12.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0 with `momentum_stability_sum` below one.
        momentum: mu in [0, 1).
        batch_size: B >= 1.
        steps: T >= 0, whole numbers below 2^53, any shape; not traced.
        nesterov: Nesterov's form instead of heavy ball.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; bias is the loss of the mean iterate,
        noise the rest.

    Raises:
        ValueError: if an argument is outside its domain or the iteration diverges in mean square.

    Kind: exact to quadrature error (3e-12) and rounding.
    Valid: Gaussian data, fresh samples; T sqrt(eta lam_16) below 10 or mu^T negligible, else use
        `stepped_sgd_momentum` on resolved nodes.
    Source: derived; module docstring.
    """
    spectrum, eta, mu, batch = _checked(problem, learning_rate, momentum, batch_size, nesterov)
    check_whole_steps(steps)
    horizon = jnp.asarray(steps, float)
    bits = int(np.max(np.asarray(steps))).bit_length()
    second = _doubled(spectrum, eta, mu, batch, horizon.ravel(), nesterov, bits)
    return _split(spectrum, eta, mu, horizon, second.reshape(horizon.shape), nesterov)


def stepped_sgd_momentum(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    batch_size: Real,
    steps: Real,
    *,
    nesterov: bool = False,
) -> Decomposition:
    """Expected loss of one-pass SGD with momentum by stepping the moments of every node.

    Args:
        problem: the quadratic, or any spectrum (e.g. of `theory.oscillation.resolved_spectrum`).
        learning_rate: eta > 0 with `momentum_stability_sum` below one.
        momentum: mu in [0, 1).
        batch_size: B >= 1.
        steps: T >= 0, whole numbers up to about 1e6, any shape.
        nesterov: Nesterov's form instead of heavy ball.

    Returns:
        A `Decomposition` of arrays shaped like `steps`.

    Raises:
        ValueError: if an argument is outside its domain or the iteration diverges in mean square.

    Kind: exact to quadrature error and rounding.
    Valid: Gaussian data, fresh samples.
    Source: derived; module docstring.
    """
    spectrum, eta, mu, batch = _checked(problem, learning_rate, momentum, batch_size, nesterov)
    check_whole_steps(steps)
    horizon = np.asarray(steps, float)
    stops, back = np.unique(horizon, return_inverse=True)
    second = _stepped(spectrum, eta, mu, batch, jnp.asarray(stops.astype(int)), nesterov)
    return _split(
        spectrum, eta, mu, jnp.asarray(horizon), second[back].reshape(horizon.shape), nesterov
    )


def _checked(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    batch_size: Real,
    nesterov: bool,
) -> tuple[Spectrum, jax.Array, jax.Array, jax.Array]:
    total = momentum_stability_sum(problem, learning_rate, momentum, batch_size, nesterov=nesterov)
    if not is_traced(total) and not total < 1.0:
        raise ValueError(
            f"`learning_rate` {float(np.asarray(learning_rate)):g} diverges in mean square at "
            f"momentum {float(np.asarray(momentum)):g} and batch size "
            f"{float(np.asarray(batch_size)):g}; it must be lower."
        )
    nodes = problem if isinstance(problem, Spectrum) else compress(problem, POINTS_PER_BLOCK)
    return (
        nodes,
        jnp.asarray(learning_rate, float),
        jnp.asarray(momentum, float),
        jnp.asarray(batch_size, float),
    )


def _advance(
    step: jax.Array, mu: jax.Array, moments: jax.Array, kick: jax.Array, nesterov: bool
) -> jax.Array:
    """Change of (v, c, w), [3, ...], in one step; `kick` is the second moment of eta g."""
    v, c, w = moments
    cross = mu * step * c
    new_w = mu**2 * w + 2.0 * cross + kick
    if nesterov:
        along = cross + kick
        change_v = mu**2 * new_w + 2.0 * mu * along + kick
        change_v -= 2.0 * (mu**2 * c + (1.0 + mu) * step * v)
        change_c = (mu - 1.0) * c + step * v - mu * new_w - along
    else:
        change_v = new_w - 2.0 * (mu * c + step * v)
        change_c = (mu - 1.0) * c + step * v - new_w
    return jnp.stack([change_v, change_c, new_w - w])


@partial(jax.jit, static_argnames="nesterov")
def _stepped(
    spectrum: Spectrum,
    eta: jax.Array,
    mu: jax.Array,
    batch: jax.Array,
    stops: jax.Array,
    nesterov: bool,
) -> jax.Array:
    """Excess loss at ascending step counts `stops`."""
    lam, step = spectrum.eigenvalues, eta * spectrum.eigenvalues
    label_noise = spectrum.noise_variance + 2.0 * spectrum.approximation
    initial = jnp.zeros((3, lam.size)).at[0].set(spectrum.energies / lam)

    def advance(_: jax.Array, moments: jax.Array) -> jax.Array:
        drive = mode_sum(spectrum, lam * moments[0]) + label_noise
        kick = step**2 * (1.0 + 1.0 / batch) * moments[0] + eta**2 / batch * lam * drive
        return moments + _advance(step, mu, moments, kick, nesterov)

    def segment(carry: tuple, stop: jax.Array) -> tuple[tuple, jax.Array]:
        moments = jax.lax.fori_loop(carry[0], stop, advance, carry[1])
        return (stop, moments), mode_sum(spectrum, lam * moments[0]) / 2

    return jax.lax.scan(segment, (jnp.zeros_like(stops[0]), initial), stops)[1]


def _generator(
    spectrum: Spectrum, eta: jax.Array, mu: jax.Array, batch: jax.Array, nesterov: bool
) -> jax.Array:
    """P of one step on (sqrt(weight) (v, c, w), 1), [3 n + 1, 3 n + 1]."""
    lam, step = spectrum.eigenvalues, eta * spectrum.eigenvalues
    n = lam.size
    unit = jnp.broadcast_to(jnp.eye(3)[:, :, None], (3, 3, n))
    own = step**2 * (1.0 + 1.0 / batch) * unit[0]
    blocks = jax.vmap(lambda y, g: _advance(step, mu, y, g, nesterov), in_axes=(1, 0))(unit, own)
    kicked = _advance(step, mu, jnp.zeros((3, n)), jnp.ones(n), nesterov)
    root_weight = jnp.sqrt(spectrum.weights)
    into = (kicked * root_weight * lam * eta**2 / batch).ravel()
    matrix = jnp.zeros((3 * n + 1, 3 * n + 1))
    node = jnp.arange(n)
    for column in range(3):
        for row in range(3):
            matrix = matrix.at[row * n + node, column * n + node].set(-blocks[column, row])
    matrix = matrix.at[:-1, :n].add(-into[:, None] * (root_weight * lam))
    label_noise = spectrum.noise_variance + 2.0 * spectrum.approximation
    return matrix.at[:-1, -1].set(-into * label_noise)


@partial(jax.jit, static_argnames=("nesterov", "bits"))
def _doubled(
    spectrum: Spectrum,
    eta: jax.Array,
    mu: jax.Array,
    batch: jax.Array,
    steps: jax.Array,
    nesterov: bool,
    bits: int,
) -> jax.Array:
    """Excess loss at any step counts, [S], by doubling P."""
    lam, root_weight = spectrum.eigenvalues, jnp.sqrt(spectrum.weights)
    n = lam.size
    start = jnp.zeros(3 * n + 1).at[:n].set(root_weight * spectrum.energies / lam).at[-1].set(1.0)

    def double(k: jax.Array, carry: tuple) -> tuple:
        matrix, state = carry
        odd = jnp.floor(steps / 2.0 ** k.astype(float)) % 2 == 1
        state = jnp.where(odd[:, None], state - state @ matrix.T, state)
        return 2.0 * matrix - matrix @ matrix, state

    first = _generator(spectrum, eta, mu, batch, nesterov)
    begin = (first, jnp.broadcast_to(start, (steps.size, start.size)))
    _, state = jax.lax.fori_loop(0, bits, double, begin)
    return state[:, :n] @ (root_weight * lam) / 2


@partial(jax.jit, static_argnames="nesterov")
def _split(
    spectrum: Spectrum,
    eta: jax.Array,
    mu: jax.Array,
    steps: jax.Array,
    excess: jax.Array,
    nesterov: bool,
) -> Decomposition:
    residual = nesterov_residual if nesterov else heavy_ball_residual
    shrink = residual(eta * spectrum.eigenvalues, mu, steps[..., None])
    bias = mode_sum(spectrum, spectrum.energies * shrink**2) / 2
    return decompose(spectrum, bias, jnp.maximum(excess - bias, 0.0))
