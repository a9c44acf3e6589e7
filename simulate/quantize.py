"""Models with rounded weights and activations: quantized after training, or while training.

A `Quantizer` rounds along the last axis: each row of a matrix [d_out, d_in] has its own scale, a
vector is one row. Of a network the linear layers are quantized, weights and inputs; embeddings
stay as they are. Bit widths may be traced, so that one compilation serves many and a sweep may run
over `bits` of a `QuantizedProblem`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from simulate.networks import Linear, Network
from simulate.problems import Problem
from theory.checks import Real, check_choice, check_real, check_whole
from theory.clipping import gaussian_clip, round_clipped
from theory.hadamard import rotate
from theory.rounding import MAX_BITS, round_absmax, round_float, round_grid

KINDS = ("absmax", "clipped", "float", "grid")
# Of every kind but `grid`, the range of the width: bits, or stored bits of the significand.
LARGEST = {"absmax": MAX_BITS, "clipped": MAX_BITS, "float": 23}


@dataclass(frozen=True)
class Quantizer:
    """A rounding rule, `quantizer(values, bits)`; hashable by value.

    Attributes:
        kind: `absmax`, the grid ends at the largest entry of a row; `clipped`, it ends where a
            Gaussian row of the same mean square has the least error (QuEST, arXiv 2502.05003);
            `float`, `bits` is the stored width of the significand, and overflow saturates; `grid`,
            `bits` is the spacing of a fixed grid, of any shape that broadcasts.
        hadamard: rows are turned by Hadamard blocks before they are rounded, and turned back.
        exponent_bits: of the `float` kind.
    """

    kind: str = "absmax"
    hadamard: bool = False
    exponent_bits: int = 5

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_whole("exponent_bits", self.exponent_bits, 2, 8)

    def check(self, bits: Any, name: str = "bits") -> None:
        """Refuses widths out of range; traced ones pass, and give NaN later.

        Raises:
            ValueError: naming the width and its range.
        """
        if self.kind == "grid":
            check_real(name, bits, at_least=0.0)
        else:
            check_whole(name, bits, 1, LARGEST[self.kind])

    def __call__(self, values: jax.Array, bits: Real, *, key: jax.Array | None = None) -> jax.Array:
        """Rounded values, of the same shape and type.

        Args:
            values: any shape of at least one dimension.
            bits: width; see `kind`.
            key: makes the rounding stochastic.

        Raises:
            ValueError: if the width is out of range, or the length of a row odd where it should
                be turned.
        """
        rounded, _ = self.parts(values, bits, key=key)
        return self._turn(rounded)

    def parts(
        self, values: jax.Array, bits: Real, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Rounded values before they are turned back, and which of them are inside the clip."""
        self.check(bits)
        turned = self._turn(values)
        inside = jnp.ones(turned.shape, bool)
        if self.kind == "absmax":
            return round_absmax(turned, bits, key=key), inside
        if self.kind == "float":
            rounded = round_float(turned, bits, self.exponent_bits, overflow="saturate", key=key)
            return rounded, inside
        if self.kind == "grid":
            return round_grid(turned, bits, key=key), inside
        deviation = jnp.sqrt(jnp.mean(turned**2, axis=-1, keepdims=True))
        clip = gaussian_clip(bits).astype(turned.dtype) * deviation
        return round_clipped(turned, bits, clip, key=key), jnp.abs(turned) <= clip

    def _turn(self, values: jax.Array) -> jax.Array:
        return rotate(values) if self.hadamard else values


def straight_through(quantizer: Quantizer) -> Callable[[jax.Array, Real], jax.Array]:
    """The quantizer with the derivative of doing nothing, and none outside the clip.

    Args:
        quantizer: any.

    Returns:
        A function of values and bits.
    """
    return partial(_straight_through, quantizer)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _straight_through(quantizer: Quantizer, values: jax.Array, bits: Real) -> jax.Array:
    return quantizer(values, bits)


@_straight_through.defjvp
def _straight_through_jvp(quantizer: Quantizer, primals: Any, tangents: Any) -> Any:
    values, bits = primals
    rounded, inside = quantizer.parts(values, bits)
    turn = quantizer._turn
    return turn(rounded), turn(jnp.where(inside, turn(tangents[0]), 0.0))


