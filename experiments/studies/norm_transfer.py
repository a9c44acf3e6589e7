"""Norm transfer: is the output layer's norm at the tuned rate and batch the same for all budgets?

Asked of language models, and derived on a matrix quadratic. Runs over rates and batch sizes at each
width and budget; optima by the parabolas of `theory.parabola`; laws and tests of constancy of
`experiments.norm_laws`. What is derived is in `theory.norm_transfer` (distance) and
`theory.small_batch_steps` (noise).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import xarray as xr

from experiments.chunks import Plan, computed
from experiments.norm_config import NormRunsConfig, resolve_text
from experiments.norm_laws import (
    LAWS,
    PARTS,
    budget_share,
    constancies,
    critical,
    expected_laws,
    fitted_laws,
    pinned_laws,
)
from experiments.norm_optima import cell_optima, joint_optima
from experiments.norm_plan import merged, network_chunks, quadratic_chunks, variant_chunks
from experiments.norm_quadratic import STEPS, QuadraticConfig, check_quadratic
from experiments.norm_runs import prepare
from experiments.norm_tables import summary
from experiments.norm_variants import VARIANTS
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from theory.noise_gain import noise_efficiency
from theory.problem import power_law
from theory.small_batch_steps import transfer_exponents

# Rates within this factor of the least loss count as good.
GOOD = 1.01


@dataclass(frozen=True)
class NormTransferConfig:
    """Language models and a matrix quadratic, each over rates, batch sizes and budgets."""

    quadratic: QuadraticConfig = field(default_factory=QuadraticConfig)
    """The matrix quadratic."""
    networks: NormRunsConfig = field(default_factory=NormRunsConfig)
    """The language models."""
    variants: bool = True
    """Whether to run the variants of Scion too: layer ratios, momentum, decay, weight decay."""

    @classmethod
    def quick(cls) -> "NormTransferConfig":
        """Small matrices, narrow networks, few budgets."""
        return cls(QuadraticConfig.quick(), NormRunsConfig.quick())


def resolve(config: NormTransferConfig) -> NormTransferConfig:
    """The configuration with the hash of its text."""
    return replace(config, networks=resolve_text(config.networks))


def compute(config: NormTransferConfig, progress: Progress) -> xr.Dataset:
    """Runs of both systems, their optima and laws.

    Returns:
        The networks' arrays as they are named in `experiments.norm_optima` and
        `experiments.norm_laws`, those of joint optima with `best_` before them; the quadratic's
        the same with `quad_` before names and dimensions; the variants' with `variant_`. `derived`
        [part, law] holds the exponents of small batches.

    Raises:
        ValueError: naming the field outside its domain.
    """
    return computed(plan(config), progress)


def plan(config: NormTransferConfig, memory: int | None = None) -> Plan:
    """Chunks of `experiments.norm_plan`; none of them is cut further.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    _check(config)
    chunks = quadratic_chunks(config.quadratic) + network_chunks(config.networks)
    if config.variants:
        chunks += variant_chunks(config.networks)
    return Plan("norm transfer", tuple(chunks), partial(_assembled, config), "weight steps")


