"""Matrix factorisations one after the other, where nothing else would order them.

On a CPU, jaxlib spreads a batched eigh, svd or qr over XLA's own threads and waits for them. Two
that do not depend on each other may start at once; each then occupies a thread while it waits for
one, and on few cores the program stands still for ever.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def after(value: jax.Array, done: jax.Array) -> jax.Array:
    """`value`, but not before `done` is computed.

    Args:
        value: any shape.
        done: any shape of the same type, at least one entry.

    Returns:
        `value`; NaN where the first entry of `done` is, so that no compiler may drop the link.
    """
    first = done.ravel()[0]
    return jnp.where(jnp.isnan(first), first.astype(value.dtype), value)


def map_in_turn(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`jax.tree.map`, each leaf after the first array of the result before it.

    Args:
        function: of one leaf of each tree; returns an array or a tree of arrays.
        tree: its leaves are held back.
        *rest: trees with the structure of `tree`, or deeper.

    Returns:
        Results in the structure of `tree`.
    """
    leaves, structure = jax.tree.flatten(tree)
    others = [structure.flatten_up_to(other) for other in rest]
    results = []
    for leaf, *more in zip(leaves, *others, strict=True):
        held = after(leaf, jax.tree.leaves(results[-1])[0]) if results else leaf
        results.append(function(held, *more))
    return structure.unflatten(results)
