"""Outlier metrics of hidden values: max over typical size, and kurtosis. Float64.

A batch of hidden values is [n, d]: a row for each token, a column for each channel.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_choice, is_traced

TYPICAL: dict[str, Callable[..., jax.Array]] = {"median": jnp.median, "mean": jnp.mean}
GAUSSIAN_KURTOSIS = 3.0


def check_batch(name: str, values: Real) -> jax.Array:
    """A batch [n, d] as an array.

    Raises:
        ValueError: unless it has two axes, neither empty.
    """
    array: Any = values if is_traced(values) else np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"`{name}` must be a matrix of rows [n, d], got shape {array.shape}.")
    return jnp.asarray(array)


def row_ratios(values: Real, typical: str = "median") -> jax.Array:
    """Largest over typical absolute entry of each row, max_j |h_tj| / median_j |h_tj|.

    Args:
        values: h, [n, d].
        typical: `median` (of an even number of entries: halfway between the middle two) or `mean`.

    Returns:
        Array [n], at least 1; infinite where more than half of a row is zero (`median`), NaN for a
        zero row.

    Raises:
        ValueError: if the batch is no matrix or the choice unknown.

    Kind: definition.
    Valid: finite entries.
    Source: max-to-median ratio of arXiv 2509.23500 and its authors' code, where the lower of the
        two middle entries counts; its abstract says max-to-mean.
    """
    check_choice("typical", typical, tuple(TYPICAL))
    size = jnp.abs(check_batch("values", values))
    return jnp.max(size, axis=1) / TYPICAL[typical](size, axis=1)


def max_ratio(values: Real, typical: str = "median") -> jax.Array:
    """MMR, the mean of `row_ratios` over the rows.

    Args:
        values: h, [n, d].
        typical: `median` or `mean`.

    Returns:
        Scalar; infinite or NaN if a row's ratio is.

    Raises:
        ValueError: as `row_ratios`.

    Kind: definition.
    Valid: finite entries.
    Source: as `row_ratios`.
    """
    return jnp.mean(row_ratios(values, typical))


def excess_kurtosis(values: Real) -> jax.Array:
    """E (v - E v)^4 / (E (v - E v)^2)^2 - 3 of all entries: 0 for a Gaussian, at least -2.

    Args:
        values: any shape, at least two different entries.

    Returns:
        Scalar; NaN if all entries are equal.

    Kind: definition.
    Valid: finite entries.
    Source: moments of the sample, without a correction for its size.
    """
    entries = jnp.ravel(jnp.asarray(values))
    centred = entries - jnp.mean(entries)
    return jnp.mean(centred**4) / jnp.mean(centred**2) ** 2 - GAUSSIAN_KURTOSIS


def channel_kurtosis(values: Real) -> jax.Array:
    """Excess kurtosis of the channels' sizes s_j = sqrt(mean_t h_tj^2).

    Args:
        values: h, [n, d].

    Returns:
        Scalar; NaN if all channels have one size.

    Raises:
        ValueError: if the batch is no matrix.

    Kind: definition.
    Valid: finite entries.
    Source: sizes of He et al. 2024 (arXiv 2405.19279), who take E s^4 / (E s^2)^2 of them; centred
        moments as in the code of the authors of arXiv 2509.23500.
    """
    batch = check_batch("values", values)
    return excess_kurtosis(jnp.sqrt(jnp.mean(batch**2, axis=0)))
