"""What the study of batch sizes says: one step, whole runs, the hyperbola."""

import numpy as np
import xarray as xr

from experiments.tables import Table


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Exponent of a power law through positive points, NaN ones left out."""
    good = np.isfinite(y)
    return float(np.polyfit(np.log(x[good]), np.log(y[good]), 1)[0])


def hyperbola_product(dataset: xr.Dataset) -> xr.DataArray:
    """(S/S_min - 1)(E/E_min - 1), one on the hyperbola."""
    samples = dataset.model_steps * dataset.model_batch
    left = dataset.model_steps / dataset.model_steps_min - 1
    return left * (samples / dataset.model_samples_min - 1)


def summary(dataset: xr.Dataset) -> list[Table]:
    """One-step rates against their formulas, exponents of tuned runs, the hyperbola."""
    return [_step_table(dataset), _run_table(dataset), _model_table(dataset)]


def _step_table(dataset: xr.Dataset) -> Table:
    rows = []
    batches = dataset.batch.values
    for case in dataset.case.values:
        at = dataset.sel({"case": case})
        seen, formula = at.measured_rate.values, at.predicted_rate.values
        peak = f"{batches[formula.argmax()]:g}" if formula[-1] < 0.999 * formula.max() else "none"
        error = np.hypot(at.error.values, dataset.attrs["resolution"] * formula)
        z = float(np.max(np.abs(seen - formula) / error))
        off = float(np.max(np.abs(seen / formula - 1)))
        rows.append((str(case), peak, slope(batches[:3], formula[:3]), z, off))
    columns = ("case", "peak at B", "first slope", "largest |z|", "largest relative difference")
    note = (
        f"surge where beta_n = {dataset.attrs['beta_n']:.3g} is below one, peak at B = "
        f"{dataset.attrs['peak_batch']:.4g}; the formulas of Adam and Muon are asymptotic"
    )
    return Table(
        "Best learning rate of one step against the batch size", columns, tuple(rows), note
    )


def _run_table(dataset: xr.Dataset) -> Table:
    tokens, critical = dataset.tokens.values, dataset.critical_batch.values
    small = slice(0, 4)
    rows = (
        (
            "critical batch of SGD against tokens",
            float(dataset.critical_exponent),
            slope(tokens, critical),
        ),
        (
            "rate of SGD against batch, most tokens",
            1.0,
            slope(dataset.run_batch.values[small], dataset.sgd_rate.values[-1, small]),
        ),
        (
            "rate of signSGD against batch",
            0.5,
            slope(dataset.sign_batch.values[small], dataset.sign_rate.values[small]),
        ),
    )
    columns = ("exponent", "derived", "measured")
    note = "tokens fixed, small batches; critical: tuned loss 1.2 times the least"
    return Table("Tuned runs, exact", columns, rows, note)


def _model_table(dataset: xr.Dataset) -> Table:
    product = hyperbola_product(dataset)
    rows = tuple(
        (
            f"{float(b):g}",
            float(dataset.model_steps[i]),
            float(dataset.hyperbola[i]),
            float(product[i]),
        )
        for i, b in enumerate(dataset.model_batch.values)
    )
    columns = ("batch", "steps", "hyperbola", "(S/S_min - 1)(E/E_min - 1)")
    note = "one on the hyperbola; the noise scale grows along a run, and the model leaves it"
    return Table("Steps to a target in the noisy quadratic model", columns, rows, note)
