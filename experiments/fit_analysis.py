"""Everything `quadlaw fit` computes, as one record: nothing is read, printed or written here."""

from dataclasses import dataclass

import jax
import numpy as np

from experiments.fit_options import FitOptions, pairs
from experiments.fit_predictions import (
    Predicted,
    check_aside,
    point_of,
    predict_points,
    predict_rows,
)
from experiments.progress import Progress
from experiments.run_table import RunTable
from theory.fit_comparison import Candidate, NestedTest, compare_forms, judged, nested_test
from theory.fit_conditioning import Conditioning, form_conditioning
from theory.fit_held_out import (
    HeldOut,
    leave_largest_size_out,
    leave_one_group_out,
    leave_one_out,
)
from theory.fit_profile import Profile, profile
from theory.fit_resampling import FormBootstrap, bootstrap_form, unit_numbers
from theory.fit_sensitivity import (
    DeltaSensitivity,
    compute_exponent_names,
    delta_sensitivity,
    influence,
)
from theory.fit_warnings import claim_warnings, form_warnings
from theory.grouped_runs import GroupedRuns
from theory.law_forms import SEPARATE, LawForm
from theory.shared_fitting import FormFit, fit_form

_COMPARED = ("shared", "quantized")
_COMPARISON_STARTS = 64


@dataclass(frozen=True)
class Diagnostics:
    """What tells whether a law can be trusted.

    Attributes:
        profiles: of the parameters that all optimizers share.
        one_out: leave-one-out refits, by run.
        largest: refit without the largest size.
        group_out: refits without each optimizer, or None with one of them.
        candidates: the law beside separate ones, or empty.
        test: of separate against shared, or None.
        by_delta: the compute-optimal exponent at other thresholds, or None if the law has none.
        shifts: change of that exponent with each of `one_out`, or None.
        group_shifts: the same with each of `group_out`, or None.
    """

    profiles: tuple[Profile, ...]
    one_out: HeldOut
    largest: HeldOut
    group_out: HeldOut | None
    candidates: tuple[Candidate, ...]
    test: NestedTest | None
    by_delta: DeltaSensitivity | None
    shifts: np.ndarray | None
    group_shifts: np.ndarray | None


@dataclass(frozen=True)
class Analysis:
    """A fit with its intervals, diagnostics and consequences.

    Attributes:
        fit: the fit.
        draws: bootstrap refits.
        conditions: conditioning.
        reference: name of the reference optimizer.
        diagnostics: or None for a basic fit.
        predicted: points asked for.
        held_out: predictions of rows set aside.
        costs: relative cost of a token by optimizer.
        warnings: sentences.
    """

    fit: FormFit
    draws: FormBootstrap
    conditions: Conditioning
    reference: str
    diagnostics: Diagnostics | None
    predicted: tuple[Predicted, ...]
    held_out: tuple[Predicted, ...]
    costs: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def rescales(self) -> bool:
        """Whether the law is one of rescalings against a reference."""
        return self.fit.form.name in _COMPARED and len(self.fit.data.groups) > 1


def analyse(
    data: GroupedRuns,
    form: LawForm,
    reference: str,
    table: RunTable,
    aside: RunTable | None,
    options: FitOptions,
    progress: Progress,
) -> Analysis:
    """Fits the law and computes what was asked for.

    Raises:
        UserError: if a point to predict or a row set aside cannot be used.
        ValueError: if the runs cannot identify the law.
    """
    start_key, draw_key = jax.random.split(jax.random.key(options.seed))
    chosen = options.chosen
    points = [point_of(text) for text in options.predict]
    costs = _costs(data.groups, options)
    check_aside(data.groups, aside)
    fit = fit_form(
        data,
        form,
        delta=float(chosen.delta),
        kind=chosen.kind,
        penalty=options.penalty,
        starts=options.starts,
        key=start_key,
    )
    with progress.task("bootstrap refits", options.bootstrap):
        draws = bootstrap_form(fit, options.bootstrap, draw_key, table.groups, progress.advance)
    units = None if table.groups is None else unit_numbers(table.groups, table.loss.size)
    conditions = form_conditioning(fit, units)
    diagnostics = None if options.basic else _diagnose(fit, units, start_key, progress)
    said = form_warnings(fit, conditions, draws)
    if form.name == "shared" and len(data.groups) > 1:
        said += claim_warnings(draws, reference)
    if diagnostics is not None:
        said += _diagnostic_warnings(diagnostics)
    return Analysis(
        fit=fit,
        draws=draws,
        conditions=conditions,
        reference=reference,
        diagnostics=diagnostics,
        predicted=predict_points(draws, points),
        held_out=() if aside is None else predict_rows(draws, aside),
        costs=costs,
        warnings=tuple(said),
    )


def _costs(groups: tuple[str, ...], options: FitOptions) -> dict[str, float]:
    costs = dict.fromkeys(groups, 1.0)
    for text in options.relative_cost:
        costs.update(pairs("--relative-cost", text))
    return costs


def _diagnose(
    fit: FormFit, units: np.ndarray | None, key: jax.Array, progress: Progress
) -> Diagnostics:
    several = len(fit.data.groups) > 1
    compare = several and fit.form.name in _COMPARED
    allocates = compute_exponent_names(fit.form) is not None
    shared = [label for label in fit.labels if "[" not in label]
    with progress.task("diagnostics", 5):
        profiles = tuple(profile(fit, label, units=units) for label in shared)
        progress.advance()
        one_out, largest = leave_one_out(fit, units), leave_largest_size_out(fit)
        progress.advance()
        group_out = leave_one_group_out(fit) if several and not fit.form.separate else None
        progress.advance()
        candidates: tuple[Candidate, ...] = ()
        if compare:
            apart = compare_forms(fit.data, (SEPARATE,), fit.chosen, key, _COMPARISON_STARTS)
            candidates = (judged(fit, one_out, largest), *apart)
        progress.advance()
        by_delta = delta_sensitivity(fit, key) if allocates else None
        progress.advance()
    return Diagnostics(
        profiles,
        one_out,
        largest,
        group_out,
        candidates,
        _tested(candidates),
        by_delta,
        influence(fit, one_out) if allocates else None,
        influence(fit, group_out) if allocates and group_out is not None else None,
    )


def _tested(candidates: tuple[Candidate, ...]) -> NestedTest | None:
    if not candidates:
        return None
    narrow, wide = (candidate.fit for candidate in candidates)
    return nested_test(narrow, wide) if wide.log_loss.size > wide.parameters.size else None


def _diagnostic_warnings(found: Diagnostics) -> list[str]:
    said = [
        f"the profile of {one.label} never rises on one side: no interval bounds it there."
        for one in found.profiles
        if not np.all(np.isfinite(one.interval))
    ]
    if found.test is not None and found.test.p_value < 0.01:
        said.append(
            f"separate laws fit better than chance allows (p = {found.test.p_value:.2g}): sharing "
            "exponents is doubtful here."
        )
    if found.by_delta is not None and found.by_delta.spread > 0.05:
        said.append(
            f"the compute-optimal exponent moves by {found.by_delta.spread:.3f} with the Huber "
            "threshold."
        )
    return said
