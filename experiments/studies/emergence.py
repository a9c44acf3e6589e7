"""Where the Chinchilla form comes from and where it bends: exact L(N, T) of gradient descent."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from experiments.tables import Table
from theory.checks import check_real
from theory.fitting import Fit, fit_chinchilla, runs
from theory.laws import Chinchilla, compute_exponents
from theory.linear_methods import gd, loss_exponents
from theory.problem import MAX_SIZE, PowerLawQuadratic, power_law

# Ranges of sizes and of steps that the additive form is fitted to.
WINDOWS = {
    "narrow": ((1e2, 1e4), (1e3, 1e6)),
    "medium": ((1e2, 1e6), (1e2, 1e9)),
    "whole": ((1e2, 1e9), (1e2, 1e12)),
}
LAW = ("irreducible", "size_coefficient", "tokens_coefficient", "size_exponent", "tokens_exponent")


@dataclass(frozen=True)
class EmergenceConfig:
    """Exact losses of GD over sizes and steps, and the additive law fitted to them."""

    capacity: float = 1.5
    """Capacity exponent a."""
    source: float = 1.8
    """Source exponent b."""
    learning_rate: float = 0.5
    """Of gradient descent."""
    noise_variance: float = 0.02
    """Label noise sigma^2; half of it is the irreducible loss."""
    sizes_per_decade: int = 4
    """Grid of sizes, 1e2 to 1e9."""
    steps_per_decade: int = 3
    """Grid of steps, 1e2 to 1e12."""
    starts: int = 64
    """Random starts of a fit."""
    seed: int = 0
    """Of those starts."""

    @classmethod
    def quick(cls) -> "EmergenceConfig":
        """A coarser grid."""
        return cls(sizes_per_decade=2, steps_per_decade=2, starts=16)


def compute(config: EmergenceConfig, progress: Progress) -> xr.Dataset:
    """The exact grid, its compute-optimal frontier, and what the law makes of it.

    Raises:
        ValueError: naming the field outside its domain.
    """
    for name in ("sizes_per_decade", "steps_per_decade", "starts"):
        check_real(name, getattr(config, name), at_least=1)
    dataset = exact_grid(config, progress)
    sizes, steps = dataset["size"].values, dataset["steps"].values
    fits = _fit_windows(config, sizes, steps, dataset.loss.values, progress)
    laws = [[float(getattr(fit.law, name)) for name in LAW] for fit in fits.values()]
    fitted = [fit.law.loss(sizes[:, None], steps[None, :]) for fit in fits.values()]
    return dataset.assign(
        law=(("window", "parameter"), np.array(laws)),
        fitted_loss=(("window", "size", "steps"), np.array(fitted)),
        agreement=("window", [fit.agreement for fit in fits.values()]),
    ).assign_coords(window=list(fits), parameter=list(LAW))


def exact_grid(config: EmergenceConfig, progress: Progress) -> xr.Dataset:
    """Exact losses over sizes, steps and budgets, and the additivity gap."""
    sizes = np.round(np.geomspace(1e2, 1e9, 7 * config.sizes_per_decade + 1))
    steps = np.geomspace(1e2, 1e12, 10 * config.steps_per_decade + 1)
    budgets = np.geomspace(1e6, 1e18, 13)
    infinite = gd(_problem(config, MAX_SIZE), config.learning_rate, steps)
    parts = []
    with progress.task("exact losses", sizes.size):
        for size in sizes:
            times = np.concatenate([steps, budgets / size])
            curve = gd(_problem(config, size), config.learning_rate, times)
            parts.append([np.asarray(p) for p in (curve.total, curve.approximation, curve.bias)])
            progress.advance()
    total, approximation, bias = np.moveaxis(np.array(parts), 1, 0)
    here, beyond = slice(None, steps.size), slice(steps.size, None)
    best_size, best_loss = frontier(sizes, total[:, beyond] - config.noise_variance / 2)
    # Modes beyond 1e15 are untouched at any step count here: they count whole.
    unlimited = np.asarray(infinite.bias + infinite.approximation)
    grid = ("size", "steps")
    dataset = xr.Dataset(
        {
            "loss": (grid, total[:, here]),
            "approximation": (grid, approximation[:, here]),
            "bias": (grid, bias[:, here]),
            "additivity_gap": (grid, unlimited - bias[:, here]),
            "isoflop_loss": (("size", "budget"), total[:, beyond]),
            "best_size": ("budget", best_size),
            "best_excess": ("budget", best_loss),
            "derived": ("exponent", np.array(loss_exponents(_problem(config, 1e9)))),
        },
        coords={"size": sizes, "steps": steps, "budget": budgets, "exponent": ["alpha", "beta"]},
        attrs={"irreducible": config.noise_variance / 2, "capacity": config.capacity},
    )
    return with_units(
        dataset, loss="loss", size="modes", steps="steps", budget="modes x steps", best_size="modes"
    )


def _problem(config: EmergenceConfig, size: float) -> PowerLawQuadratic:
    return power_law(config.capacity, config.source, size, config.noise_variance)


def _fit_windows(
    config: EmergenceConfig,
    sizes: np.ndarray,
    steps: np.ndarray,
    total: np.ndarray,
    progress: Progress,
) -> dict[str, Fit]:
    key = jax.random.key(config.seed)
    # The same number of points in every window: the fits differ in range alone.
    rows, columns = 2 * config.sizes_per_decade + 1, 3 * config.steps_per_decade + 1
    fits = {}
    with progress.task("fits", len(WINDOWS)):
        for name, (size_range, step_range) in WINDOWS.items():
            chosen = np.ix_(_spread(sizes, size_range, rows), _spread(steps, step_range, columns))
            n, t = (grid[chosen] for grid in np.meshgrid(sizes, steps, indexing="ij"))
            data = runs(n.ravel(), t.ravel(), total[chosen].ravel())
            fits[name] = fit_chinchilla(data, starts=config.starts, key=key)
            progress.advance()
    return fits


def _spread(values: np.ndarray, ends: tuple[float, float], count: int) -> np.ndarray:
    """Positions of `count` values, evenly spread between the two nearest to `ends`."""
    first, last = (int(np.argmin(np.abs(np.log(values / end)))) for end in ends)
    return np.round(np.linspace(first, last, count)).astype(int)


def frontier(sizes: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least loss along each budget, by a parabola in log N and log L through the best three sizes.

    Args:
        sizes: N, [n], increasing.
        losses: loss beyond the irreducible part, [n, budgets].

    Returns:
        N* and its loss, [budgets]; NaN where the best size is at the edge of the grid.
    """
    best_size, best_loss = [], []
    for column in np.log(losses).T:
        at = int(np.argmin(column))
        if at in (0, sizes.size - 1):
            best_size.append(np.nan)
            best_loss.append(np.nan)
            continue
        near = slice(at - 1, at + 2)
        curve = np.polyfit(np.log(sizes[near] / sizes[at]), column[near], 2)
        shift = -curve[1] / (2 * curve[0])
        best_size.append(sizes[at] * np.exp(shift))
        best_loss.append(np.exp(np.polyval(curve, shift)))
    return np.array(best_size), np.array(best_loss)


