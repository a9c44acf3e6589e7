"""Norm transfer: is the output layer's norm at the tuned rate and batch the same for all budgets?

Asked of language models, and derived on a matrix quadratic. Runs over rates and batch sizes at each
width and budget; optima by the parabolas of `theory.parabola`; laws and tests of constancy of
`experiments.norm_laws`. What is derived is in `theory.norm_transfer` (distance) and
`theory.small_batch_steps` (noise).
"""

from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

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
from experiments.norm_quadratic import STEPS, QuadraticConfig, check_quadratic, quadratic_runs
from experiments.norm_runs import network_runs, prepare
from experiments.norm_tables import summary
from experiments.norm_variants import variant_runs
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
    derived = _checked(config)
    quad = quadratic_runs(config.quadratic, progress)
    networks = network_runs(config.networks, progress)
    own = quad.merge(_analysed(quad, start=0.0, logarithm=True)).merge(expected_laws(quad))
    analysed = _analysed(networks, start=1.0, logarithm=False)
    parts = [
        networks,
        analysed,
        pinned_laws(networks, analysed),
        _prefixed(own, "quad_"),
        derived,
    ]
    if config.variants:
        variants = variant_runs(config.networks, progress)
        parts += [variants, variant_optima(variants)]
    whole = xr.merge(parts, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    assert isinstance(whole, xr.Dataset)
    whole.attrs = _attributes(config, networks)
    return with_units(whole, tokens="tokens", batch="windows", rate="norm of a step", loss="nats")


def _checked(config: NormTransferConfig) -> xr.Dataset:
    """What is derived, once all that can be refused has been, before the first run."""
    check_quadratic(config.quadratic)
    derived = _derived(config.quadratic)
    networks = config.networks
    prepare(networks, [min(networks.width, *networks.widths, networks.width)], seeds=1)
    return derived


def _analysed(runs: xr.Dataset, start: float, logarithm: bool) -> xr.Dataset:
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
    resolve=resolve,
)
