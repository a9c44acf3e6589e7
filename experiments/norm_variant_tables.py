"""Tables of norm transfer: what is derived against what is seen, and variants of Scion."""

import numpy as np
import xarray as xr

from experiments.norm_laws import OUTPUT
from experiments.tables import Table

# Rates whose runs are long enough to have settled: (1 - eta lambda)^K below e^-3.
SETTLED = 3.0
PLAIN = "plain"


def prediction_table(dataset: xr.Dataset) -> Table:
    """The quadratic: tuned loss and norm against the limit of small batches."""
    rows = []
    for method in dataset.quad_method.values:
        at = {"quad_method": method}
        own = dataset.sel(at).isel(quad_width=0)
        loss = own.quad_loss.where(np.isfinite(own.quad_loss))
        for batch in dataset.quad_batch.values:
            ratios, norms = [], []
            for tokens in dataset.quad_tokens.values:
                row = {"quad_batch": batch, "quad_tokens": tokens}
                values = loss.sel(row)
                if not np.isfinite(values).any():
                    continue
                best = values.fillna(np.inf).argmin("quad_rate")
                cell = own.sel(row).isel(quad_rate=best)
                ratios.append(float(cell.quad_predicted_loss / cell.quad_loss))
                norms.append(float(cell.quad_predicted_norm / cell.quad_norm))
            if ratios:
                shown = _range(norms) if np.isfinite(norms).all() else "-"
                rows.append((str(method), int(batch), _range(ratios), shown))
    efficiency = ", ".join(
        f"{name} {float(dataset.quad_efficiency.sel(quad_method=name)):.2f}"
        for name in dataset.quad_method.values
    )
    note = (
        "at the best rate, least and largest over budgets; the prediction takes every step for one "
        f"of SGD, exact as gradients vanish in noise. Efficiency of the steps: {efficiency}"
    )
    columns = ("steps", "B", "predicted / measured loss", "predicted / measured norm")
    return Table("Matrix quadratic: small-batch theory against runs", columns, tuple(rows), note)


def _range(values: list[float]) -> str:
    return f"{min(values):.2f} .. {max(values):.2f}"


def budget_table(dataset: xr.Dataset) -> Table:
    """Networks and quadratic: part of the distance budget that the norm makes use of."""
    rows = []
    for width in dataset.width.values:
        for method in dataset["method"].values:
            values = dataset.share.sel({"method": method, "width": width})
            if np.isfinite(values).any():
                rows.append((f"network, {method}", int(width), *_by_batch(values, "batch")))
    for method in dataset.quad_method.values:
        values = dataset.quad_share.sel({"quad_method": method}).isel(quad_width=0)
        size = int(dataset.quad_width[0])
        rows.append((f"quadratic, {method}", size, *_by_batch(values, "quad_batch")))
    columns = ("system", "width", "smallest B", "share there", "largest B", "share there ")
    note = (
        "(norm - norm at the start) / (eta K), output layer, mean over budgets; at most one by the "
        "triangle inequality (Newton-Schulz steps are a little longer). Near one: nearly all steps "
        "add up, and the norm is the budget itself, constant only where eta* ~ 1/K; consistent "
        "with one row, of a rare token, going straight ahead, but which row is longest and where "
        "it goes is not recorded. Near zero: steps cancel"
    )
    return Table("Share of the distance budget at the optimum", columns, tuple(rows), note)


def _by_batch(values: xr.DataArray, dim: str) -> tuple[object, ...]:
    tokens = next(str(name) for name in values.dims if name != dim)
    mean = values.mean(tokens)
    known = mean[np.isfinite(mean.values)]
    first, last = known.isel({dim: 0}), known.isel({dim: -1})
    return int(first[dim]), float(first), int(last[dim]), float(last)


def variant_tables(dataset: xr.Dataset) -> list[Table]:
    """Layer ratios, momentum, decay, weight decay of Scion; nothing where they were not run."""
    if "variant" not in dataset.dims:
        return []
    return [_ratio_table(dataset), _decay_table(dataset)]


