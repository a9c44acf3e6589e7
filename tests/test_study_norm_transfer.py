"""The study of norm transfer: its analysis on runs of known laws, its quadratic, a tiny record."""

from dataclasses import replace

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from experiments import norm_quadratic
from experiments.norm_laws import (
    as_constancy,
    budget_share,
    constancies,
    critical,
    expected_laws,
    fitted_laws,
    pinned_laws,
)
from experiments.norm_optima import (
    EDGES,
    FEW,
    LEAST_ERROR,
    NOT_RUN,
    cell_optima,
    count_edges,
    joint_optima,
    norm_law,
    rate_law,
    seed_error,
    seed_optima,
    tokens_law,
)
from experiments.norm_published import analyse, published_table
from experiments.norm_quadratic import (
    QuadraticConfig,
    measure,
    predicted,
    quadratic,
    quadratic_runs,
)
from experiments.norm_variants import VARIANTS
from experiments.progress import Progress
from experiments.studies import norm_transfer as study
from experiments.study import run_study
from paper_figures.figures.norm_transfer import draw
from theory.parabola import HIGH, INSIDE
from theory.plane_fit import NO_CHANGE
from theory.problem import power_law
from theory.published import LOSS_TABLE, OPTIMAL_LOG2_NORM
from theory.small_batch_steps import transfer_exponents

from .presets import tiny_config
from .tolerances import SAME_MATHS

METHODS, WIDTHS, LAYERS = ["scion", "adamw"], [16, 32], ["input", "hidden", "output"]
BATCHES, TOKENS = 2 ** np.arange(4, 11), 2 ** np.arange(12, 17)
RATES = 2.0 ** (np.arange(-44, 12) / 2)
P, Q, R, NORM_B, NORM_D = 0.7, -0.6, 0.5, -0.3, 0.25


def made_up():
    """Runs whose optima, and norms there, are exact power laws; windows of rates, and a wall."""
    shape = (len(METHODS), len(WIDTHS), BATCHES.size, RATES.size, TOKENS.size)
    width = np.log2(WIDTHS)[None, :, None, None, None]
    batch, tokens = np.log2(BATCHES)[:, None, None], np.log2(TOKENS)
    place = np.log2(RATES)[:, None] - (P * batch + Q * tokens)
    loss = 4 - 0.1 * tokens + 0.02 * (batch - R * tokens) ** 2 + 0.05 * place**2
    loss = np.where(np.abs(place) < 3, loss, np.nan)
    loss = np.broadcast_to(np.where(place > 2, np.inf, loss), shape)
    logs = NORM_B * batch + NORM_D * tokens + 0.6 * place + 0.1 * width
    norms = np.stack([np.broadcast_to(logs + k, shape) for k in range(3)])
    dims = ("method", "width", "batch", "rate", "tokens")
    return xr.Dataset(
        {
            "loss": (dims, loss.copy()),
            "loss_error": (dims, np.full(shape, 0.01)),
            "norm": (("layer", *dims), 2.0**norms),
            "output_rms_norm": (dims, np.ones(shape)),
            "initial_loss": ("width", [4.9, 4.9]),
            "parameters": ("width", [1.0, 2.0]),
        },
        coords={
            "method": METHODS,
            "width": WIDTHS,
            "batch": BATCHES,
            "rate": RATES,
            "tokens": TOKENS,
            "layer": LAYERS,
        },
        attrs={"text_tokens": 9},
    )


