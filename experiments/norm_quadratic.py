"""The matrix quadratic of norm transfer: LMO steps on one weight matrix, white noise, and theory.

Every row of W has the spectrum i^-a; W* = U diag(w*) with random orthonormal U, so that the energy
of eigenvector i, spread evenly over rows, is i^-b: the output matrix of a linear regression. Steps
are those of Scion for one role, or signs.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.progress import Progress
from simulate.lmo import LmoMethod
from simulate.matrix_problems import MatrixQuadratic, matrix_quadratic
from simulate.role_norms import spectral_norm
from simulate.sweep import sweep
from theory.checks import check_choice, check_real
from theory.newton_schulz import MUON
from theory.norms import norm
from theory.problem import power_law
from theory.small_batch_steps import small_batch_weights

# Method name in records: the norm of its steps. Newton-Schulz as Muon and Scion run it.
STEPS = {
    "output": LmoMethod("rms_to_inf"),
    "hidden": LmoMethod("rms_to_rms", coefficients=MUON),
    "input": LmoMethod("one_to_rms"),
    "sign": LmoMethod("max"),
}


@dataclass(frozen=True)
class QuadraticConfig:
    """Runs on a matrix quadratic."""

    capacity: float = 1.5
    """Capacity exponent a of every row."""
    source: float = 1.5
    """Source exponent b."""
    size: int = 12
    """Rows and columns of the weights."""
    noise_std: float = 1.0
    """Noise of each entry of one sample's gradient."""
    steps: tuple[str, ...] = ("output", "hidden", "input", "sign")
    """Norms of the steps, by the role that uses them, and `sign`."""
    batches: tuple[int, ...] = (16, 64, 256, 1024, 4096, 16384)
    """Batch sizes B."""
    tokens: tuple[int, ...] = (2**12, 2**13, 2**14, 2**15, 2**16, 2**17, 2**18)
    """Samples D, multiples of the batch sizes; those below eight steps are left out."""
    below: float = 2.0
    """Octaves of rate below the least predicted optimum of a batch size."""
    above: float = 2.0
    """Octaves of rate above the largest one."""
    seeds: int = 8
    """Runs of each configuration."""
    seed: int = 0
    """Of the basis of the target and of the noise."""

    @classmethod
    def quick(cls) -> "QuadraticConfig":
        """Two norms, smaller matrices, fewer budgets."""
        return cls(
            size=8,
            steps=("output", "sign"),
            batches=(16, 64, 256, 1024, 4096),
            tokens=(2**11, 2**12, 2**13, 2**14, 2**15),
            seeds=8,
        )


LEAST_STEPS = 8


def check_quadratic(config: QuadraticConfig) -> None:
    """Refuses what cannot be run.

    Raises:
        ValueError: naming the field outside its domain.
    """
    check_real("noise_std", config.noise_std, above=0.0)
    check_real("seeds", config.seeds, at_least=2)
    check_real("batches", config.batches, at_least=1)
    check_real("tokens", config.tokens, at_least=1)
    for name in ("below", "above"):
        check_real(name, getattr(config, name), at_least=0.0)
    for name in config.steps:
        check_choice("steps", name, tuple(STEPS))
    for name in ("batches", "tokens"):
        values = getattr(config, name)
        if list(values) != sorted(set(values)):
            raise ValueError(f"`{name}` must increase, got {values}.")
    for batch in config.batches:
        if any(tokens % batch for tokens in config.tokens if tokens >= LEAST_STEPS * batch):
            raise ValueError(f"`tokens` must be multiples of `batches`, got {batch} among them.")


def quadratic(config: QuadraticConfig) -> MatrixQuadratic:
    """The problem of a configuration, at batch size one."""
    check_real("size", config.size, at_least=2)
    size = int(config.size)
    problem = power_law(config.capacity, config.source, size)
    aligned = matrix_quadratic(problem, left_share=0.0, noise_std=config.noise_std)
    basis = jax.random.orthogonal(jax.random.key(config.seed), size)
    return replace(aligned, target=basis @ aligned.target, floor=jnp.zeros(()))


def measure(step: str, weights: jax.Array) -> jax.Array:
    """Norm of the weights in the norm of the steps."""
    if step == "hidden":
        return spectral_norm(weights) * (weights.shape[1] / weights.shape[0]) ** 0.5
    return norm(STEPS[step].norm, weights)


def _observed(step: str, problem: MatrixQuadratic, weights: jax.Array) -> jax.Array:
    del problem
    return measure(step, weights)


# Made once: the engine compiles anew for every function object.
OBSERVERS = {step: partial(_observed, step) for step in STEPS}


