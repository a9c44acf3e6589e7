"""Small networks as pytrees: a tuple of stages, each a callable on a batch.

A stage maps [n, d_in] to [n, d_out]; weights are matrices [d_out, d_in] and act on the right,
h W^T, without biases. Every array of a network is trained. The role of a weight says in which
operator norm it is measured and stepped, see `simulate.role_norms`; a layer that reads real-valued
inputs is hidden in this sense. Initial weights have norm one.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from simulate.role_norms import ROLES, operator_norm
from theory.checks import check_choice, check_real, check_whole
from theory.euclidean import normalize

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "tanh": jnp.tanh,
}
Stage: TypeAlias = Callable[[jax.Array], jax.Array]


def check_sizes(**numbers: int) -> None:
    """Refuses what is not a whole number of at least 1.

    Raises:
        TypeError: if one is no number.
        ValueError: naming the argument and its value.
    """
    for name, value in numbers.items():
        check_whole(name, value, at_least=1)


class Embedding(eqx.Module):
    """One column of the weight for each token; those of a context side by side.

    Attributes:
        weight: [d, V].
        role: of the weight.
    """

    weight: jax.Array
    role: str = eqx.field(static=True, default="input")

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Whole numbers below V, [n, context], to [n, context d]."""
        return self.weight.T[hidden].reshape(hidden.shape[0], -1)


class Linear(eqx.Module):
    """h W^T.

    Attributes:
        weight: [d_out, d_in].
        role: one of `ROLES`.
    """

    weight: jax.Array
    role: str = eqx.field(static=True, default="hidden")

    def __check_init__(self) -> None:
        check_choice("role", self.role, ROLES)

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[n, d_in] to [n, d_out]."""
        return hidden @ self.weight.T


class Normalize(eqx.Module):
    """RMS normalisation without parameters, h / sqrt(mean h^2 + epsilon), row by row.

    Attributes:
        epsilon: keeps a zero row zero; the source's value is the default.
    """

    epsilon: float = eqx.field(static=True, default=1e-20)

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[n, d] to [n, d], rows of root mean square one."""
        square = jnp.mean(hidden**2, axis=-1, keepdims=True)
        return hidden / jnp.sqrt(square + self.epsilon)


class Activate(eqx.Module):
    """A function of every entry.

    Attributes:
        kind: a name in `ACTIVATIONS`.
    """

    kind: str = eqx.field(static=True, default="relu")

    def __check_init__(self) -> None:
        check_choice("kind", self.kind, tuple(ACTIVATIONS))

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Any shape to the same."""
        return ACTIVATIONS[self.kind](hidden)


class Network(eqx.Module):
    """Stages one after the other.

    Attributes:
        stages: callables on a batch, first to last.
    """

    stages: tuple[Any, ...]

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[n, d_in] (whole numbers [n, context] for an embedding) to [n, d_out]."""
        hidden = inputs
        for stage in self.stages:
            hidden = stage(hidden)
        return hidden


def roles(network: Network) -> Network:
    """The role of every weight, in the structure of the network.

    Raises:
        ValueError: if `network` is something else.
    """
    if not isinstance(network, Network):
        raise ValueError(f"`network` must be a Network, got {type(network).__name__}.")
    marked = (jax.tree.map(lambda _, s=stage: s.role, stage) for stage in network.stages)
    return Network(tuple(marked))


def operator_norms(network: Network) -> dict[str, jax.Array]:
    """Norm of each role's weights, the largest where several layers share a role.

    Args:
        network: any.

    Returns:
        Scalars by role, for the roles there are, each in its norm of `ROLE_NORMS`.
    """
    found: dict[str, list[jax.Array]] = {}
    for stage in network.stages:
        if hasattr(stage, "role"):
            found.setdefault(stage.role, []).append(operator_norm(stage.role, stage.weight))
    return {role: jnp.max(jnp.stack(found[role])) for role in ROLES if role in found}


def observe_norms(problem: Any, params: Network) -> dict[str, jax.Array]:
    """`operator_norms` as the engine's observer."""
    del problem
    return operator_norms(params)


