"""One-pass SGD under learning rates that are constant in pieces, at a cost a piece, not a step.

Within a piece the second moments follow one linear map; `theory.secular` diagonalises it, a power
takes them to the end of the piece, and they are put together again for the next one. A schedule of
any length with some hundred pieces takes seconds. `theory.smooth_schedules` cuts smooth schedules
into such pieces.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_real, check_whole
from theory.decomposition import Decomposition, decompose
from theory.linear_methods import log_abs_one_minus
from theory.problem import PowerLawQuadratic
from theory.secular import rank_one_eigen
from theory.spectrum import Spectrum, as_spectrum, mode_sum

# Fewer pieces, and fewer recordings in one, are padded to these.
PIECES, STOPS = 1024, 4


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["rates", "noise_scale", "lengths", "stops"],
    meta_fields=[],
)
@dataclass(frozen=True)
class _Pieces:
    """Pieces [s] and the steps [s, r] after the start of each at which to give the loss."""

    rates: jax.Array
    noise_scale: jax.Array
    lengths: jax.Array
    stops: jax.Array


def segmented_sgd(
    problem: PowerLawQuadratic | Spectrum,
    learning_rates: Real,
    lengths: Real,
    batch_size: Real,
    record: Real | None = None,
) -> Decomposition:
    """Expected loss of one-pass SGD under learning rates that are constant in pieces.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: one a piece, [S], each >= 0.
        lengths: steps of each piece, [S], whole numbers >= 0 of any size.
        batch_size: B >= 1, a scalar or one a piece, [S].
        record: step counts from 0 to the sum of `lengths` at which to give the loss, any shape;
            default: the last alone.

    Returns:
        A `Decomposition` of arrays shaped like `record`, scalars if it is not given. Bias is the
        loss of the mean iterate; noise is the rest, accurate to 1e-12 of the loss.

    Raises:
        ValueError: if an argument is outside its domain or shapes differ.

    Kind: exact to quadrature error and rounding (1e-12 of the loss).
    Valid: Gaussian data, fresh samples; pieces at which SGD diverges give the large loss they have.
    Source: derived; the recursion of `theory.sgd`, diagonalised once a piece.
    """
    rates, steps, share = _checked(learning_rates, lengths, batch_size)
    total = steps.sum()
    times = np.asarray(total if record is None else record, float)
    check_whole("record", times, at_most=float(total))
    moving = (rates > 0) & (steps > 0)
    if not moving.any():
        # Nothing moves: one piece, recorded at its start.
        moving[:1] = True
        rates, steps = np.ones_like(rates), np.zeros_like(steps)
    starts = (np.cumsum(steps) - steps)[moving]
    ends = starts + steps[moving]
    own = np.clip(np.searchsorted(starts, times.ravel(), side="right") - 1, 0, None)
    after = np.minimum(times.ravel(), ends[own]) - starts[own]
    slot = _slots(own)
    count, width = starts.size, int(slot.max(initial=0)) + 1
    # Schedules share compiled code: spare pieces cost nothing, since they are never entered.
    spare = (0, _class(count, PIECES) - count)
    stops = np.zeros((count, _class(width, STOPS)))
    stops[own, slot] = np.maximum(after, 0.0)
    columns = [np.pad(column[moving], spare) for column in (rates, share, steps)]
    columns.append(np.pad(stops, (spare, (0, 0))))
    spectrum = as_spectrum(problem)
    pieces = _Pieces(*(jnp.asarray(column) for column in columns))
    found = _propagate(spectrum, pieces, jnp.asarray(count))
    bias, noise = (np.asarray(part)[own, slot] for part in found)
    return decompose(
        spectrum, jnp.asarray(bias.reshape(times.shape)), jnp.asarray(noise.reshape(times.shape))
    )


def _checked(
    learning_rates: Real, lengths: Real, batch_size: Real
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rates, lengths and 1/B as vectors of one length."""
    check_real("learning_rates", learning_rates, at_least=0.0)
    check_whole("lengths", lengths)
    check_real("batch_size", batch_size, at_least=1.0)
    rates, steps = np.asarray(learning_rates, float), np.asarray(lengths, float)
    batch = np.asarray(batch_size, float)
    if rates.ndim != 1 or rates.size == 0:
        raise ValueError(f"`learning_rates` must be a vector, got shape {rates.shape}.")
    for name, value, scalar in (("lengths", steps, False), ("batch_size", batch, True)):
        if value.shape != rates.shape and not (scalar and value.ndim == 0):
            raise ValueError(
                f"`{name}` must have one entry for each of the {rates.size} learning rates, "
                f"got shape {value.shape}."
            )
    return rates, steps, np.broadcast_to(1.0 / batch, rates.shape)


def _class(count: int, least: int) -> int:
    return max(least, 1 << (count - 1).bit_length())


def _slots(own: np.ndarray) -> np.ndarray:
    """Place of each record among those of its piece."""
    order = np.argsort(own, kind="stable")
    first = np.searchsorted(own[order], own[order], side="left")
    slot = np.empty_like(own)
    slot[order] = np.arange(own.size) - first
    return slot


@jax.jit
def _propagate(
    spectrum: Spectrum, pieces: _Pieces, count: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Bias and noise at the stops of the first `count` pieces, [s, r]."""
    lam, root = spectrum.eigenvalues, jnp.sqrt(spectrum.weights)
    coupling = root * lam
    label_noise = spectrum.noise_variance + 2.0 * spectrum.approximation

    def cross(place: jax.Array, state: tuple) -> tuple:
        piece = jax.tree.map(lambda column: column[place], pieces)
        log_residual, moments, bias, noise = state
        step, strength = piece.rates * lam, piece.noise_scale * piece.rates**2
        poles = step * (2.0 - (1.0 + piece.noise_scale) * step)
        eigen = rank_one_eigen(poles, coupling, strength)
        loss, start = eigen.project(coupling), eigen.project(moments)
        # exp(-1000) is zero, and no steps change nothing even where eta lam = 1.
        fall = jnp.maximum(log_abs_one_minus(step), -1e3)

        def after(steps: jax.Array) -> jax.Array:
            log_decay = steps * jnp.log1p(-eigen.values)
            standing = eigen.values == 0.0
            growth = -jnp.expm1(log_decay) / jnp.where(standing, 1.0, eigen.values)
            sources = jnp.where(standing, steps, growth)
            return start * jnp.exp(log_decay) + strength * label_noise * loss * sources

        def record(steps: jax.Array) -> tuple[jax.Array, jax.Array]:
            squares = jnp.exp(2.0 * (log_residual + steps * fall))
            mean = mode_sum(spectrum, spectrum.energies * squares) / 2.0
            return mean, jnp.maximum(jnp.sum(loss * after(steps)) / 2.0 - mean, 0.0)

        means, rest = jax.lax.map(record, piece.stops)
        return (
            log_residual + piece.lengths * fall,
            eigen.combine(after(piece.lengths)),
            bias.at[place].set(means),
            noise.at[place].set(rest),
        )

    empty = jnp.zeros_like(pieces.stops)
    begin = (jnp.zeros_like(lam), root * spectrum.energies / lam, empty, empty)
    return jax.lax.fori_loop(0, count, cross, begin)[2:]
