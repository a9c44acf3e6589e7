"""Optimizers that keep their state, their updates or the weights themselves in a number format.

Each wrapper is an optax transformation around another. Rounding is to the nearest, or with a key
stochastic and unbiased, with a fresh draw at every step. `QuantizedMethod` is the factory for the
engine: its widths, and the seed of its draws, are hyperparameters and may be swept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simulate.optimizers import OptimizerFactory
from simulate.quantize import Quantizer
from theory.checks import Real, check_real

Rounding = Callable[[jax.Array, jax.Array | None], jax.Array]


class RoundedState(NamedTuple):
    """State of the transformation inside, and the key of the next draw (None: nearest)."""

    inner: Any
    key: Any


def _next(key: jax.Array | None) -> tuple[jax.Array | None, jax.Array | None]:
    """The key of this step and that of the next."""
    if key is None:
        return None, None
    now, later = jax.random.split(key)
    return now, later


def _map_leaves(rounding: Rounding, tree: Any, key: jax.Array | None, parts: Any = None) -> Any:
    """Rounds floating-point arrays of at least one dimension, each with a key of its own."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    rounded = []
    for place, (path, leaf) in enumerate(leaves):
        chosen = _has_rows(leaf) and (parts is None or bool(_names(path) & set(parts)))
        own = None if key is None else jax.random.fold_in(key, place)
        rounded.append(rounding(leaf, own) if chosen else leaf)
    return structure.unflatten(rounded)


def _has_rows(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.ndim(leaf) > 0


def _names(path: Any) -> set[str]:
    """Field names on the way to a leaf."""
    return {str(entry.name) for entry in path if hasattr(entry, "name")}


def _rounding(quantizer: Quantizer, bits: Real) -> Rounding:
    quantizer.check(bits)
    return lambda leaf, key: quantizer(leaf, bits, key=key)


def quantized_state(
    transformation: optax.GradientTransformation,
    quantizer: Quantizer,
    bits: Real,
    *,
    parts: tuple[str, ...] | None = None,
    key: jax.Array | None = None,
) -> optax.GradientTransformation:
    """The state is rounded after every step: the next one starts from what was kept.

    Args:
        transformation: any.
        quantizer: of its arrays, row by row; scalars and counters stay.
        bits: its width.
        parts: names of the fields to round, as in the states of optax, e.g. ("mu",) of Adam.
        key: makes the rounding stochastic.

    Returns:
        The wrapped transformation.

    Raises:
        ValueError: if the width is out of range or, from `init`, a field is not there.
    """
    rounding = _rounding(quantizer, bits)

    def init(params: Any) -> RoundedState:
        inner = transformation.init(params)
        leaves = jax.tree_util.tree_flatten_with_path(inner)[0]
        held = set().union(*(_names(path) for path, leaf in leaves if _has_rows(leaf)))
        for name in parts or ():
            if name not in held:
                raise ValueError(f"`parts` must name fields of {sorted(held)}, got {name!r}.")
        return RoundedState(inner, key)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, RoundedState]:
        now, later = _next(state.key)
        updates, inner = transformation.update(updates, state.inner, params)
        return updates, RoundedState(_map_leaves(rounding, inner, now, parts), later)

    return optax.GradientTransformation(init, update)


def quantized_updates(
    transformation: optax.GradientTransformation,
    quantizer: Quantizer,
    bits: Real,
    *,
    key: jax.Array | None = None,
) -> optax.GradientTransformation:
    """The updates are rounded before they are added to the weights.

    Args:
        transformation: any.
        quantizer: of the updates, row by row.
        bits: its width.
        key: makes the rounding stochastic.

    Returns:
        The wrapped transformation.

    Raises:
        ValueError: if the width is out of range.
    """
    rounding = _rounding(quantizer, bits)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, RoundedState]:
        now, later = _next(state.key)
        updates, inner = transformation.update(updates, state.inner, params)
        return _map_leaves(rounding, updates, now), RoundedState(inner, later)

    return optax.GradientTransformation(
        lambda params: RoundedState(transformation.init(params), key), update
    )


