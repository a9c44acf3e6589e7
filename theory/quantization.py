"""Growth of quantization errors through a stack of callables, split exactly. Float64.

A stage f_l and its quantized version f^q_l map h_(l-1) to h_l and h^q_(l-1) to h^q_l. The error of
a stage's output is the sum of a part that comes with the input and a part that is new,

    h^q - h = a + b,
    2 a = f^q(h^q_in) - f^q(h_in) + f(h^q_in) - f(h_in),
    2 b = f^q(h^q_in) - f(h^q_in) + f^q(h_in) - f(h_in),

the average over both orders in which the input and the stage may be replaced (Shapley). So
R = A + B + C with R = |h^q - h|^2 / |h|^2, A = |a|^2 / |h|^2, B = |b|^2 / |h|^2 and
C = 2 <a, b> / |h|^2, and the gain of a stage is G_l = A_l / R_(l-1). (Vlassis et al. 2025, arXiv
2509.23500.)
`theory.linear_gain` splits the gain of a linear stage, `theory.outliers` holds the metrics that the
same source compares R with, `theory.rounding` the rounding itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from theory.checks import Real, check_choice
from theory.outliers import check_batch

Stage = Callable[[Any], jax.Array]
AVERAGES = ("sums", "rows")


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["size", "error", "carried", "new", "cross"],
    meta_fields=[],
)
@dataclass(frozen=True)
class SplitError:
    """Squared lengths of one stage's outputs, row by row; error = carried + new + cross.

    Attributes:
        size: |h|^2, [n].
        error: |h^q - h|^2, [n].
        carried: |a|^2, [n].
        new: |b|^2, [n].
        cross: 2 <a, b>, [n].
    """

    size: jax.Array
    error: jax.Array
    carried: jax.Array
    new: jax.Array
    cross: jax.Array


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["relative", "carried", "new", "cross", "gain"],
    meta_fields=[],
)
@dataclass(frozen=True)
class RelativeErrors:
    """Relative errors of every stage; relative = carried + new + cross.

    Attributes:
        relative: R_l, [stages].
        carried: A_l, [stages].
        new: B_l, [stages].
        cross: C_l, [stages].
        gain: G_l = A_l / R_(l-1), [stages]; NaN where nothing came in, as at the first stage.
    """

    relative: jax.Array
    carried: jax.Array
    new: jax.Array
    cross: jax.Array
    gain: jax.Array


def split_error(
    stage: Stage, quantized_stage: Stage, hidden: Real, quantized_hidden: Real
) -> tuple[jax.Array, jax.Array, SplitError]:
    """Outputs of a stage in full and in low precision, and the parts of their difference.

    Args:
        stage: f, from a batch to rows [n, d].
        quantized_stage: f^q.
        hidden: h_in, the input in full precision.
        quantized_hidden: h^q_in, of the same shape.

    Returns:
        (h, h^q, parts).

    Raises:
        ValueError: if the outputs are no matrices of one shape.

    Kind: exact.
    Valid: any functions.
    Source: arXiv 2509.23500, Shapley-averaged parts; the sum is an identity.
    """
    both, only_stage = quantized_stage(quantized_hidden), quantized_stage(hidden)
    only_input, neither = stage(quantized_hidden), stage(hidden)
    if both.shape != neither.shape:
        raise ValueError(
            f"`quantized_stage` must return the shape of `stage`, {neither.shape}, "
            f"got {both.shape}."
        )
    check_batch("stage(hidden)", neither)
    carried = (both - only_stage + only_input - neither) / 2
    new = (both - only_input + only_stage - neither) / 2
    parts = SplitError(
        size=_rows(neither, neither),
        error=_rows(both - neither, both - neither),
        carried=_rows(carried, carried),
        new=_rows(new, new),
        cross=2 * _rows(carried, new),
    )
    return neither, both, parts


def split_errors(
    stages: Sequence[Stage], quantized_stages: Sequence[Stage], inputs: Any
) -> tuple[SplitError, ...]:
    """`split_error` of every stage, the outputs of one being the inputs of the next.

    Args:
        stages: f_1 ... f_L.
        quantized_stages: f^q_1 ... f^q_L.
        inputs: what both stacks read.

    Returns:
        One `SplitError` a stage.

    Raises:
        ValueError: if there are no stages or not as many of both, or as `split_error`.

    Kind: exact.
    Valid: any functions.
    Source: as `split_error`.
    """
    if not stages or len(stages) != len(quantized_stages):
        raise ValueError(
            "`stages` and `quantized_stages` must be equally many, at least one, "
            f"got {len(stages)} and {len(quantized_stages)}."
        )
    hidden, quantized, found = inputs, inputs, []
    for stage, low in zip(stages, quantized_stages, strict=True):
        hidden, quantized, parts = split_error(stage, low, hidden, quantized)
        found.append(parts)
    return tuple(found)


def relative_errors(parts: Sequence[SplitError], average: str = "sums") -> RelativeErrors:
    """R, A, B, C and the gain of every stage from the parts of its rows.

    Args:
        parts: from `split_errors`.
        average: `sums`: sum over the rows before dividing, |.|_F^2 / |h|_F^2; `rows`: the mean of
            the rows' own ratios, where a short row counts as much as a long one. They differ
            wherever rows differ in length; both satisfy R = A + B + C. The gain is the ratio of
            the averaged A_l and R_(l-1).

    Returns:
        A `RelativeErrors`.

    Raises:
        ValueError: if the average is unknown or there are no parts.

    Kind: definition.
    Valid: no zero row, for `rows`.
    Source: arXiv 2509.23500; which average it takes is not known.
    """
    check_choice("average", average, AVERAGES)
    if not parts:
        raise ValueError("`parts` must hold at least one stage, got none.")

    def ratio(name: str) -> jax.Array:
        numbers = [(getattr(part, name), part.size) for part in parts]
        if average == "sums":
            return jnp.stack([jnp.sum(part) / jnp.sum(size) for part, size in numbers])
        return jnp.stack([jnp.mean(part / size) for part, size in numbers])

    relative, carried = ratio("error"), ratio("carried")
    before = jnp.concatenate([jnp.zeros_like(relative[:1]), relative[:-1]])
    gain = jnp.where(before > 0, carried / jnp.where(before > 0, before, 1.0), jnp.nan)
    return RelativeErrors(relative, carried, ratio("new"), ratio("cross"), gain)


def _rows(one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.sum(one * other, axis=-1)
