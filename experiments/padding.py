"""Problems of many sizes behind one compiled program."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simulate.problems import Problem


def padded_error(problem: Problem, held: int) -> Any:
    """The problem padded with zeros and without its constant part.

    Nothing moves in the padding, so that the losses are the optimization errors of the problem as
    stated, while problems of all sizes up to `held` share one compiled sweep. Without the constant
    part an error far below it keeps its digits.

    Args:
        problem: with a field `floor`; the axes of its arrays all have one length.
        held: that length afterwards.

    Returns:
        A problem of the same type.

    Raises:
        ValueError: if `held` is below the size.
    """

    def wide(leaf: jax.Array) -> jax.Array:
        room = [(0, held - length) for length in leaf.shape]
        if any(extra < 0 for _, extra in room):
            raise ValueError(f"`held` must be at least {max(leaf.shape)}, got {held}.")
        # On the host: each shape would compile a pad of its own.
        return jnp.asarray(np.pad(np.asarray(leaf), room)) if room else leaf

    stated: Any = jax.tree.map(wide, problem)
    return replace(stated, floor=jnp.zeros_like(stated.floor))