def quantized_weights(
    transformation: optax.GradientTransformation,
    quantizer: Quantizer,
    bits: Real,
    *,
    key: jax.Array | None = None,
) -> optax.GradientTransformation:
    """The weights are kept in the format: each step ends on the rounded sum.

    With rounding to the nearest a step below half a spacing is lost; see also `QuantizedProblem`,
    which keeps the weights and rounds what the loss sees. The weights before the first step are
    not rounded.

    Args:
        transformation: any.
        quantizer: of the weights, row by row.
        bits: its width, or the spacing of a `grid`.
        key: makes the rounding stochastic.

    Returns:
        The wrapped transformation; its `update` needs the parameters.

    Raises:
        ValueError: if the width is out of range or, from `update`, the parameters are missing.
    """
    rounding = _rounding(quantizer, bits)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, RoundedState]:
        if params is None:
            raise ValueError("`params` must be given where weights are rounded, got None.")
        now, later = _next(state.key)
        updates, inner = transformation.update(updates, state.inner, params)
        stored = _map_leaves(rounding, optax.apply_updates(params, updates), now)
        steps = jax.tree.map(lambda new, old: new - old, stored, params)
        return steps, RoundedState(inner, later)

    return optax.GradientTransformation(
        lambda params: RoundedState(transformation.init(params), key), update
    )


@dataclass(frozen=True)
class QuantizedMethod:
    """Factory `method(state_bits, update_bits, weight_bits, seed, **others)`; hashable by value.

    Attributes:
        method: factory of the optimizer, which takes the other hyperparameters.
        state: quantizer of its state; None: not rounded, and so for the next two.
        updates: quantizer of its updates.
        weights: quantizer of the weights it keeps.
        parts: fields of the state to round, all by default.
        stochastic: whether to round so, with the hyperparameter `seed`; runs of a sweep that
            differ in the key of the engine alone share the draws.
    """

    method: OptimizerFactory
    state: Quantizer | None = None
    updates: Quantizer | None = None
    weights: Quantizer | None = None
    parts: tuple[str, ...] | None = None
    stochastic: bool = False

    def check(
        self,
        state_bits: Any = None,
        update_bits: Any = None,
        weight_bits: Any = None,
        seed: Any = 0.0,
        steps: Any = None,
        **others: Any,
    ) -> None:
        """Refuses bad numbers; traced ones pass.

        Raises:
            ValueError: naming the argument, its value and its range, or a width without its
                quantizer or the other way round.
        """
        check_real("seed", seed, at_least=0.0, below=2**31)
        for name, quantizer, bits in self._widths(state_bits, update_bits, weight_bits):
            if (quantizer is None) != (bits is None):
                raise ValueError(f"`{name}` must be given with its quantizer and not without it.")
            if quantizer is not None:
                quantizer.check(bits, name)
        inner = getattr(self.method, "check", None)
        if inner is None:
            self.method(**others)
        else:
            inner(steps=steps, **others)

    def __call__(
        self,
        state_bits: Any = None,
        update_bits: Any = None,
        weight_bits: Any = None,
        seed: Any = 0.0,
        **others: Any,
    ) -> optax.GradientTransformation:
        """The transformation.

        Args:
            state_bits: width of the state.
            update_bits: width of the updates.
            weight_bits: width of the weights, or the spacing of a `grid`.
            seed: of the draws of stochastic rounding.
            others: hyperparameters of the method.

        Returns:
            An optax transformation.

        Raises:
            ValueError: see `check`.
        """
        self.check(state_bits, update_bits, weight_bits, seed, **others)
        keys: Any = [None] * 3
        if self.stochastic:
            keys = jax.random.split(jax.random.key(jnp.asarray(seed).astype(jnp.int32)), 3)
        found = self.method(**others)
        if self.state is not None:
            found = quantized_state(found, self.state, state_bits, parts=self.parts, key=keys[0])
        if self.updates is not None:
            found = quantized_updates(found, self.updates, update_bits, key=keys[1])
        if self.weights is not None:
            found = quantized_weights(found, self.weights, weight_bits, key=keys[2])
        return found

    def _widths(self, *bits: Any) -> list[tuple[str, Quantizer | None, Any]]:
        names = ("state_bits", "update_bits", "weight_bits")
        return list(zip(names, (self.state, self.updates, self.weights), bits, strict=True))