def made_up_variants():
    """All variants with the same loss but for a tenth less without decay of anything."""
    names = [variant.name for variant in VARIANTS]
    place = np.log2(RATES) - (P * 6 + Q * 13)
    plain = np.array([1.0 if name == "plain" else 1.1 for name in names])
    loss = plain[:, None] * (3 + 0.05 * place**2)
    # Constrained runs end at 1/lambda; the others where the rate takes them.
    decay = np.array([variant.weight_decay for variant in VARIANTS])[:, None]
    free = 2.0 ** (3 + 0.5 * place) * np.ones((len(names), 1))
    norms = np.where(decay > 0, 0.9 / np.where(decay > 0, decay, 1.0), free)
    dims = ("variant", "variant_batch", "variant_rate", "variant_tokens")
    numbers = {
        name: ("variant", [getattr(v, name) for v in VARIANTS])
        for name in ("input_ratio", "hidden_ratio", "output_ratio", "momentum", "decay")
    }
    return xr.Dataset(
        {
            "variant_loss": (dims, loss[:, None, :, None]),
            "variant_loss_error": (dims, np.full_like(loss, 0.01)[:, None, :, None]),
            "variant_norm": (("layer", *dims), np.stack([norms[:, None, :, None]] * 3)),
        },
        coords={
            "variant": names,
            "variant_batch": [64],
            "variant_rate": RATES,
            "variant_tokens": [2**13],
            "layer": LAYERS,
            "weight_decay": ("variant", decay[:, 0]),
        }
        | numbers,
    )


@pytest.fixture(scope="module")
def runs():
    return made_up()


@pytest.fixture(scope="module")
def cells(runs):
    return cell_optima(runs)


@pytest.fixture(scope="module")
def dataset(results):
    config = tiny_config(study.NormTransferConfig)
    return run_study(study.STUDY, config, results, Progress())[0]


@pytest.fixture(scope="module")
def whole():
    """A record of networks that obey known laws, beside the tiny quadratic."""

    tiny = tiny_config(study.NormTransferConfig)
    config = replace(tiny, networks=replace(tiny.networks, width=16), variants=True)
    quad = quadratic_runs(config.quadratic, Progress())
    return study.analysed(config, quad, made_up(), made_up_variants())


def test_optima_over_rates_are_the_laws_they_were_made_of(cells):
    assert np.all(cells.edge == INSIDE)
    batch, tokens = np.log2(BATCHES)[:, None], np.log2(TOKENS)
    for at in np.ndindex(2, 2):
        one = cells.isel({"method": at[0], "width": at[1]})
        np.testing.assert_allclose(one.log2_rate, P * batch + Q * tokens, atol=1e-9)
        value = 4 - 0.1 * tokens + 0.02 * (batch - R * tokens) ** 2
        np.testing.assert_allclose(one["value"], value, rtol=1e-9)
        law = rate_law(one)
        assert law.exponents == pytest.approx({"B": P, "D": Q}, abs=1e-9)
        norm = norm_law(one, "output")
        assert norm.exponents == pytest.approx({"B": NORM_B, "D": NORM_D}, abs=1e-9)
        # The rate's error, at least a twentieth of an octave, moves the norm along its slope.
        moved = 0.6 * one.rate_error.values
        np.testing.assert_allclose(one.norm_error.sel(layer="output"), moved, rtol=1e-6)


def test_best_batches_and_the_laws_there(cells):
    joint = joint_optima(cells)
    assert np.all(joint.edge == INSIDE)
    np.testing.assert_allclose(joint.log2_batch[0, 0], R * np.log2(TOKENS), atol=1e-9)
    laws = fitted_laws(cells, joint)
    expected = [P, Q, R, P * R + Q, NORM_B, NORM_D, NORM_B * R + NORM_D]
    np.testing.assert_allclose(laws.exponent[0, 1], expected, atol=1e-8)
    one = joint.isel({"method": 0, "width": 0})
    assert tokens_law(one, "log2_batch", "batch_error").exponents["D"] == pytest.approx(R)
    same = as_constancy(constancies(joint).constancy.isel({"method": 0, "width": 0, "layer": 2}))
    assert same.slope == pytest.approx(NORM_B * R + NORM_D, abs=1e-8)
    assert same.verdict == "rises"
    assert same.points == TOKENS.size