def semi_orthogonal(key: jax.Array, rows: int, columns: int, dtype: DTypeLike = float) -> jax.Array:
    """Random matrix [rows, columns] of equal singular values, `rms_to_rms` norm one."""
    tall = jax.random.orthogonal(key, max(rows, columns), m=min(rows, columns), dtype=dtype)
    return (tall if rows >= columns else tall.T) * (rows / columns) ** 0.5


def _embedding(key: jax.Array, width: int, vocabulary: int, dtype: DTypeLike) -> Embedding:
    drawn = jax.random.normal(key, (width, vocabulary), dtype)
    return Embedding(normalize(drawn, 0) * width**0.5)


def _output(key: jax.Array, outputs: int, width: int, dtype: DTypeLike) -> Linear:
    drawn = jax.random.normal(key, (outputs, width), dtype)
    return Linear(normalize(drawn, 1) * width**-0.5, "output")


def deep_linear(
    key: jax.Array,
    inputs: int,
    width: int,
    outputs: int,
    depth: int = 3,
    dtype: DTypeLike = float,
) -> Network:
    """A product of `depth` matrices, without normalisation.

    Args:
        key: draws the weights.
        inputs: d_in of the first.
        width: of all layers between.
        outputs: d_out of the last.
        depth: number of matrices, at least 2.
        dtype: of the weights.

    Returns:
        A `Network`: hidden layers semi-orthogonal, output rows Gaussian of equal length.

    Raises:
        ValueError: if a number is below its least.
    """
    check_sizes(inputs=inputs, width=width, outputs=outputs)
    check_real("depth", depth, at_least=2)
    keys = jax.random.split(key, depth)
    sides = [inputs, *[width] * (depth - 1)]
    hidden = (
        Linear(semi_orthogonal(k, rows, columns, dtype))
        for k, columns, rows in zip(keys[:-1], sides[:-1], sides[1:], strict=True)
    )
    return Network((*hidden, _output(keys[-1], outputs, width, dtype)))


def two_layer(
    key: jax.Array,
    inputs: int,
    width: int,
    outputs: int,
    kind: str = "relu",
    dtype: DTypeLike = float,
) -> Network:
    """V f(U x) with an output matrix V, without normalisation.

    Args:
        key: draws the weights.
        inputs: length of x.
        width: rows of U.
        outputs: rows of V.
        kind: f, a name in `ACTIVATIONS`.
        dtype: of the weights.

    Returns:
        A `Network`: U semi-orthogonal, rows of V Gaussian of equal length.

    Raises:
        ValueError: if a number is below 1 or the kind unknown.
    """
    check_sizes(inputs=inputs, width=width, outputs=outputs)
    first, second = jax.random.split(key)
    hidden = Linear(semi_orthogonal(first, width, inputs, dtype))
    return Network((hidden, Activate(kind), _output(second, outputs, width, dtype)))


def language_model(
    key: jax.Array,
    vocabulary: int,
    width: int,
    context: int,
    depth: int = 2,
    kind: str = "relu",
    dtype: DTypeLike = float,
) -> Network:
    """Embedding - hidden - output, with RMS normalisation before every linear layer.

    The embeddings of the context stand side by side; the first hidden layer [d, context d] mixes
    them, the others are [d, d]; there are no residual branches. At the start logits are small,
    of variance about 1/d, and the loss is about log V.

    Args:
        key: draws the weights.
        vocabulary: V, number of tokens.
        width: d.
        context: tokens that predict the next one.
        depth: number of hidden layers, at least 1.
        kind: activation after each, a name in `ACTIVATIONS`.
        dtype: of the weights.

    Returns:
        A `Network` from tokens [n, context] to logits [n, V].

    Raises:
        ValueError: if a number is below its least or the kind unknown.
    """
    check_sizes(vocabulary=vocabulary, width=width, context=context, depth=depth)
    first, last, *keys = jax.random.split(key, depth + 2)
    stages: list[Any] = [_embedding(first, width, vocabulary, dtype)]
    for place, hidden_key in enumerate(keys):
        columns = context * width if place == 0 else width
        weight = semi_orthogonal(hidden_key, width, columns, dtype)
        stages += [Normalize(), Linear(weight), Activate(kind)]
    return Network((*stages, Normalize(), _output(last, vocabulary, width, dtype)))