def predicted(
    step: str,
    problem: MatrixQuadratic,
    noise: float,
    rates: np.ndarray,
    batch: float,
    steps: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and norm in the limit of small batches, [rate, steps].

    There is no norm (NaN) for hidden and sign steps.
    """
    lam = jnp.broadcast_to(problem.right, problem.target.shape)
    numbers = (jnp.asarray(x, float) for x in (noise, rates, batch, steps))
    losses, squares = _predicted(STEPS[step].norm, lam, problem.target, *numbers)
    sizes = [[_size(step, square) for square in row] for row in np.asarray(squares)]
    return np.asarray(losses), np.array(sizes)


@partial(jax.jit, static_argnums=0)
def _predicted(
    norm_name: str,
    lam: jax.Array,
    target: jax.Array,
    noise: jax.Array,
    rates: jax.Array,
    batch: jax.Array,
    steps: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    def one(rate: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = small_batch_weights(norm_name, lam, target, noise, rate, batch, count)
        return found.loss(lam, target), found.square

    over_steps = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(over_steps, in_axes=(0, None))(rates, steps)


def _size(step: str, square: np.ndarray) -> float:
    """The norm that these mean squared entries have, if they do not fluctuate."""
    rows, columns = square.shape
    if step == "output":
        return float(np.sqrt(columns * square.sum(axis=1).max()))
    if step == "input":
        return float(np.sqrt(square.sum(axis=0).max() / rows))
    return np.nan


LATTICE = (-36, 5)  # whole numbers j of rates 2^(j/2) among which optima are predicted


def rate_lattice(config: QuadraticConfig) -> np.ndarray:
    """All rates that could be run, ascending."""
    low, high = LATTICE[0] - round(2 * config.below), LATTICE[1] + round(2 * config.above)
    return 2.0 ** (np.arange(low, high) / 2)


def _window(
    config: QuadraticConfig, step: str, problem: MatrixQuadratic, batch: int, counts: np.ndarray
) -> np.ndarray:
    """Half-octave lattice j of rates 2^(j/2) around the predicted optima."""
    lattice = np.arange(*LATTICE)
    losses, _ = predicted(step, problem, config.noise_std, 2.0 ** (lattice / 2), batch, counts)
    best = lattice[np.argmin(losses, axis=0)]
    low, high = best.min() - round(2 * config.below), best.max() + round(2 * config.above)
    return np.arange(low, high + 1)


def quadratic_runs(config: QuadraticConfig, progress: Progress) -> xr.Dataset:
    """Losses and norms of every norm, batch, rate and budget.

    Args:
        config: what to run.
        progress: advanced once a norm and batch.

    Returns:
        `loss`, `loss_error` (over seeds), `predicted_loss` and `predicted_norm`
        [method, width, batch, rate, tokens] and `norm` [layer, and these], with one width, the
        number of columns, and one layer, `output`: the matrix itself, in the norm of its steps.
        What was not run is NaN; what diverged is infinite. `target_norm` [method] is that of W*.

    Raises:
        ValueError: if the configuration is refused.
    """
    check_quadratic(config)
    problem = quadratic(config)
    parts = []
    with progress.task("quadratics", len(config.steps) * len(config.batches)):
        for step in config.steps:
            for batch in config.batches:
                tokens = np.array(config.tokens)
                tokens = tokens[tokens >= LEAST_STEPS * batch]
                if tokens.size:
                    parts.append(_cell(config, problem, step, batch, tokens))
                progress.advance()
    whole = xr.merge(parts, join="outer", compat="no_conflicts")
    assert isinstance(whole, xr.Dataset)
    whole = whole.sel({"method": list(config.steps)})
    targets = [float(measure(step, problem.target)) for step in config.steps]
    whole["target_norm"] = ("method", targets)
    whole["norm"] = whole["norm"].expand_dims(layer=["output"])
    return whole


def _cell(
    config: QuadraticConfig, problem: MatrixQuadratic, step: str, batch: int, tokens: np.ndarray
) -> xr.Dataset:
    counts = tokens // batch
    rates = 2.0 ** (_window(config, step, problem, batch, counts) / 2)
    keys = jax.random.split(jax.random.key(config.seed + 1), config.seeds)
    grid = {"learning_rate": rates, "batch_size": np.full(rates.size, float(batch))}
    run = sweep(problem, STEPS[step], counts, grid, keys, observe=OBSERVERS[step])
    loss, size = np.asarray(run.loss), np.asarray(run.observed)
    expected = predicted(step, problem, config.noise_std, rates, batch, counts)
    with np.errstate(invalid="ignore"):
        error = loss.std(axis=1, ddof=1) / np.sqrt(config.seeds)
    found = {
        "loss": loss.mean(axis=1),
        "loss_error": error,
        "norm": size.mean(axis=1),
        "predicted_loss": expected[0],
        "predicted_norm": expected[1],
    }
    place = {"method": [step], "width": [config.size], "batch": [batch]}
    dims = (*place, "rate", "tokens")
    return xr.Dataset(
        {name: (dims, values[None, None, None]) for name, values in found.items()},
        coords=place | {"rate": rates, "tokens": tokens},
    )