def test_a_norm_that_depends_on_b_over_the_best_b_alone_is_constant_there(runs):
    changed = runs.assign(
        norm=runs["norm"] * 2.0 ** ((-NORM_D - NORM_B * R) * np.log2(runs.tokens))
    )
    joint = joint_optima(cell_optima(changed))
    same = as_constancy(constancies(joint).constancy.isel({"method": 0, "width": 0, "layer": 2}))
    assert same.verdict == NO_CHANGE
    assert abs(same.slope) < 1e-8


def test_optima_on_the_edge_are_marked_and_never_used(runs):
    place = {"method": "scion", "width": 32, "batch": 64, "tokens": 2**14}
    best = P * 6 + Q * 14
    cut, absent, short = (runs.copy(deep=True) for _ in range(3))
    above = np.log2(cut.rate.values) > best
    cut.loss.loc[place] = np.where(above, np.inf, cut.loss.sel(place))
    absent.loss.loc[place] = np.nan
    short.loss.loc[place] = np.where(np.arange(RATES.size) == 20, 3.0, np.nan)
    for data, code in ((cut, HIGH), (absent, NOT_RUN), (short, FEW)):
        found = cell_optima(data)
        assert int(found.edge.sel(place)) == code
        assert code in EDGES
        for name in ("log2_rate", "value", "log2_norm"):
            assert np.all(np.isnan(found[name].sel(place)))
        inside, edge, missing = count_edges(found.edge)
        assert (inside, edge + missing) == (found.edge.size - 1, 1)
        assert missing == (code == NOT_RUN)
        # The law is that of the others.
        one = found.sel({"method": "scion", "width": 32})
        assert rate_law(one).exponents == pytest.approx({"B": P, "D": Q}, abs=1e-9)
    no_batch = cut.where(cut.batch <= 64)
    joint = joint_optima(cell_optima(no_batch))
    assert np.all(joint.edge != INSIDE)
    assert np.all(np.isnan(joint.log2_norm))
    few = fitted_laws(cell_optima(no_batch), joint)
    assert np.isnan(few.exponent.sel(law="r")).all()
    assert as_constancy(constancies(joint).constancy[0, 0, 0]) is None


def test_losses_near_zero_are_fitted_in_the_logarithm(runs):
    steep = runs.assign(loss=np.exp(10 * (runs.loss - 4)))
    found = cell_optima(steep, logarithm=True)
    plain = cell_optima(runs)
    np.testing.assert_allclose(found.log2_rate, plain.log2_rate, atol=1e-9)
    np.testing.assert_allclose(found["value"], np.exp(10 * (plain["value"] - 4)), rtol=1e-8)


def test_shares_of_the_budget_count_steps_of_their_own_length(cells):
    share = budget_share(cells, start=1.0)
    place = {"width": 32, "batch": 64, "tokens": 2**14}
    norm, rate = NORM_B * 6 + NORM_D * 14 + 0.5 + 2, P * 6 + Q * 14
    expected = (2**norm - 1) / (2**rate * 2**8)
    assert float(share.sel(place).sel({"method": "scion"})) == pytest.approx(expected, rel=1e-8)
    assert float(share.sel(place).sel({"method": "adamw"})) == pytest.approx(
        expected / 32, rel=1e-8
    )


def test_critical_batches_grow_as_the_best_ones_do(runs):
    # In units of the best batch the loss is the same for all budgets.
    tied = cell_optima(runs.assign(loss=runs.loss + 0.1 * np.log2(runs.tokens) - 3))
    found = critical(tied)
    past = 2 ** np.sqrt(0.2 / 0.02)  # where 1 + 0.02 x^2 is 1.2
    expected = past * TOKENS**R
    known = np.isfinite(found.critical_batch[0, 0].values)
    assert known.sum() >= 2
    ratio = found.critical_batch[0, 0].values[known] / expected[known]
    np.testing.assert_allclose(np.log2(ratio), 0, atol=0.15)  # a chord of a parabola


