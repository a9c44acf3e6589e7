"""Variants of Scion on the same task: rate ratios of layers, momentum, decay of rate and weights.

All at one width; the plain method is among them, so that each is compared on the same seeds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain

import numpy as np
import xarray as xr

from experiments.norm_config import Cell, NormRunsConfig, rate_window, usable
from experiments.norm_runs import Material, averages, in_pairs, prepare, train
from experiments.progress import Progress
from simulate.grouped import scion
from simulate.role_norms import ROLES
from simulate.schedules import Scheduled, warmup_stable_decay

DECAY = 0.25  # last part of training, as in the source
MOMENTUM = 0.9
EXTRA_MARGIN = 0.5  # a variant moves the optimum


@dataclass(frozen=True)
class Variant:
    """Hyperparameters of Scion besides the rate.

    Attributes:
        name: label.
        input_ratio: rate of the input layer over that of the method.
        hidden_ratio: the same for hidden layers.
        output_ratio: the same for the output layer.
        momentum: zero keeps no average.
        decay: last part of training over which the rate falls to zero, linearly.
        weight_decay: lambda; zero is the unconstrained method.
        shift: whole octaves by which the optimal rate is expected above that of the method.
    """

    name: str
    input_ratio: float = 1.0
    hidden_ratio: float = 1.0
    output_ratio: float = 1.0
    momentum: float = 0.0
    decay: float = 0.0
    weight_decay: float = 0.0
    shift: int = 0

    @property
    def kind(self) -> tuple[bool, bool]:
        """What is compiled for: whether there is momentum, and decay of the rate."""
        return self.momentum > 0, self.decay > 0

    def rates(self, window: np.ndarray) -> np.ndarray:
        """Rates on the lattice 2^(j/2), from the method's window of j."""
        return 2.0 ** (window / 2 + self.shift)


VARIANTS = (
    Variant("plain"),
    Variant("hidden 1/8", hidden_ratio=1 / 8),
    Variant("hidden 1/2", hidden_ratio=1 / 2),
    Variant("hidden 2", hidden_ratio=2.0),
    Variant("input 1/8", input_ratio=1 / 8),
    Variant("output 1/8", output_ratio=1 / 8, shift=2),
    Variant("weight decay 0.02", weight_decay=0.02),
    Variant("weight decay 0.1", weight_decay=0.1),
    Variant("weight decay 0.5", weight_decay=0.5, shift=-1),
    Variant("momentum", momentum=MOMENTUM),
    Variant("decay", decay=DECAY),
    Variant("momentum and decay", momentum=MOMENTUM, decay=DECAY),
)
KINDS = tuple(dict.fromkeys(variant.kind for variant in VARIANTS))


def variant_grid(
    variants: Sequence[Variant], window: np.ndarray, steps: int
) -> dict[str, np.ndarray]:
    """Hyperparameters of all variants of a kind at all their rates, variant by variant.

    Args:
        variants: of one kind.
        window: rates of the method as whole numbers j of 2^(j/2), [R].
        steps: horizon of a decaying rate.

    Returns:
        Arrays [variants R] by name.
    """
    rows = [asdict(variant) for variant in variants]
    momentum, decay = rows[0]["momentum"] > 0, rows[0]["decay"] > 0
    names = ["input_ratio", "hidden_ratio", "output_ratio", "weight_decay"]
    names += ["momentum"] * momentum + ["decay"] * decay
    grid = {name: np.repeat([row[name] for row in rows], window.size) for name in names}
    horizon = {"horizon": np.full(len(rows) * window.size, float(steps))} if decay else {}
    rates = np.concatenate([variant.rates(window) for variant in variants])
    return grid | horizon | {"learning_rate": rates}


def variant_window(config: NormRunsConfig, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Budgets with enough steps at a batch size, and the window of rates of the method."""
    tokens = np.array(config.variant_tokens)[usable(config.variant_tokens, batch)]
    cell = Cell("scion", config.width, batch)
    return tokens, rate_window(cell, tokens, config.margin + EXTRA_MARGIN)


def variant_rates(config: NormRunsConfig, batch: int) -> np.ndarray:
    """Rates that any variant runs at a batch size, ascending."""
    _, window = variant_window(config, batch)
    return np.unique(np.concatenate([variant.rates(window) for variant in VARIANTS]))


def _run_kind(material: Material, job: tuple[int, tuple[bool, bool]]) -> list[xr.Dataset]:
    """All variants of a kind at a batch size, one Dataset each: their rates differ."""
    config, (batch, kind) = material.config, job
    variants = [variant for variant in VARIANTS if variant.kind == kind]
    tokens, window = variant_window(config, batch)
    if kind[1]:
        # Before its end a decaying run is not what a shorter budget would have given.
        tokens = tokens[-1:]
    steps = tokens // batch
    method = Scheduled(scion, warmup_stable_decay) if kind[1] else scion
    grid = variant_grid(variants, window, int(steps[-1]))
    found = averages(train(material, config.width, batch, method, grid, steps))
    count = len(variants)
    rows = {n: v.reshape(count, window.size, *v.shape[1:]) for n, v in found.items()}
    parts = []
    for place, variant in enumerate(variants):
        where = {"variant": [variant.name], "variant_batch": [batch]}
        dims = (*where, "variant_rate", "variant_tokens")
        arrays = {
            f"variant_{name}": (dims + extra, rows[name][place][None, None])
            for name, extra in (("loss", ()), ("loss_error", ()), ("norm", ("layer",)))
        }
        where |= {"variant_rate": variant.rates(window), "variant_tokens": tokens}
        parts.append(xr.Dataset(arrays, coords=where | {"layer": list(ROLES)}))
    return parts


def variant_runs(config: NormRunsConfig, progress: Progress) -> xr.Dataset:
    """Losses and norms of every variant at every rate.

    Args:
        config: sizes and text; `variant_batches`, `variant_tokens` and `variant_seeds` are used.
        progress: advanced once a compiled sweep.

    Returns:
        `variant_loss` and `variant_loss_error` [variant, variant_batch, variant_rate,
        variant_tokens], `variant_norm` [layer, and these]; the numbers of each variant, e.g.
        `hidden_ratio`, are coordinates along `variant`. NaN and infinity as in
        `experiments.norm_runs.network_runs`; where the rate decays, only the last budget is run.

    Raises:
        ValueError: if the configuration or the text is refused.
    """
    material = prepare(config, [config.width], config.variant_seeds)
    jobs = [(batch, kind) for batch in config.variant_batches for kind in KINDS]
    with progress.task("variants", len(jobs)):
        parts = in_pairs(partial(_run_kind, material), jobs, progress)
    whole = xr.merge(chain.from_iterable(parts), join="outer", compat="no_conflicts")
    whole = whole.sel({"variant": [variant.name for variant in VARIANTS]})
    whole["variant_norm"] = whole.variant_norm.transpose("layer", ...)
    numbers = {name: [asdict(v)[name] for v in VARIANTS] for name in asdict(VARIANTS[0])}
    del numbers["name"], numbers["shift"]
    return whole.assign_coords({name: ("variant", rows) for name, rows in numbers.items()})