def _best(dataset: xr.Dataset, variant: str, tokens: int) -> xr.Dataset | None:
    """The batch of least tuned loss; None where no optimum is inside."""
    at = {"variant": variant, "variant_tokens": tokens}
    own = dataset.sel(at)
    values = own.variant_value.values
    if not np.isfinite(values).any():
        return None
    return own.isel(variant_batch=int(np.nanargmin(values)))


def _ratio_table(dataset: xr.Dataset) -> Table:
    rows = []
    for tokens in dataset.variant_tokens.values:
        plain = _best(dataset, PLAIN, tokens)
        for variant in map(str, dataset.variant.values):
            found = _best(dataset, variant, tokens)
            if found is None or plain is None:
                continue
            values = dataset.variant_value.sel({"variant": variant, "variant_tokens": tokens})
            spread = float(values.max() / values.min() - 1)
            inside = int(np.isfinite(values).sum())
            rows.append(
                (
                    f"2^{np.log2(tokens):.0f}",
                    variant,
                    float(found.variant_value),
                    f"{100 * (float(found.variant_value / plain.variant_value) - 1):+.1f} %",
                    int(found.variant_batch),
                    f"{float(found.variant_log2_norm.sel(layer=OUTPUT)):.2f}",
                    f"{float(found.variant_room):.1f}",
                    f"{100 * spread:.1f} % of {inside}" if inside > 1 else "-",
                )
            )
    columns = (
        "tokens",
        "variant",
        "loss",
        "against plain",
        "B",
        "log2 norm",
        "octaves of norm",
        "over batches",
    )
    note = (
        "ratios are rates of a layer over the others; the source finds 1 : 1/8 : 1 up to 6 % "
        "better, momentum to make batches tie, and decay over the last quarter to leave 2 to 3 "
        "octaves of norm at the same loss. Octaves: where the loss is within 1 % of its least on "
        "the grid. Over batches: largest tuned loss over the least, of batches with an optimum "
        "inside"
    )
    return Table("Variants of Scion, rate and batch tuned", columns, tuple(rows), note)


def _decay_table(dataset: xr.Dataset) -> Table:
    rows = []
    norms = dataset.variant_norm.sel(layer=OUTPUT)
    finite = np.isfinite(dataset.variant_loss)
    steps = dataset.variant_tokens / dataset.variant_batch
    for variant in map(str, dataset.variant.values):
        decay = float(dataset.weight_decay.sel(variant=variant))
        if decay == 0.0:
            continue
        pull = dataset.variant_rate * decay * steps
        kept = finite.sel(variant=variant) & (pull > SETTLED) & (dataset.variant_rate * decay <= 1)
        settled = norms.sel(variant=variant).where(kept)
        scaled = (settled * decay).values
        known = scaled[np.isfinite(scaled)]
        at = {"variant": variant, "layer": OUTPUT}
        tuned = 2.0 ** dataset.variant_log2_norm.sel(at) * decay
        rows.append(
            (
                decay,
                1 / decay,
                known.size,
                _range(known.tolist()) if known.size else "-",
                f"{float(np.median(known)):.2f}" if known.size else "-",
                _range(tuned.values[np.isfinite(tuned.values)].tolist())
                if np.isfinite(tuned).any()
                else "-",
            )
        )
    columns = ("lambda", "1/lambda", "runs settled", "norm * lambda", "median", "at the best rate")
    note = (
        f"output layer; settled: eta lambda K > {SETTLED:g}, eta lambda <= 1. Derived: "
        "min(|W*|, 1/lambda); a cross entropy need not have a finite W*. The source "
        "sees 1/lambda for 0.1, and is not conclusive for 0.01"
    )
    return Table("Weight decay: does the norm settle at 1/lambda?", columns, tuple(rows), note)
