"""Tuned learning rate and loss against the batch size at a fixed number of tokens, exactly."""

import jax
import jax.numpy as jnp
import numpy as np

from theory.noisy_quadratic import steps_to_target
from theory.problem import PowerLawQuadratic
from theory.sgd import critical_learning_rate, propagator
from theory.sign_sgd import sign_sgd
from theory.spectrum import Spectrum, as_spectrum

# A batch is critical where the tuned loss is this factor above that of small batches.
OVERHEAD = 1.2


def parabola_minimum(rates: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least loss over a log-spaced grid of rates, refined by a parabola in the logarithms.

    Args:
        rates: [R], log-spaced; or any other number that is.
        losses: [..., R], positive; infinite where a rate was not run.

    Returns:
        Best rate and its loss, [...]; the rate is NaN where the best is at an end of the grid.
    """
    width = np.log(rates[1] / rates[0])
    at = losses.argmin(axis=-1)
    inside = np.clip(at, 1, rates.size - 2)
    near = np.stack(
        [np.take_along_axis(losses, inside[..., None] + k, -1)[..., 0] for k in (-1, 0, 1)]
    )
    with np.errstate(invalid="ignore"):
        low, middle, high = np.log(near)
        bend, tilt = low - 2 * middle + high, (high - low) / 2
        shift = np.where(bend > 0, -tilt / np.where(bend > 0, bend, 1.0), 0.0)
        value = np.exp(middle + tilt * shift / 2)
    found = (at == inside) & np.isfinite(near).all(axis=0)
    best = np.where(found, rates[inside] * np.exp(shift * width), np.nan)
    return best, np.where(found, value, np.take_along_axis(losses, at[..., None], -1)[..., 0])


def tuned_sgd(
    problem: PowerLawQuadratic, batches: np.ndarray, tokens: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Best loss of SGD beyond the irreducible part, and its learning rate.

    Args:
        problem: with label noise.
        batches: B, [B].
        tokens: D, [D], each at least the largest batch.
        points: learning rates tried below the stability edge of each batch.

    Returns:
        Learning rate and loss, [D, B]; where no rate below the edge is locally best the largest
        tried, 0.95 of the edge, is taken.
    """
    spectrum = as_spectrum(problem)
    rates, losses = [], []
    for batch in batches:
        edge = float(critical_learning_rate(spectrum, batch))
        # Log-spaced in rate / (edge - rate): fine near zero and near the edge.
        ratio = np.geomspace(1e-5, 19.0, points)
        tried = edge * ratio / (1.0 + ratio)
        runs = [_excess(spectrum, rate, float(batch), tokens) for rate in tried]
        best, loss = parabola_minimum(ratio, np.stack(runs, axis=-1))
        best = np.where(np.isnan(best), ratio[-1], best)
        rates.append(edge * best / (1.0 + best))
        losses.append(loss)
    return np.stack(rates, axis=-1), np.stack(losses, axis=-1)


def _excess(spectrum: Spectrum, rate: float, batch: float, tokens: np.ndarray) -> np.ndarray:
    modes = propagator(spectrum, rate, batch)
    return np.asarray(modes.excess(jnp.asarray(tokens / batch)) + spectrum.approximation)


def critical_batches(batches: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Batch at which the tuned loss passes 1.2 times its least, read off in logarithms.

    Args:
        batches: [B], increasing.
        losses: [D, B].

    Returns:
        [D]; NaN where it is not passed on the grid.
    """
    found = []
    for row in losses:
        level = np.log(row / (OVERHEAD * row.min()))
        above = np.flatnonzero((level > 0) & (np.arange(row.size) > row.argmin()))
        if above.size == 0:
            found.append(np.nan)
            continue
        right = above[0]
        share = -level[right - 1] / (level[right] - level[right - 1])
        found.append(batches[right - 1] * (batches[right] / batches[right - 1]) ** share)
    return np.array(found)


def tuned_sign(
    problem: PowerLawQuadratic, noise_std: float, batches: np.ndarray, tokens: int, points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Best loss of signSGD under additive noise beyond the irreducible part, and its rate.

    Args:
        problem: the quadratic, in its eigenbasis.
        noise_std: s of every coordinate of one sample's gradient.
        batches: B, [B], powers of two that divide the tokens.
        tokens: D; a run takes D/B steps.
        points: learning rates tried, log-spaced from 1e-5 to 1 at the largest batch.

    Returns:
        Learning rate and loss, [B]; NaN where the best rate is at an end of the grid.
    """
    spectrum = as_spectrum(problem)

    def last(rate: jax.Array, steps: int, batch: float) -> jax.Array:
        curve = sign_sgd(spectrum, jnp.full(steps, rate), noise_std, batch)
        return curve.bias[-1] + curve.noise[-1] + curve.approximation[-1]

    best = []
    for batch in batches:
        tried = np.geomspace(1e-5, 1.0, points) * np.sqrt(batch / batches[-1])
        losses = jax.vmap(lambda rate, b=batch: last(rate, tokens // int(b), float(b)))(
            jnp.asarray(tried)
        )
        best.append(parabola_minimum(tried, np.asarray(losses)))
    rates, losses = np.array(best).T
    return rates, losses


def noisy_quadratic_steps(size: int, target: float, batches: np.ndarray, points: int) -> np.ndarray:
    """Steps to a target in the noisy quadratic model with h_i = 1/i, the rate tuned.

    Args:
        size: modes.
        target: loss.
        batches: B, [B].
        points: learning rates tried for each.

    Returns:
        [B], real numbers of steps.
    """
    eigenvalues = 1.0 / np.arange(1, size + 1)
    found = []
    for batch in batches:
        # The plateau is at least rate * sum(h) / (4 B): no larger rate can reach the target.
        most = min(1.99, 4.0 * target * batch / eigenvalues.sum())
        # Log-spaced in rate / (2 - rate): fine near zero and near the stability edge.
        ratio = np.geomspace(1 / 300, 1.0, points) * most / (2.0 - most)
        steps = steps_to_target(eigenvalues, target, 2.0 * ratio / (1.0 + ratio), batch)
        found.append(parabola_minimum(ratio, np.asarray(steps))[1])
    return np.array(found)
