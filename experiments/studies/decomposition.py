"""How the loss splits along training: exact curves against simulated ones, GD and SGD."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from experiments.tables import Table
from simulate.least_squares import least_squares
from simulate.optimizers import sgd as sgd_optimizer
from simulate.problems import diagonal_quadratic
from simulate.sweep import sweep
from simulate.trajectory import record_steps, simulate
from theory.checks import check_real
from theory.decomposition import Decomposition
from theory.linear_methods import gd
from theory.problem import PowerLawQuadratic, power_law
from theory.sgd import sgd

PARTS = ("irreducible", "approximation", "bias", "noise")


@dataclass(frozen=True)
class DecompositionConfig:
    """The loss of GD and of one-pass SGD, split into its parts, exact and simulated."""

    capacity: float = 1.5
    """Capacity exponent a."""
    source: float = 1.8
    """Source exponent b."""
    size: int = 300
    """Trained modes N."""
    total_size: int = 600
    """Modes held in memory; those beyond the size are sampled but not trained."""
    learning_rate: float = 0.3
    """Of both methods."""
    batch_size: int = 4
    """Samples a step of SGD."""
    noise_variance: float = 0.02
    """Label noise sigma^2."""
    horizon: int = 4000
    """Steps."""
    points: int = 36
    """Recording times."""
    seeds: int = 100
    """Runs of SGD."""
    seed: int = 0
    """Of the simulation."""

    @classmethod
    def quick(cls) -> "DecompositionConfig":
        """A tenth of the work."""
        return cls(size=100, total_size=200, horizon=1000, points=24, seeds=50)


def compute(config: DecompositionConfig, progress: Progress) -> xr.Dataset:
    """Both methods, both routes, on the same recording times.

    Raises:
        ValueError: naming the field outside its domain.
    """
    check_real("seeds", config.seeds, at_least=2)
    check_real("points", config.points, at_least=3)
    problem = power_law(config.capacity, config.source, config.size, config.noise_variance)
    steps = record_steps(config.horizon, config.points)
    with progress.task("decomposition", 2):
        exact_gd = gd(problem, config.learning_rate, steps)
        simulated_gd = _simulate_gd(problem, config, steps)
        progress.advance()
        exact_sgd = sgd(problem, config.learning_rate, config.batch_size, steps)
        simulated_sgd = _simulate_sgd(problem, config, steps)
        progress.advance()
    routes = {"gd": (exact_gd, simulated_gd), "sgd": (exact_sgd, simulated_sgd)}
    return _dataset(steps, routes)


def _trained_error(problem: Any, params: jax.Array) -> jax.Array:
    """Square roots of twice the loss of each mode, signed."""
    return _root_eigenvalues(problem) * (params - problem.target)


def _root_eigenvalues(problem: Any) -> jax.Array:
    lam = getattr(problem, "eigenvalues", None)
    return problem.root_eigenvalues if lam is None else jnp.sqrt(lam)


def _simulate_gd(
    problem: PowerLawQuadratic, config: DecompositionConfig, steps: np.ndarray
) -> dict[str, np.ndarray]:
    run = simulate(
        diagonal_quadratic(problem, total_size=config.total_size),
        sgd_optimizer,
        steps,
        learning_rate=config.learning_rate,
        observe=_trained_error,
    )
    errors = np.asarray(run.observed)[None]
    return _measured_parts(errors, np.asarray(run.loss)[None], config)


def _simulate_sgd(
    problem: PowerLawQuadratic, config: DecompositionConfig, steps: np.ndarray
) -> dict[str, np.ndarray]:
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    run = sweep(
        least_squares(problem, config.batch_size, total_size=config.total_size),
        sgd_optimizer,
        steps,
        {"learning_rate": np.array([config.learning_rate])},
        keys,
        observe=_trained_error,
    )
    return _measured_parts(np.asarray(run.observed)[0], np.asarray(run.loss)[0], config)


def _measured_parts(
    errors: np.ndarray, losses: np.ndarray, config: DecompositionConfig
) -> dict[str, np.ndarray]:
    """The four parts from signed mode errors [S, P, n] and losses [S, P], with standard errors."""
    seeds, points = losses.shape
    trained = errors[..., : config.size]
    mean = trained.mean(axis=0)
    scatter = np.sum((trained - mean) ** 2, axis=-1) / 2
    zero = np.zeros(points)
    noise = scatter.sum(axis=0) / (seeds - 1) if seeds > 1 else zero
    root = np.sqrt(seeds)
    # The square of an average of S runs keeps 1/S of their variance.
    bias = np.sum(mean**2, axis=-1) / 2 - noise / seeds
    irreducible = np.full(points, config.noise_variance / 2)
    total = losses.mean(axis=0)
    # What is neither irreducible nor on the trained modes, seen in the first run.
    untrained = losses[0] - np.sum(trained[0] ** 2, axis=-1) / 2 - irreducible
    return {
        "irreducible": irreducible,
        "approximation": untrained,
        "bias": bias,
        "noise": noise,
        "total": total,
        "total_error": losses.std(axis=0, ddof=1) / root if seeds > 1 else zero,
        "noise_error": scatter.std(axis=0, ddof=1) / root if seeds > 1 else zero,
    }


def _dataset(
    steps: np.ndarray, routes: dict[str, tuple[Decomposition, dict[str, np.ndarray]]]
) -> xr.Dataset:
    names = (*PARTS, "total")
    exact = [[np.asarray(getattr(curve, name)) for name in names] for curve, _ in routes.values()]
    simulated = [[measured[name] for name in names] for _, measured in routes.values()]
    errors = {
        f"simulated_{name}": (
            ("method", "steps"),
            [measured[name] for _, measured in routes.values()],
        )
        for name in ("total_error", "noise_error")
    }
    dimensions = ("method", "part", "steps")
    dataset = xr.Dataset(
        {"exact": (dimensions, np.array(exact)), "simulated": (dimensions, np.array(simulated))}
        | errors,
        coords={"method": list(routes), "part": list(names), "steps": steps},
    )
    return with_units(dataset, exact="loss", simulated="loss", steps="steps")


def summary(dataset: xr.Dataset) -> list[Table]:
    """Exact against simulated at the last step, and the worst disagreement."""
    rows = []
    for method in dataset.method.values:
        last = dataset.sel({"method": method}).isel(steps=-1)
        for part in dataset.part.values:
            exact, simulated = (float(last[name].sel(part=part)) for name in ("exact", "simulated"))
            rows.append((str(method), str(part), exact, simulated, simulated - exact))
    total = dataset.sel({"part": "total", "method": "sgd"})
    shown = total.isel(steps=slice(1, None))
    z = (shown.simulated - shown.exact) / shown.simulated_total_error
    note = f"largest |z| of the SGD loss over {z.size} correlated times: {float(abs(z).max()):.2f}"
    title = f"Loss after {int(dataset.steps[-1])} steps"
    return [Table(title, ("method", "part", "exact", "simulated", "difference"), tuple(rows), note)]


STUDY = Study(
    "decomposition",
    "three error terms along training, exact against simulated (GD, SGD)",
    DecompositionConfig,
    compute,
    summary,
)