def test_the_published_table_gives_its_bold_cells_and_its_norm():
    found = analyse()
    assert tuple(found.best.astype(int)) == LOSS_TABLE.best
    value, error = OPTIMAL_LOG2_NORM
    assert abs(found.over_tokens.mean - value) < error
    assert round(found.over_tokens.scatter, 1) == error
    assert found.over_tokens.verdict == NO_CHANGE
    assert all(optimum.edge == INSIDE for optimum in found.optima)
    # Between the columns, too, and all rows are within an octave of the bold one.
    np.testing.assert_allclose(found.norm_at_optimum, value, atol=error)
    places = [optimum.place for optimum in found.optima]
    np.testing.assert_allclose(places, np.log2(LOSS_TABLE.best), atol=0.7)
    # By another route: normal equations of the plane.
    logs = np.log2(LOSS_TABLE.batch_sizes), np.log2(LOSS_TABLE.tokens)
    grid = np.array([(b, d, 1.0) for d in logs[1] for b in logs[0]])
    solved = np.linalg.solve(grid.T @ grid, grid.T @ np.ravel(LOSS_TABLE.log2_norm))
    assert [found.norm_law.exponents[k] for k in "BD"] == pytest.approx(solved[:2], rel=1e-8)
    rows = published_table().rows
    assert [row[1] == row[2] for row in rows] == [True] * 4


@pytest.mark.parametrize("step", ["output", "hidden", "input", "sign"])
def test_norms_and_predictions_of_the_quadratic(step):
    config = QuadraticConfig(size=5)
    problem = quadratic(config)
    target = np.asarray(problem.target)
    np.testing.assert_allclose(
        np.sum(target**2, axis=0), np.arange(1.0, 6) ** (1.5 - 1.5), rtol=SAME_MATHS
    )
    by_hand = {
        "output": 5**0.5 * np.sqrt((target**2).sum(axis=1)).max(),
        "hidden": np.linalg.norm(target, 2),
        "input": np.sqrt((target**2).sum(axis=0)).max() / 5**0.5,
        "sign": np.abs(target).max(),
    }
    assert float(measure(step, jnp.asarray(target))) == pytest.approx(by_hand[step], rel=1e-6)
    # Many steps of a small rate reach the target.
    loss, size = predicted(step, problem, 1.0, np.array([1e-5]), 1.0, np.array([10.0**12]))
    assert float(loss[0, 0]) < 1e-3
    if step in ("output", "input"):
        assert float(size[0, 0]) == pytest.approx(by_hand[step], rel=0.01)
    else:
        assert np.isnan(size[0, 0])


def test_the_tiny_record_holds_both_systems(dataset):
    assert dataset.attrs["capacity"] == 1.5
    assert np.all(dataset.quad_loss.values[np.isfinite(dataset.quad_loss.values)] > 0)
    inside = dataset.quad_edge.values == INSIDE
    assert inside.any()
    assert np.isfinite(dataset.quad_log2_rate.values[inside]).all()
    # No norm is beyond its budget.
    share = dataset.share.values[np.isfinite(dataset.share.values)]
    assert np.all(share <= 1 + 1e-3)
    assert np.all(dataset.quad_share.values[inside] <= 1 + 1e-9)
    assert "variant" not in dataset.dims


def test_tables_of_the_tiny_record(dataset):
    titles = [table.title for table in study.summary(dataset)]
    assert len(titles) == 9
    draw({"norm_transfer": dataset})
    plt.close("all")