def slopes(dataset: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Derived and measured exponents that need no fit: end slopes and the frontier."""
    alpha, beta = (float(value) for value in dataset.derived.values)
    capacity = float(dataset.attrs["capacity"])
    size, steps = dataset["size"].values, dataset["steps"].values
    along_size = dataset.approximation.values[-3:, 0]
    # The largest model over the middle decades: inside 1 << eta T << N^a.
    middle = slice(steps.size // 3, 2 * steps.size // 3)
    along_steps = dataset.bias.values[-1, middle]
    best = dataset.best_size.values
    inner = np.isfinite(best)
    budgets = np.log(dataset.budget.values[inner])
    return {
        "alpha": (alpha, -_slope(np.log(size[-3:]), np.log(along_size))),
        "beta": (beta, -_slope(np.log(steps[middle]), np.log(along_steps))),
        "N* against compute": (1 / (1 + capacity), _slope(budgets, np.log(best[inner]))),
        "loss against compute": (
            -alpha / (1 + capacity),
            _slope(budgets, np.log(dataset.best_excess.values[inner])),
        ),
    }


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, 1)[0])


def summary(dataset: xr.Dataset) -> list[Table]:
    """Exponents derived, measured and fitted; how far the additive form is off."""
    rows = tuple((name, *pair, pair[1] - pair[0]) for name, pair in slopes(dataset).items())
    measured = Table("Exponents without a fit", ("", "derived", "measured", "difference"), rows)
    return [measured, _fit_table(dataset), _gap_table(dataset)]


def _fit_table(dataset: xr.Dataset) -> Table:
    alpha, beta = (float(value) for value in dataset.derived.values)
    rows = []
    for window in dataset.window.values:
        law = {name: float(dataset.law.sel(window=window, parameter=name)) for name in LAW}
        plain = Chinchilla(**law)
        rows.append(
            (
                str(window),
                law["irreducible"],
                law["size_exponent"],
                law["tokens_exponent"],
                float(compute_exponents(plain)[0]),
                float(dataset.agreement.sel(window=window)),
            )
        )
    note = (
        f"derived: E = {dataset.attrs['irreducible']:g}, alpha = {alpha:.4g}, beta = {beta:.4g}, "
        f"N* exponent {beta / (alpha + beta):.4g}; the differences are the additive form's bias"
    )
    columns = "window", "E", "alpha", "beta", "N* exponent", "starts agreeing"
    return Table("Chinchilla law fitted to exact losses", columns, tuple(rows), note)


def _gap_table(dataset: xr.Dataset) -> Table:
    excess = dataset.loss - dataset.attrs["irreducible"]
    by_loss = (dataset.additivity_gap / excess).max(dim="steps")
    by_floor = (dataset.additivity_gap / dataset.approximation).max(dim="steps")
    chosen = [i for i, size in enumerate(dataset["size"].values) if np.log10(size) % 1 < 1e-9]
    rows = tuple(
        (f"{float(dataset['size'][i]):.0e}", float(by_loss[i]), float(by_floor[i])) for i in chosen
    )
    columns = "size", "largest share of L - E", "largest share of the approximation error"
    note = "gap = approximation(N) + optimization(infinity, T) - (L - E)"
    return Table("Additivity gap", columns, rows, note)


STUDY = Study(
    "emergence",
    "exact L(N, T) of GD: Chinchilla fit, isoFLOP frontier, additivity gap",
    EmergenceConfig,
    compute,
    summary,
)
