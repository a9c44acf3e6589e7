"""Tasks for networks: regression on a power-law target and next-token prediction on text.

Both satisfy `simulate.problems.Problem` with a `Network` as parameters: every gradient sees a fresh
batch, the loss is measured on a fixed set of samples no batch is drawn from.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from simulate.networks import Network, check_sizes
from simulate.problems import diagonal_quadratic
from theory.checks import check_real
from theory.problem import PowerLawQuadratic

HELD_OUT = 8  # one block of text in so many is not trained on


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "initial",
        "root_eigenvalues",
        "teacher",
        "noise_std",
        "floor",
        "inputs",
        "labels",
    ],
    meta_fields=["batch_size"],
)
@dataclass(frozen=True)
class Regression:
    """Half squared error on labels y = T x + noise, with x ~ N(0, diag lam).

    Attributes:
        initial: network before the first step.
        root_eigenvalues: sqrt(lam), [d_in].
        teacher: T, [d_out, d_in].
        noise_std: of each label, a scalar.
        floor: loss of the teacher, d_out noise_std^2 / 2.
        inputs: of the evaluation set, [n, d_in].
        labels: of the evaluation set, without noise, [n, d_out].
        batch_size: samples a step.
    """

    unroll: ClassVar[int] = 1

    initial: Network
    root_eigenvalues: jax.Array
    teacher: jax.Array
    noise_std: jax.Array
    floor: jax.Array
    inputs: jax.Array
    labels: jax.Array
    batch_size: int

    def init(self) -> Network:
        """The initial network."""
        return self.initial

    def sample_loss(self, params: Network, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Mean over samples of half the squared error, summed over outputs."""
        return jnp.mean(jnp.sum((params(inputs) - labels) ** 2, axis=-1)) / 2

    def loss(self, params: Network) -> jax.Array:
        """Loss on the evaluation set, with the floor."""
        return self.floor + self.sample_loss(params, self.inputs, self.labels)

    def gradient(self, params: Network, key: jax.Array) -> Network:
        """Gradient on `batch_size` fresh samples."""
        design_key, noise_key = jax.random.split(key)
        dtype = self.teacher.dtype
        outputs, columns = self.teacher.shape
        inputs = jax.random.normal(design_key, (self.batch_size, columns), dtype)
        inputs = inputs * self.root_eigenvalues
        noise = self.noise_std * jax.random.normal(noise_key, (self.batch_size, outputs), dtype)
        return jax.grad(self.sample_loss)(params, inputs, inputs @ self.teacher.T + noise)


