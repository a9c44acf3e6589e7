"""Runs of language models for the norm-transfer study: what is run, and what is recorded."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.norm_config import (
    LEAST_STEPS,
    RECIPES,
    Cell,
    NormRunsConfig,
    cells,
    check_config,
    rate_window,
    resolve_text,
    usable,
)
from experiments.norm_runs import averages, in_pairs, network_runs, prepare
from experiments.norm_variants import DECAY, KINDS, MOMENTUM, VARIANTS, variant_grid, variant_runs
from experiments.progress import Progress
from simulate.networks import operator_norms

from .tolerances import SAME_MATHS

TINY = NormRunsConfig(
    max_bytes=20_000,
    vocabulary=128,
    context=2,
    methods=("scion", "adamw"),
    width=4,
    widths=(),
    batches=(32, 64),
    tokens=(2**8, 2**9),
    evaluation=64,
    variant_batches=(32,),
    variant_tokens=(2**8, 2**9),
)


@pytest.fixture(scope="module")
def tiny():
    """The record of the tiny configuration."""
    return network_runs(TINY, Progress())


def test_the_record_has_every_cell_and_marks_what_was_not_run(tiny):
    assert tiny.loss.dims == ("method", "width", "batch", "rate", "tokens")
    assert tiny["norm"].dims == ("layer", *tiny.loss.dims)
    assert tiny.seed_loss.dims == (*tiny.loss.dims, "seed")
    np.testing.assert_allclose(tiny.seed_loss.mean("seed"), tiny.loss, rtol=SAME_MATHS)
    np.testing.assert_allclose(
        np.abs(np.diff(tiny.seed_loss.values)[..., 0]) / 2, tiny.loss_error, atol=1e-12
    )
    assert list(tiny.method.values) == ["scion", "adamw"]
    assert list(tiny.layer.values) == ["input", "hidden", "output"]
    for cell in cells(TINY):
        kept = np.array(TINY.tokens)[usable(TINY.tokens, cell.batch)]
        rates = 2.0 ** (rate_window(cell, kept, TINY.margin) / 2)
        place = {"method": cell.method, "width": cell.width, "batch": cell.batch}
        run = np.outer(np.isin(tiny.rate, rates), np.isin(tiny.tokens, kept))
        assert run.sum() == rates.size * kept.size
        for name in ("loss", "loss_error", "output_rms_norm"):
            assert np.array_equal(np.isfinite(tiny[name].sel(place).values), run)
        for layer in tiny.layer.values:
            assert np.all((tiny["norm"].sel(place).sel(layer=layer).values > 0) == run)
    # Eight steps of 64 windows are more than 256 tokens; AdamW runs at every second batch size.
    assert np.all(np.isnan(tiny.loss.sel(batch=64, tokens=2**8)))
    assert np.all(np.isnan(tiny.loss.sel({"batch": 64, "method": "adamw"})))


def test_initial_losses_and_sizes_are_those_of_the_networks(tiny):
    parameters = 4 * 128 + 4 * 8 + 128 * 4
    assert tiny.parameters.values.tolist() == [parameters]
    assert abs(float(tiny.initial_loss[0]) - np.log(128)) < 2 / np.sqrt(4)
    initial = operator_norms(prepare(TINY, [4], 1).networks[4][0])
    np.testing.assert_allclose(list(initial.values()), 1, rtol=1e-5)
    # Scion moves each norm by at most the distance gone, 1.2 times that where Newton-Schulz steps.
    scion = tiny.sel({"method": "scion", "width": 4})
    gone = scion.rate * scion.tokens / scion.batch
    assert not np.any(scion["norm"] > 1 + 1.21 * gone + 1e-4)
    assert not np.any(scion["norm"].sel(layer="output") > 1 + gone + 1e-4)


def test_runs_are_reproducible_and_seeds_differ(tiny):
    again = network_runs(
        replace(TINY, methods=("scion",), batches=(32,), width_methods=()), Progress()
    )
    old = tiny.sel({"method": ["scion"], "batch": [32], "rate": again.rate})
    np.testing.assert_array_equal(again.loss, old.loss)
    np.testing.assert_array_equal(again["norm"], old["norm"])
    assert np.all(again.loss_error > 0)


def test_averages_are_infinite_where_a_seed_diverged():
    runs = {"loss": np.array([[1.0, 2.0], [3.0, np.inf]]), "norm": np.array([[2.0, 4.0]] * 2)}
    found = averages(runs)
    assert found["loss"].tolist() == [2.0, np.inf]
    assert found["loss_error"].tolist() == [1.0, np.inf]  # |3 - 1| / 2 is s / sqrt(2)
    assert found["norm"].tolist() == [2.0, 4.0]
    assert found["seed_loss"].tolist() == [[1.0, 3.0], [2.0, np.inf]]
    assert np.all(np.isnan(averages({"loss": np.ones((1, 3))})["loss_error"]))


def test_cells_are_every_batch_for_the_first_method_and_every_second_elsewhere():
    found = cells(NormRunsConfig())
    batches = NormRunsConfig().batches
    rows = {(m, w): sorted(c.batch for c in found if (c.method, c.width) == (m, w)) for m, w, in
            {(c.method, c.width) for c in found}}  # fmt: skip
    assert rows[("scion", 32)] == list(batches)
    others = [(m, 32) for m in NormRunsConfig().methods[1:]] + [("scion", 64), ("adamw", 16)]
    assert all(rows[place] == list(batches[::2]) for place in others)
    assert ("signsgd", 64) not in rows


@pytest.mark.parametrize("method", list(RECIPES))
def test_rate_windows_hold_the_expected_optima_with_their_margin(method):
    constant, by_batch, by_tokens, by_width = RECIPES[method].centre
    cell, tokens = Cell(method, 64, 256), np.array([2**13, 2**17])
    window = rate_window(cell, tokens, 1.5)
    assert np.array_equal(window, np.arange(window[0], window[-1] + 1))
    for budget in (13, 17):
        centre = min(
            constant + 8 * by_batch + budget * by_tokens + by_width, RECIPES[method].highest
        )
        assert window[0] <= 2 * (centre - 1.5)
        assert window[-1] >= 2 * (centre + 1.5)
    assert window.size <= 2 * (3 + 4 * abs(by_tokens)) + 3


def test_results_of_pairs_keep_their_order_and_pass_errors_on():
    assert in_pairs(lambda item: item**2, range(7), Progress()) == [k**2 for k in range(7)]
    with pytest.raises(ZeroDivisionError):
        in_pairs(lambda item: 1 // item, [1, 0, 2], Progress())


def test_variants_differ_from_the_plain_method_in_one_thing_each():
    window = np.array([-2, 0])
    for kind in KINDS:
        chosen = [variant for variant in VARIANTS if variant.kind == kind]
        grid = variant_grid(chosen, window, 64)
        assert {len(values) for values in grid.values()} == {2 * len(chosen)}
        rates = [rate * 2**variant.shift for variant in chosen for rate in (0.5, 1)]
        assert grid["learning_rate"].tolist() == rates
        assert ("momentum" in grid, "decay" in grid) == kind
        assert np.all(grid.get("momentum", np.array(MOMENTUM)) == MOMENTUM)
        assert np.all(grid.get("decay", np.array(DECAY)) == DECAY)
        assert np.all(grid.get("horizon", np.array(64)) == 64)
    names = ("input_ratio", "hidden_ratio", "output_ratio", "weight_decay", "momentum", "decay")
    plain, *others = VARIANTS
    changed = [sum(getattr(v, n) != getattr(plain, n) for n in names) for v in others]
    assert changed == [1] * (len(others) - 1) + [2]


@pytest.mark.slow
def test_variants_hold_the_plain_method_and_what_their_numbers_say():
    # In narrower networks one unit alone may be active, its gradient is rounding, and LMOs scale
    # that up: no two compilations agree.
    wide = replace(TINY, width=32, methods=("scion",), width_methods=(), batches=(32,))
    tiny = network_runs(wide, Progress())
    found = variant_runs(replace(wide, variant_seeds=2), Progress())
    assert found.variant_loss.dims == ("variant", "variant_batch", "variant_rate", "variant_tokens")
    scion = tiny.sel({"method": "scion", "width": 32, "batch": 32})
    places = {"variant_rate": scion.rate.values, "variant_batch": 32}
    plain = found.sel(variant="plain").sel(places)
    # The same runs in another compiled sweep: 16 float32 steps.
    np.testing.assert_allclose(plain.variant_loss, scion.loss, rtol=1e-4)
    np.testing.assert_allclose(plain.variant_norm, scion["norm"], rtol=1e-3)
    for variant in VARIANTS:
        assert float(found.hidden_ratio.sel(variant=variant.name)) == variant.hidden_ratio
        same = found.variant_loss.sel(variant=variant.name).sel(places)
        assert variant.name == "plain" or not np.allclose(same, scion.loss)
    largest = float(scion.rate[-1])
    output = found.variant_norm.sel(layer="output", variant_rate=largest, variant_batch=32)
    bounds = 1 / found.weight_decay.where(found.weight_decay > 0)
    assert not np.any(output > np.maximum(bounds, 1) + 1e-4)
    # A rate that falls over the last quarter goes 1/8 less far, and less far means less norm.
    last = output.sel(variant_tokens=2**9)
    assert float(last.sel(variant="decay")) < float(last.sel(variant="plain"))
    decaying = found.variant_loss.sel(variant=["decay", "momentum and decay"])
    assert decaying.sel(variant_tokens=2**8).isnull().all()
    assert np.isfinite(decaying.sel(variant_tokens=2**9)).any()


def test_the_text_is_named_by_its_hash(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"some text\xff")
    config = resolve_text(NormRunsConfig(text=str(text)))
    assert len(config.text_digest) == 12
    assert resolve_text(config) == config
    text.write_bytes(b"another text")
    with pytest.raises(ValueError, match="`text_digest`"):
        resolve_text(config)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("methods", {"methods": ("scion", "sgd")}),
        ("methods", {"methods": (), "width_methods": ()}),
        ("width_methods", {"width_methods": ("muon",), "methods": ("scion",)}),
        ("widths", {"widths": (32,)}),
        ("seeds", {"seeds": 1}),
        ("variant_seeds", {"variant_seeds": 0}),
        ("margin", {"margin": 0.0}),
        ("weight_decay", {"weight_decay": 0.0}),
        ("batches", {"batches": ()}),
        ("batches", {"batches": (64, 32)}),
        ("batches", {"batches": (2**17,)}),
        ("tokens", {"batches": (96,)}),
        ("variant_tokens", {"variant_tokens": ()}),
        ("variant_batches", {"variant_batches": (2**16,)}),
        ("variant_tokens", {"variant_batches": (96,)}),
        ("context", {"context": 0}),
        ("depth", {"depth": 0}),
        ("depth", {"depth": 1.5}),
        ("width", {"width": 0}),
        ("widths", {"widths": (16, 2.5)}),
        ("evaluation", {"evaluation": 0}),
    ],
)
def test_bad_options_are_named_before_any_run(name, changes):
    with pytest.raises(ValueError, match=f"`{name}`") as caught:
        network_runs(replace(NormRunsConfig(), **changes), Progress())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("evaluation", 10**7), ("context", 1024)])
def test_what_the_text_is_too_short_for_is_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        prepare(replace(TINY, **{name: value}), [4], 1)


def test_bad_texts_are_named(tmp_path):
    small = tmp_path / "small"
    small.write_bytes(b"a few words of text, too few for its vocabulary")
    with pytest.raises(ValueError, match="`vocabulary` must be at most"):
        network_runs(replace(TINY, text=str(small)), Progress())
    short = tmp_path / "short"
    short.write_bytes(bytes(range(128)) * 10)
    with pytest.raises(ValueError, match="`text` must have at least 8192 tokens, got 1280 in 1280"):
        network_runs(replace(TINY, text=str(short)), Progress())
    with pytest.raises(FileNotFoundError, match="`path`"):
        network_runs(replace(TINY, text=str(tmp_path / "none")), Progress())


def test_presets_are_accepted():
    for config in (NormRunsConfig(), NormRunsConfig.quick(), TINY):
        check_config(config)
        assert min(LEAST_STEPS * batch for batch in config.batches) <= max(config.tokens)
