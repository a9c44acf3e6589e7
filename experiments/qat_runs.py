"""Training with rounded weights over sizes, optimizers and widths of the format.

Four systems; N is the number of trained weights:

    diagonal  the quadratic in its eigenbasis, the whole vector on one absmax grid, N = n;
    absmax    the matrix quadratic in random orthonormal coordinates, absmax rows, N = n^2;
    clipped   the same, rounded as in QuEST (Hadamard rotation, clip at the Gaussian optimum,
              no gradient outside the clip);
    network   two layers on a power-law target, weights and inputs rounded as in QuEST.

Full-precision weights take the steps; loss and gradient are those of the rounded weights, straight
through. Rates fall linearly to zero and are tuned for every size, budget and format alone.

What to expect on quadratics. Rounding errors are nearly white, of variance v for an entry, and cost
v tr(A) tr(B) / 2. In random coordinates v is proportional to |W*|^2 / n^2; with A_ii = B_ii =
i^-(a/2), a < 2, and |W*|^2 a sum of i^-(b-a), b < a + 1, the cost falls like n^-(b-1): as the
loss of the modes that are left out does. A format then acts like a smaller model, and rho exists
(in the limit: the traces of some ten modes still grow less than their powers, and absmax rows add
the logarithm of their length, so that the cost of small problems falls more slowly, or not yet).
In the eigenbasis the largest entry, which sets the grid, stays the same: the cost does not fall,
and no rho describes it.

Layout of the record of the study `qat` (a method that a system lacks is NaN):

    loss             [system, method, bits, place, share, seed], population loss at the rate that is
                     best in the mean over seeds; infinite if all diverged; the first of the
                     bits is the reference
    rate, at_edge    [system, method, bits, place, share], that rate, and whether it is the first or
                     last of the grid
    size             [system, place], N
    tokens           [system, place, share], D; D / N is the same for all places
    irreducible      [system], E of the problem
    rounding_excess  [system, bits, place], cost of rounding the target itself to the nearest; NaN
                     for the network
    rho              [form, system, method, bits, end], end = low, middle, high: middle fitted,
                     low and high percentiles of the bootstrap
    rho_left_out     [system, method, bits, extreme], one-term form: least and largest when one size
                     is left out
    law              [form, system, method, symbol], E, A of the reference, alpha, B, beta
    misfit           [form, system, method], root mean square residual of log loss
    excess           [system, method, bits, place], loss over that of the reference at share 1
    excess_slope     [system, method, bits], its slope in log N; a law with rho: -alpha, a floor: 0
    slope_error      [system, method, bits], half of the 95 % interval of that slope
    local_rho        [system, method, bits, place], rho of each size alone, with the E and alpha of
                     the one-term fit: constant if the law holds
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simulate.adaptive import adam
from simulate.grouped import layered_adamw, muon_adamw, scion
from simulate.lmo import muon, signum
from simulate.matrix_problems import matrix_quadratic
from simulate.network_problems import regression
from simulate.networks import two_layer
from simulate.optimizers import sgd
from simulate.problems import diagonal_quadratic
from simulate.quantize import QuantizedProblem, Quantizer, post_training
from simulate.schedules import Scheduled, linear
from simulate.shampoo import shampoo
from simulate.soap import Soap
from simulate.trajectory import run
from theory.problem import power_law

ABSMAX, QUEST = Quantizer("absmax"), Quantizer("clipped", hadamard=True)
REFERENCE_STEPS, STEP_FACTOR = 256.0, 2.0
SIDE, BATCH, EVALUATION = 32, 16, 1024  # of the network: inputs and outputs, samples


@dataclass(frozen=True)
class Trainee:
    """An optimizer and the rates that suit it.

    Attributes:
        optimizer: factory; its rate falls linearly to zero.
        centre: middle of the grid of rates at 256 steps.
        power: rates are proportional to steps^-power.
        hyperparameters: the same for every rate.
    """

    optimizer: Any
    centre: float
    power: float = 0.0
    hyperparameters: Mapping[str, float] = field(default_factory=dict)

    def rates(self, count: int, steps: float) -> np.ndarray:
        """Log-spaced rates for a horizon."""
        centre = self.centre * (steps / REFERENCE_STEPS) ** -self.power
        return centre * STEP_FACTOR ** (np.arange(count) - (count - 1) / 2)


AVERAGED = {"momentum": 0.9}
SHAMPOO = AVERAGED | {"second_momentum": 0.95}
VECTOR = {
    "gd": Trainee(sgd, 0.9),
    "sign": Trainee(signum, 0.004, 0.75, AVERAGED),
    "adam": Trainee(adam, 0.012, 0.75),
}
MATRIX = VECTOR | {
    "muon": Trainee(muon, 0.015, 0.75, AVERAGED),
    "shampoo": Trainee(shampoo, 0.05, 0.5, SHAMPOO),
    "soap": Trainee(Soap(), 0.02, 0.6),
}
PLAIN_DECAY = {"weight_decay": 0.0}
NETWORK = {
    "sgd": Trainee(sgd, 0.7),
    "adam": Trainee(layered_adamw, 0.03, 0.75, PLAIN_DECAY),
    "muon": Trainee(muon_adamw, 0.06, 0.5, AVERAGED | PLAIN_DECAY),
    "scion": Trainee(scion, 0.06, 0.5, AVERAGED),
    "shampoo": Trainee(shampoo, 0.1, 0.3, SHAMPOO),
    "soap": Trainee(Soap(), 0.03, 0.75),
}
# Names as in figures and tables, in one order for all systems.
METHODS = ("gd", "sgd", "sign", "adam", "muon", "scion", "shampoo", "soap")


@dataclass(frozen=True)
class Case:
    """A problem of one size, several draws of it stacked.

    Attributes:
        problems: pytree of the problem, leaves [seeds, ...].
        size: N.
        batch_size: samples a step; tokens are steps times this.
        target: of the weights, [seeds, ...]; None for a network.
    """

    problems: Any
    size: int
    batch_size: int = 1
    target: Any = None


@dataclass(frozen=True)
class System:
    """A family of problems with its optimizers and its rounding.

    Attributes:
        build: exponents and noise, side of the problem, number of draws to a `Case`.
        dimensions: side to the number of weights and the batch size of that case.
        trainees: by name.
        quantizer: of the weights.
        activation: of the inputs of linear layers.
        tokens_per_parameter: D / N at share 1.
    """

    build: Callable[[Any, int, int], Case]
    dimensions: Callable[[int], tuple[int, int]]
    trainees: Mapping[str, Trainee]
    quantizer: Quantizer
    activation: Quantizer | None = None
    tokens_per_parameter: float = 1.0


@dataclass(frozen=True)
class Spectrum:
    """Exponents and label noise of the problems, and the most modes the diagonal one holds."""

    capacity: float
    source: float
    noise_variance: float
    held: int


def _stacked(build: Callable[[jax.Array], Any], seeds: int) -> Any:
    drawn = [build(jax.random.key(seed)) for seed in range(seeds)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)


def diagonal(spectrum: Spectrum, side: int, seeds: int) -> Case:
    """The vector problem, with targets at random places in their cells.

    The energies are drawn between half and three halves of the power law, the same ones for all
    sizes. All sizes have one shape, and compile once.
    """
    law = power_law(spectrum.capacity, spectrum.source, spectrum.held, spectrum.noise_variance)
    problem = diagonal_quadratic(law, jnp.float32)

    def build(key: jax.Array) -> Any:
        energy = jax.random.uniform(key, problem.target.shape, jnp.float32, 0.5, 1.5)
        return replace(problem, target=problem.target * jnp.sqrt(energy)).with_size(side)

    stacked = _stacked(build, seeds)
    trained = jnp.where(stacked.curvature > 0, stacked.target, 0.0)
    return Case(stacked, *_of_vector(side), target=trained)


def turned(spectrum: Spectrum, side: int, seeds: int) -> Case:
    """The matrix problem in random coordinates."""
    law = power_law(spectrum.capacity, spectrum.source, side, spectrum.noise_variance)
    build = lambda key: matrix_quadratic(law, alignment="turned", key=key, dtype=jnp.float32)
    stacked = _stacked(build, seeds)
    return Case(stacked, *_of_matrix(side), target=stacked.target)


def network(spectrum: Spectrum, side: int, seeds: int) -> Case:
    """Two layers of the given width between 32 inputs and 32 outputs."""
    law = power_law(spectrum.capacity, spectrum.source, SIDE, spectrum.noise_variance)

    def build(key: jax.Array) -> Any:
        network_key, data_key = jax.random.split(key)
        start = two_layer(network_key, SIDE, side, SIDE, dtype=jnp.float32)
        return regression(law, start, SIDE, BATCH, data_key, EVALUATION)

    return Case(_stacked(build, seeds), *_of_network(side))


def _of_vector(side: int) -> tuple[int, int]:
    return side, 1


def _of_matrix(side: int) -> tuple[int, int]:
    return side**2, 1


def _of_network(side: int) -> tuple[int, int]:
    return 2 * SIDE * side, BATCH


SYSTEMS = {
    "diagonal": System(diagonal, _of_vector, VECTOR, ABSMAX, tokens_per_parameter=16.0),
    "absmax": System(turned, _of_matrix, MATRIX, ABSMAX),
    "clipped": System(turned, _of_matrix, MATRIX, QUEST),
    "network": System(network, _of_network, NETWORK, QUEST, QUEST, tokens_per_parameter=10.0),
}


@dataclass(frozen=True)
class Tuned:
    """What is kept of the runs of one method at one size and budget.

    Attributes:
        loss: at the best rate, [bits, seeds].
        rate: that rate, [bits].
        at_edge: whether it is the first or last, [bits].
    """

    loss: np.ndarray
    rate: np.ndarray
    at_edge: np.ndarray


def tuned(system: System, name: str, case: Case, steps: int, bits: np.ndarray, count: int) -> Tuned:
    """Trains one method at all rates, formats and seeds, in one compiled call.

    Args:
        system: of the problem.
        name: of the method.
        case: the problem.
        steps: horizon.
        bits: widths, [b].
        count: number of rates.

    Returns:
        A `Tuned`: for each format, the rate of the least mean loss over seeds.
    """
    trainee = system.trainees[name]
    rates = trainee.rates(count, steps)
    losses = np.asarray(
        _final_losses(
            case.problems,
            Scheduled(trainee.optimizer, linear),
            (system.quantizer, system.activation),
            jnp.asarray(rates, jnp.float32),
            jnp.asarray(bits, jnp.float32),
            jnp.asarray(steps, jnp.int32),
            dict(trainee.hyperparameters),
        ),
        dtype=float,
    )
    best = np.argmin(losses.mean(axis=0), axis=0)
    chosen = losses[:, best, np.arange(best.size)].T
    return Tuned(chosen, rates[best], (best == 0) | (best == count - 1))


@partial(jax.jit, static_argnames=["optimizer", "quantizers"])
def _final_losses(
    problems: Any,
    optimizer: Scheduled,
    quantizers: tuple[Quantizer, Quantizer | None],
    rates: jax.Array,
    bits: jax.Array,
    steps: jax.Array,
    hyperparameters: dict[str, Any],
) -> jax.Array:
    """Losses [seeds, rates, bits] after training."""
    keys = jax.random.split(jax.random.key(0), jax.tree.leaves(problems)[0].shape[0])
    numbers = hyperparameters | {"horizon": steps}

    def one(problem: Any, key: jax.Array, rate: jax.Array, width: jax.Array) -> jax.Array:
        aware = QuantizedProblem(problem, quantizers[0], width, quantizers[1])
        ends = jnp.stack([jnp.zeros_like(steps), steps])
        return run(aware, optimizer, ends, key, numbers | {"learning_rate": rate}).loss[-1]

    over_bits = jax.vmap(one, (None, None, None, 0))
    over_rates = jax.vmap(over_bits, (None, None, 0, None))
    return jax.vmap(over_rates, (0, 0, None, None))(problems, keys, rates, bits)


def rounding_excess(system: System, case: Case, bits: np.ndarray) -> np.ndarray:
    """Mean cost of rounding the target itself to the nearest, [bits]; NaN without a target."""
    if case.target is None:
        return np.full(bits.size, np.nan)
    seeds = jax.tree.leaves(case.target)[0].shape[0]
    costs = []
    for seed in range(seeds):
        problem, target = jax.tree.map(lambda leaf, s=seed: leaf[s], (case.problems, case.target))
        costs.append(post_training(problem, target, system.quantizer, bits) - problem.loss(target))
    return np.mean(costs, axis=0)