def regression(
    problem: PowerLawQuadratic,
    network: Network,
    outputs: int,
    batch_size: int,
    key: jax.Array,
    evaluation: int = 4096,
) -> Regression:
    """A teacher whose best linear fit has the spectrum of a power-law quadratic.

    Column i of T has the length of x*_i in a random direction: the loss of a matrix W is
    1/2 sum lam_i |W_i - T_i|^2 + floor, with energies lam_i |T_i|^2 = i^-b.

    Args:
        problem: exponents, number of inputs, and noise (variance summed over outputs).
        network: initial; its number type is that of the problem.
        outputs: d_out.
        batch_size: samples a step, a whole number, at least 1.
        key: draws the teacher and the evaluation set.
        evaluation: samples the loss is measured on.

    Returns:
        A `Regression`.

    Raises:
        ValueError: if a number is outside its domain.
    """
    check_sizes(outputs=outputs, batch_size=batch_size, evaluation=evaluation)
    dtype = jax.tree.leaves(network)[0].dtype
    quadratic = diagonal_quadratic(problem)
    teacher_key, design_key = jax.random.split(key)
    columns = quadratic.target.size
    directions = jax.random.normal(teacher_key, (outputs, columns))
    lengths = jnp.sqrt(jnp.sum(directions**2, axis=0))
    teacher = (directions / lengths * quadratic.target).astype(dtype)
    roots = jnp.sqrt(quadratic.eigenvalues).astype(dtype)
    inputs = jax.random.normal(design_key, (evaluation, columns), dtype) * roots
    noise_std = jnp.asarray((problem.noise_variance / outputs) ** 0.5, dtype)
    floor = outputs * noise_std**2 / 2
    return Regression(
        network, roots, teacher, noise_std, floor, inputs, inputs @ teacher.T, int(batch_size)
    )


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["initial", "tokens", "inputs", "labels"],
    meta_fields=["batch_size"],
)
@dataclass(frozen=True)
class NextToken:
    """Cross entropy of the next token given the `context` before it.

    Attributes:
        initial: network before the first step.
        tokens: training text in blocks that no window crosses, [blocks, length].
        inputs: of the evaluation set, [n, context], from text that is not trained on.
        labels: next tokens there, [n].
        batch_size: windows, each with one label, a step.
    """

    unroll: ClassVar[int] = 1

    initial: Network
    tokens: jax.Array
    inputs: jax.Array
    labels: jax.Array
    batch_size: int

    def init(self) -> Network:
        """The initial network."""
        return self.initial

    def sample_loss(self, params: Network, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Mean cross entropy in nats."""
        logits = params(inputs)
        chosen = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - chosen)

    def loss(self, params: Network) -> jax.Array:
        """Mean cross entropy on the evaluation set."""
        return self.sample_loss(params, self.inputs, self.labels)

    def batch(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Windows drawn uniformly with replacement: inputs [B, context] and labels [B]."""
        blocks, length = self.tokens.shape
        context, whole = self.inputs.shape[1], self.tokens.dtype
        # Remainders of random bits: uniform up to n / 2^32, at a quarter of the hashing of randint.
        bits = jax.random.bits(key, (2, self.batch_size, 1), jnp.uint32)
        block = (bits[0] % jnp.uint32(blocks)).astype(whole)
        start = (bits[1] % jnp.uint32(length - context)).astype(whole)
        window = self.tokens[block, start + jnp.arange(context + 1, dtype=whole)]
        return window[:, :-1], window[:, -1]

    def gradient(self, params: Network, key: jax.Array) -> Network:
        """Gradient on a fresh batch."""
        return jax.grad(self.sample_loss)(params, *self.batch(key))


def next_token(
    network: Network,
    tokens: np.ndarray,
    context: int,
    batch_size: int,
    evaluation: int = 4096,
    block: int = 1024,
) -> NextToken:
    """Next-token prediction on a text.

    The text is cut into blocks; every eighth is held out, so that both parts come from all over
    the text. The evaluation windows are spread evenly over the held-out blocks.

    Args:
        network: from tokens [n, context] to logits; see `simulate.networks.language_model`.
        tokens: the text as whole numbers, [m]; at least eight blocks.
        context: tokens before the one to predict, below `block`.
        batch_size: windows a step, a whole number, at least 1.
        evaluation: windows the loss is measured on; at most those there are in the blocks held out.
        block: tokens in a block.

    Returns:
        A `NextToken`.

    Raises:
        ValueError: if a number is outside its domain.
    """
    check_sizes(context=context, batch_size=batch_size, evaluation=evaluation, block=block)
    check_real("context", context, below=block)
    count = len(tokens) // block
    if count < HELD_OUT:
        raise ValueError(
            f"`tokens` must hold at least {HELD_OUT} blocks of {block}, got {len(tokens)} tokens."
        )
    blocks = np.asarray(tokens[: count * block], np.int32).reshape(count, block)
    held = np.arange(count) % HELD_OUT == HELD_OUT - 1
    windows = np.lib.stride_tricks.sliding_window_view(blocks[held], context + 1, axis=1)
    windows = windows.reshape(-1, context + 1)
    check_real("evaluation", evaluation, at_most=len(windows))
    chosen = windows[np.arange(evaluation) * len(windows) // evaluation]
    train, inputs, labels = map(jnp.asarray, (blocks[~held], chosen[:, :-1], chosen[:, -1]))
    return NextToken(network, train, inputs, labels, int(batch_size))