class QuantizedLinear(eqx.Module):
    """h_q W^T with rounded inputs; the weight is as given.

    Attributes:
        weight: [d_out, d_in], already rounded.
        bits: width of the inputs, a scalar.
        quantizer: of the inputs, row by row.
        role: of the weight.
    """

    weight: jax.Array
    bits: jax.Array
    quantizer: Quantizer = eqx.field(static=True)
    role: str = eqx.field(static=True, default="hidden")

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[n, d_in] to [n, d_out]."""
        return straight_through(self.quantizer)(hidden, self.bits) @ self.weight.T


def quantize_network(
    network: Network,
    quantizer: Quantizer,
    bits: Real,
    activation: Quantizer | None = None,
    activation_bits: Real | None = None,
) -> Network:
    """The network with rounded weights in its linear layers and, if asked for, rounded inputs.

    Args:
        network: any; stages other than `Linear` stay.
        quantizer: of the weights.
        bits: its width.
        activation: of the inputs of the linear layers; left out, they stay.
        activation_bits: its width; left out, that of the weights.

    Returns:
        A network of as many stages. Derivatives go straight through.

    Raises:
        ValueError: if a width is out of range.
    """
    rounded = straight_through(quantizer)
    width = bits if activation_bits is None else activation_bits

    def quantized(stage: Any) -> Any:
        if not isinstance(stage, Linear):
            return stage
        weight = rounded(stage.weight, bits)
        if activation is None:
            return Linear(weight, stage.role)
        return QuantizedLinear(weight, jnp.asarray(width, weight.dtype), activation, stage.role)

    return Network(tuple(quantized(stage) for stage in network.stages))


def quantize_params(
    params: Any,
    quantizer: Quantizer,
    bits: Real,
    activation: Quantizer | None = None,
    activation_bits: Real | None = None,
) -> Any:
    """Parameters of any problem of this package, rounded; derivatives go straight through.

    Args:
        params: a network, see `quantize_network`, or a pytree of vectors and matrices.
        quantizer: of the weights.
        bits: its width.
        activation: of the inputs of a network's linear layers; other parameters have none.
        activation_bits: its width; left out, that of the weights.

    Returns:
        Parameters that the problem's loss and gradient accept.

    Raises:
        ValueError: if a width is out of range, or activations are to be rounded where there are
            none.
    """
    if isinstance(params, Network):
        return quantize_network(params, quantizer, bits, activation, activation_bits)
    if activation is not None:
        raise ValueError(f"`activation` needs a network, got {type(params).__name__} parameters.")
    return jax.tree.map(lambda leaf: straight_through(quantizer)(leaf, bits), params)


def post_training(
    problem: Problem,
    params: Any,
    quantizer: Quantizer,
    bits: Real,
    activation: Quantizer | None = None,
) -> jax.Array:
    """Loss after training in full precision and rounding to each width.

    Args:
        problem: whose loss it is.
        params: trained parameters.
        quantizer: of the weights.
        bits: widths, any shape; one compilation serves all.
        activation: of the inputs of a network's linear layers, to the same width.

    Returns:
        Losses, the shape of the widths.

    Raises:
        ValueError: as `quantize_params`.
    """
    quantizer.check(bits)
    return _post_training(problem, params, quantizer, jnp.asarray(bits, float), activation)


@partial(jax.jit, static_argnames=["quantizer", "activation"])
def _post_training(
    problem: Any, params: Any, quantizer: Quantizer, bits: jax.Array, activation: Quantizer | None
) -> jax.Array:
    one = lambda width: problem.loss(quantize_params(params, quantizer, width, activation))
    return jnp.reshape(jax.vmap(one)(bits.ravel()), bits.shape)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["problem", "bits"],
    meta_fields=["quantizer", "activation"],
)
@dataclass(frozen=True)
class QuantizedProblem:
    """Training with rounded weights: loss and gradient there, steps on the weights that are not.

    Build it with `quantization_aware`, which checks.

    Attributes:
        problem: any problem.
        quantizer: of the weights.
        bits: its width and that of the activations, a scalar; may be swept over.
        activation: of the inputs of a network's linear layers; None: not rounded.
    """

    unroll: ClassVar[int] = 1

    problem: Any
    quantizer: Quantizer
    bits: Any
    activation: Quantizer | None = None

    def with_size(self, size: jax.Array | float) -> "QuantizedProblem":
        """The same with the first `size` modes trained, for problems that have this."""
        return replace(self, problem=self.problem.with_size(size))

    def init(self) -> Any:
        """Parameters of the problem, not rounded."""
        return self.problem.init()

    def rounded(self, params: Any) -> Any:
        """The parameters that the problem sees."""
        return quantize_params(params, self.quantizer, self.bits, self.activation)

    def loss(self, params: Any) -> jax.Array:
        """Loss of the rounded parameters, a scalar."""
        return self.problem.loss(self.rounded(params))

    def gradient(self, params: Any, key: jax.Array) -> Any:
        """Gradient at the rounded parameters, straight through to the others."""
        rounded, pull = jax.vjp(self.rounded, params)
        return pull(self.problem.gradient(rounded, key))[0]


def quantization_aware(
    problem: Problem, quantizer: Quantizer, bits: float, activation: Quantizer | None = None
) -> QuantizedProblem:
    """A checked `QuantizedProblem`.

    Args:
        problem: any problem of this package.
        quantizer: of the weights.
        bits: width of weights and activations.
        activation: of the inputs of a network's linear layers; left out, they stay.

    Returns:
        A problem for the engine.

    Raises:
        ValueError: if the width is out of range, rows that should be turned have odd length, or
            activations are to be rounded where there are none.
    """
    quantizer.check(bits)
    if activation is not None:
        activation.check(bits)
    start = problem.init()
    width = jnp.asarray(bits, jax.tree.leaves(start)[0].dtype)
    aware = QuantizedProblem(problem, quantizer, width, activation)
    jax.eval_shape(aware.loss, start)  # whatever else is refused is refused here
    return aware