def test_tables_and_figure_say_what_the_runs_do(whole):
    tables = {table.title: table for table in study.summary(whole)}
    assert len(tables) == 11
    exponents = {row[:2]: row[2:] for row in tables["Exponents at the optimum"].rows}
    assert exponents["published", "-"][0] == "0.62 +- 0.05"
    assert [cell[:5] for cell in exponents["network, scion", 16][:2]] == ["0.70 ", "-0.60"]
    assert exponents["network, scion", 16][6].startswith("0.10")
    reach = {row[0]: row[5:] for row in tables["How far the derivation goes"].rows}
    assert "scion 16 (+0.50)" in reach["B* ~ D^r"][0]
    assert "scion 16 (+0.70)" in reach["eta* ~ B^p at given D"][2]
    constant = tables["Norm at the best rate and batch: constant in the tokens?"].rows
    assert {row[9] for row in constant[:6]} == {"rises"}
    widths = tables["Norm at the optimum: constant in the width?"].rows
    assert len(widths) == len(METHODS) * TOKENS.size
    variants = tables["Variants of Scion, rate and batch tuned"].rows
    assert [row[3] for row in variants] == ["+0.0 %"] + ["+10.0 %"] * (len(VARIANTS) - 1)
    decays = tables["Weight decay: does the norm settle at 1/lambda?"].rows
    assert [row[0] for row in decays] == [0.02, 0.1, 0.5]
    assert all(row[4] == "0.90" for row in decays)
    figure, plotted = draw({"norm_transfer": whole})
    assert {"best_log2_norm", "log2_rate", "share", "quad_value"} <= set(plotted.columns)
    assert set(plotted.panel) == {"best", "cells", "quadratic"}
    assert len(figure.axes) == 6
    plt.close(figure)


def test_the_text_is_part_of_the_key(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("some words and more " * 400)
    config = tiny_config(study.NormTransferConfig)
    config = replace(config, networks=replace(config.networks, text=str(file)))
    before = study.resolve(config)
    assert before.networks.text_digest
    file.write_text("other words and more " * 400)
    assert study.resolve(config) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_std": 0.0}, "`noise_std`"),
        ({"seeds": 1}, "`seeds`"),
        ({"steps": ("middle",)}, "`steps` must be one of output"),
        ({"batches": (16, 4)}, r"`batches` must increase, got \(16, 4\)"),
        ({"tokens": (0,)}, "`tokens`"),
        ({"tokens": (1000,)}, "`tokens` must be multiples of `batches`, got 16"),
        ({"below": -1.0}, "`below`"),
        ({"size": 1}, "`size`"),
    ],
)
def test_bad_fields_of_the_quadratic_are_refused(change, message):
    config = tiny_config(study.NormTransferConfig)
    with pytest.raises(ValueError, match=message):
        quadratic_runs(replace(config.quadratic, **change), Progress())


def test_a_bad_text_is_refused_before_the_first_run(monkeypatch, tmp_path):
    def started(*arguments):
        raise AssertionError("a run was started")

    monkeypatch.setattr(norm_quadratic, "sweep", started)
    for name, text, message in (
        ("empty", b"", "is empty"),
        ("poor", b"\xff\xfe\x00 ab", "distinct bytes|what the text supports"),
        ("short", bytes(range(128)) * 10, "`text` must have at least 8192 tokens, got 1280"),
    ):
        file = tmp_path / name
        file.write_bytes(text)
        config = tiny_config(study.NormTransferConfig)
        config = replace(config, networks=replace(config.networks, text=str(file)))
        with pytest.raises(ValueError, match=message):
            study.compute(config, Progress())


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("networks", {"evaluation": 10**7}, "`evaluation`"),
        ("networks", {"context": 0}, "`context`"),
        ("networks", {"depth": 0}, "`depth`"),
        ("quadratic", {"capacity": 1.0}, "`capacity_exponent`"),
        ("quadratic", {"size": 1}, "`size`"),
    ],
)
def test_bad_numbers_are_refused_before_the_first_run(monkeypatch, part, change, message):
    def started(*arguments):
        raise AssertionError("a run was started")

    monkeypatch.setattr(norm_quadratic, "sweep", started)
    config = tiny_config(study.NormTransferConfig)
    config = replace(config, **{part: replace(getattr(config, part), **change)})
    with pytest.raises(ValueError, match=message):
        study.compute(config, Progress())