def _assembled(config: NormTransferConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    first = len(config.quadratic.steps)
    last = first + len(network_chunks(config.networks))
    quad = merged(results[:first], {"method": config.quadratic.steps})
    networks = merged(results[first:last], {"method": config.networks.methods})
    names = [variant.name for variant in VARIANTS]
    variants = merged(results[last:], {"variant": names}) if config.variants else None
    return analysed(config, quad.dropna("rate", how="all", subset=["loss"]), networks, variants)


def analysed(
    config: NormTransferConfig, quad: xr.Dataset, networks: xr.Dataset, variants: xr.Dataset | None
) -> xr.Dataset:
    """The record from the runs of `experiments.norm_quadratic`, `norm_runs` and `norm_variants`."""
    own = quad.merge(_optima(quad, start=0.0, logarithm=True)).merge(expected_laws(quad))
    cells = _optima(networks, start=1.0, logarithm=False)
    parts = [
        networks,
        cells,
        pinned_laws(networks, cells),
        _prefixed(own, "quad_"),
        _derived(config.quadratic),
    ]
    if variants is not None:
        parts += [variants, variant_optima(variants)]
    whole = xr.merge(parts, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    assert isinstance(whole, xr.Dataset)
    whole.attrs = _attributes(config, networks)
    return with_units(whole, tokens="tokens", batch="windows", rate="norm of a step", loss="nats")


def _check(config: NormTransferConfig) -> None:
    """Refuses all that can be refused before the first run."""
    check_quadratic(config.quadratic)
    _derived(config.quadratic)
    networks = config.networks
    prepare(networks, [min([networks.width, *networks.widths])], seeds=1)


def _optima(runs: xr.Dataset, start: float, logarithm: bool) -> xr.Dataset:
    cells = cell_optima(runs, logarithm)
    joint = joint_optima(cells)
    best = joint.rename({name: f"best_{name}" for name in joint.data_vars})
    laws, same = fitted_laws(cells, joint), constancies(joint)
    whole = cells.merge(best).merge(laws).merge(same).merge(critical(cells))
    return whole.assign(share=budget_share(cells, start))


# Shared by all parts.
SHARED = ("law", "number", "layer")


def _prefixed(data: xr.Dataset, prefix: str) -> xr.Dataset:
    one_layer = data.isel(layer=0, drop=True)
    names = [*one_layer.data_vars, *one_layer.dims]
    return one_layer.rename({str(n): f"{prefix}{n}" for n in names if n not in SHARED})


def variant_optima(variants: xr.Dataset) -> xr.Dataset:
    """Best rate of every variant, batch and budget, and how much room the rate leaves the norm.

    Returns:
        As `experiments.norm_optima.cell_optima`, with `variant_` before names and dimensions, and
        `variant_room` [variant, variant_batch, variant_tokens], octaves of the output's norm over
        which the loss is within 1 % of its least on the grid.
    """
    names = {"variant": "method", "variant_batch": "batch", "variant_rate": "rate"}
    names |= {"variant_tokens": "tokens", "variant_loss": "loss", "variant_norm": "norm"}
    runs = variants[["variant_loss", "variant_norm"]].rename(names).expand_dims(width=[0])
    cells = cell_optima(runs).isel(width=0, drop=True)
    back = {"method": "variant", "batch": "variant_batch", "tokens": "variant_tokens"}
    named = {str(name): f"variant_{name}" for name in cells.data_vars}
    found = cells.rename(named | back)
    return found.assign(variant_room=_room(runs.isel(width=0)).rename(back))


def _room(runs: xr.Dataset) -> xr.DataArray:
    norms = runs["norm"].sel(layer="output")
    finite = runs.loss.where(np.isfinite(runs.loss))
    good = norms.where(finite <= GOOD * finite.min("rate"))
    ratio = good.max("rate") / good.min("rate")
    return ratio.copy(data=np.log2(ratio.values))


def _derived(config: QuadraticConfig) -> xr.Dataset:
    """Exponents of small batches for the quadratic's powers, and the efficiency of its steps.

    `derived` [part, law]: the two differ in the norm, of the modes learned or of those that walk.
    """
    shape = (config.size, config.size)
    efficiency = [noise_efficiency(STEPS[name].norm, shape) for name in config.steps]
    powers = transfer_exponents(power_law(config.capacity, config.source, config.size))
    tuned = [powers.rate_batch, powers.rate_tokens, powers.batch_tokens, powers.best_rate_tokens]
    # Small batches tie: at given tokens and along the best batch the norm has the same power.
    numbers = [[*tuned, 0.0, norm, norm] for norm in (powers.norm_tokens, powers.walk_tokens)]
    return xr.Dataset(
        {"derived": (("part", "law"), numbers), "quad_efficiency": ("quad_method", efficiency)},
        coords={"quad_method": list(config.steps), "part": list(PARTS), "law": list(LAWS)},
    )


def _attributes(config: NormTransferConfig, networks: xr.Dataset) -> dict[str, float]:
    quad = config.quadratic
    return {
        "capacity": quad.capacity,
        "source": quad.source,
        "quad_noise_std": quad.noise_std,
        "width": config.networks.width,
        "weight_decay": config.networks.weight_decay,
        "text_tokens": networks.attrs["text_tokens"],
        "seeds": config.networks.seeds,
    }


STUDY = Study(
    "norm_transfer",
    "norm of the output layer where rate and batch are tuned: constant or not, and why",
    NormTransferConfig,
    compute,
    summary,
    version=2,
    plan=plan,
    resolve=resolve,
)