def test_errors_of_optima_have_the_scatter_of_their_seeds(runs):
    """Three seeds whose parabolas are moved by a known amount to either side."""
    moved, raised = np.array([-0.3, 0.1, 0.2]), np.array([0.0, 0.03, -0.03])
    batch, tokens = np.log2(BATCHES)[:, None, None], np.log2(TOKENS)
    place = np.log2(RATES)[:, None] - (P * batch + Q * tokens)
    value = 4 - 0.1 * tokens + 0.02 * (batch - R * tokens) ** 2
    seeds = np.stack(
        [value + up + 0.05 * (place - by) ** 2 for by, up in zip(moved, raised, strict=True)], -1
    )
    seeds = np.where(np.isfinite(runs.loss[0, 0].values)[..., None], seeds, np.inf)
    dims = (*runs.loss.dims, "seed")
    seeds = np.broadcast_to(seeds, (*runs.loss.shape, 3))
    scattered = runs.assign(
        seed_loss=(dims, seeds),
        loss=(dims[:-1], np.where(np.isnan(runs.loss), np.nan, seeds.mean(axis=-1))),
    )
    found, plain = cell_optima(scattered), cell_optima(scattered.drop_vars("seed_loss"))
    np.testing.assert_allclose(found.log2_rate, plain.log2_rate, atol=1e-9)
    error, height = (np.std(x, ddof=1) / 3**0.5 for x in (moved, raised))
    assert error > 2 * LEAST_ERROR
    np.testing.assert_allclose(found.rate_error, error, rtol=1e-6)
    np.testing.assert_allclose(plain.rate_error, LEAST_ERROR, rtol=1e-9)
    np.testing.assert_allclose(found.value_error, height, rtol=1e-6)
    np.testing.assert_allclose(found.norm_error.sel(layer="output"), 0.6 * error, rtol=1e-6)
    np.testing.assert_allclose(
        found.seed_value.isel(method=0, width=0).transpose(..., "seed"),
        (value + np.zeros((BATCHES.size, 1, 1)))[:, 0, :, None] + raised,
        rtol=1e-6,
    )
    # One seed says nothing of others; its errors are those of the parabolas.
    single = cell_optima(scattered.isel(seed=[0]))
    np.testing.assert_allclose(single.rate_error, LEAST_ERROR, rtol=1e-9)


def test_best_batches_have_the_scatter_of_their_seeds(cells):
    moved = np.array([-0.4, 0.4])
    batch, tokens = np.log2(BATCHES)[:, None, None], np.log2(TOKENS)[:, None]
    values = 4 - 0.1 * tokens + 0.02 * (batch - R * tokens - moved) ** 2
    whole = np.broadcast_to(values, (2, 2, *values.shape))
    dims = ("method", "width", "batch", "tokens", "seed")
    found = joint_optima(cells.assign(seed_value=(dims, whole)))
    inside = found.edge == INSIDE
    assert inside.any()
    error = np.std(moved, ddof=1) / 2**0.5
    assert np.allclose(found.batch_error.values[inside], error, rtol=1e-6)
    assert np.allclose(joint_optima(cells).batch_error.values[inside], LEAST_ERROR)


def test_a_seed_on_an_edge_counts_at_its_best_point():
    grid = np.arange(-2.0, 3.0)
    losses = np.stack([grid**2, np.exp(grid), np.where(grid > 0, np.nan, -grid)], axis=1)
    places, values = seed_optima(grid, losses)
    assert places.tolist() == pytest.approx([0.0, -2.0, 0.0], abs=1e-9)
    assert values.tolist() == pytest.approx([0.0, np.exp(-2.0), 0.0], abs=1e-9)
    assert seed_error(np.array([1.0, np.nan, 2.0])) == pytest.approx(0.5)
    assert seed_error(np.array([1.0])) == 0.0
    assert np.isnan(seed_optima(grid, np.full((5, 1), np.nan))[0][0])


def pinned_runs(runs, curvature):
    """Losses that are a parabola in log2 norm through the initial loss at log2 norm zero."""
    logs = np.log2(runs["norm"].sel(layer="output"))
    least = logs - 0.6 * (np.log2(runs.rate) - P * np.log2(runs.batch) - Q * np.log2(runs.tokens))
    # a x (x - 2 x_0) with the minimum at x_0 and the start at zero.
    loss = runs.initial_loss + curvature * logs * (logs - 2 * least)
    return runs.assign(loss=loss.transpose(*runs.loss.dims).where(np.isfinite(runs.loss))), least


def test_the_pinned_parabola_finds_a_minimum_it_was_made_of(runs):
    data, least = pinned_runs(runs.assign(norm=64 * runs["norm"]), 0.05)
    cells = cell_optima(data)
    found = pinned_laws(data, cells)
    known = np.isfinite(cells.log2_norm.sel(layer="output").values)
    assert known.all()
    expected = least.isel(rate=0, drop=True).transpose(*found.pinned_log2_norm.dims)
    np.testing.assert_allclose(found.pinned_log2_norm, expected, atol=1e-8)
    laws = found.pinned_exponent.isel(method=0, width=0)
    assert float(laws.sel(law="norm B")) == pytest.approx(NORM_B, abs=1e-8)
    assert float(laws.sel(law="norm D")) == pytest.approx(NORM_D, abs=1e-8)
    # Where the start was higher the same points have another pinned parabola.
    other = pinned_laws(data.assign(initial_loss=data.initial_loss + 0.5), cells)
    assert np.nanmax(np.abs(other.pinned_log2_norm - expected)) > 1e-3
    # A norm that does not grow with the rate is no place on an axis.
    flat = data.assign(norm=xr.ones_like(data["norm"]) * 64)
    assert np.all(np.isnan(pinned_laws(flat, cells).pinned_log2_norm))


@pytest.mark.parametrize(("capacity", "source"), [(1.5, 1.5), (2.0, 3.5)])
def test_tables_state_the_exponents_derived_for_the_quadratic_at_hand(whole, capacity, source):
    config = QuadraticConfig(capacity=capacity, source=source, size=4, steps=("output",))
    powers = transfer_exponents(power_law(capacity, source, 4))
    changed = whole.assign(derived=study._derived(config).derived)
    tables = {table.title: table for table in study.summary(changed)}
    exponents = {row[0]: row[2:] for row in tables["Exponents at the optimum"].rows}
    reach = {row[0]: row[1:] for row in tables["How far the derivation goes"].rows}
    assert reach["eta* ~ D^q at given B"][0] == f"{powers.rate_tokens:+.2f}"
    assert reach["B* ~ D^r"][0] == f"{powers.batch_tokens:+.2f}"
    pairs = (("learned", powers.norm_tokens), ("walk", powers.walk_tokens))
    for part, power in pairs:
        row = exponents[f"derived, quadratic, {part}"]
        assert row[:3] == ("0.50", f"{powers.rate_tokens:.2f}", f"{powers.batch_tokens:.2f}")
        for law, place in (("norm ~ D^y at given B", 5), ("norm ~ D^u at B*", 6)):
            # The two tables say the same.
            assert float(row[place]) == pytest.approx(power, abs=0.005)
            assert float(reach[f"{law}, {part}"][0]) == pytest.approx(power, abs=0.005)
    assert powers.norm_tokens != powers.walk_tokens


def test_the_expected_exponents_are_those_of_the_prediction():
    """Predicted arrays in place of runs go through the same analysis."""
    data = made_up().isel(width=[0])
    quad = xr.Dataset(
        {"predicted_loss": data.loss, "predicted_norm": data["norm"].isel(layer=0, drop=True)}
    )
    found = expected_laws(quad).expected_exponent.isel(method=0, width=0)
    for law, power in (("p", P), ("q", Q), ("norm B", NORM_B), ("norm D", NORM_D)):
        # Parabolas go through the logarithm of the loss.
        assert float(found.sel(law=law)) == pytest.approx(power, abs=0.01)
