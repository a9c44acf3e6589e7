"""The study of quantization after training: checkpoints at one loss, measured anew; bad input."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from experiments import ptq_analysis, ptq_tables
from experiments.progress import Progress
from experiments.ptq_analysis import correlation
from experiments.ptq_runs import PARTS, Runs, common_loss, problems, rates_of, train
from experiments.studies import ptq
from experiments.studies.ptq import PtqConfig
from experiments.study import run_study

from .presets import tiny_config

CONFIG = tiny_config(PtqConfig)


@pytest.fixture(scope="module")
def record(results):
    return run_study(ptq.STUDY, CONFIG, results, Progress())[0]


@pytest.fixture(scope="module")
def checkpoint(record):
    """Adamw's fastest checkpoint, trained again, in plain float64 arrays; and where it is kept."""
    here = record.sel(network="language", optimizer="adamw")
    rate = int(ptq_analysis.fastest(record).sel(network="language", optimizer="adamw"))
    steps = np.arange(0, CONFIG.steps + 1, CONFIG.every)
    tasks = problems("language", CONFIG)
    runs = train(tasks[:1], "adamw", rates_of("adamw", "language", CONFIG.rates), steps)
    stored = here.isel(rate=rate, seed=0)
    place = int(stored.crossed_at) // CONFIG.every
    assert runs.loss[rate, 0, place] <= float(here.common) < runs.loss[rate, 0, place - 1]
    network = runs.checkpoint(rate, 0, place)
    weights = [np.asarray(s.weight, float) for s in network.stages if hasattr(s, "weight")]
    return stored, weights, tasks[0]


def rounded(rows, bits):
    spacing = np.abs(rows).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.round(rows / spacing) * spacing


def forward(weights, tokens, bits=None):
    """The language model by hand: values behind every linear layer, and the logits."""

    def layer(hidden, weight):
        hidden = hidden / np.sqrt((hidden**2).mean(axis=1, keepdims=True))
        if bits is None:
            return hidden @ weight.T
        return rounded(hidden, bits) @ rounded(weight, bits).T

    hidden = weights[0].T[tokens].reshape(len(tokens), -1)
    behind = []
    for weight in weights[1:-1]:
        behind.append(layer(hidden, weight))
        cubic = np.sqrt(2 / np.pi) * (behind[-1] + 0.044715 * behind[-1] ** 3)
        hidden = 0.5 * behind[-1] * (1 + np.tanh(cubic))
    return behind, layer(hidden, weights[-1])


def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])


def test_losses_and_errors_are_those_of_the_network_by_hand(checkpoint):
    stored, weights, task = checkpoint
    tokens, labels = np.asarray(task.inputs), np.asarray(task.labels)
    behind, exact = forward(weights, tokens)
    assert float(stored.full) == pytest.approx(cross_entropy(exact, labels), rel=1e-10)
    for bits in CONFIG.bits:
        low = forward(weights, tokens, bits)[1]
        here = stored.sel(bits=bits)
        assert float(here.rounded) == pytest.approx(cross_entropy(low, labels), rel=1e-10)
        error = np.sum((low - exact) ** 2)
        last = float(ptq_analysis.last_error(stored.expand_dims("network")).sel(bits=bits).item())
        assert last == pytest.approx(error / np.sum(exact**2), rel=1e-9)
        assert float(here.output_error) == pytest.approx(error / len(tokens), rel=1e-9)
    size = np.abs(behind[0])
    ratio = np.mean(size.max(axis=1) / np.median(size, axis=1))
    assert float(stored.max_to_median[0]) == pytest.approx(ratio, rel=1e-10)


def test_identities_hold_in_the_record(record):
    parts = [record[name] for name in PARTS]
    total = parts[1] + parts[2] + parts[3]
    known = np.isfinite(total.values)
    assert known.any()
    np.testing.assert_allclose(total.values[known], parts[0].values[known], rtol=1e-11, atol=1e-24)
    gain = record.gain.values
    product = (record.spectral * record.alignment).values
    there = np.isfinite(gain)
    assert there.any()
    np.testing.assert_allclose(product[there], gain[there], rtol=1e-12)


def test_every_checkpoint_is_at_the_common_loss_and_every_optimizer_has_one(record):
    full, common = record.full, record.common
    assert float((full / common).max()) <= 1 + 1e-5  # trained in float32
    assert float((full / common).min()) > 0.8
    assert (full.notnull().all("seed").sum("rate") >= CONFIG.least_rates).all()
    assert (record.crossed_at.notnull() == full.notnull()).all()
    fewer = ptq_analysis.increase(record).mean(("optimizer", "rate", "seed"))
    assert (fewer.sel(bits=4) > fewer.sel(bits=8)).all()


def test_summary_has_whole_rows(record):
    tables = ptq_tables.summary(record)
    assert len(tables) == 2 * len(CONFIG.networks) + 2
    for table in tables:
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert {row[-1] for row in tables[-1].rows} <= {"yes", "partly", "no", "open"}


@pytest.mark.slow
def test_networks_of_different_depth_share_a_record(tmp_path, monkeypatch):
    depths = {"language": 5, "linear": 2}

    def part(network, config, progress):
        del progress
        grid, count = (2, config.rates, config.seeds), depths[network]
        errors = np.broadcast_to(np.arange(1.0, count + 1), (*grid, len(config.bits), count))
        found = {"full": np.ones(grid), "rounded": errors[..., 0], "relative": errors}
        names = ["linear"] * count
        return ptq._dataset(network, config, found, np.ones(grid), names).assign(common=1.0)

    monkeypatch.setattr(ptq, "_network", part)
    config = replace(CONFIG, networks=tuple(depths))
    dataset = run_study(ptq.STUDY, config, tmp_path, Progress())[0]
    last = ptq_analysis.last_error(dataset)
    for network, depth in depths.items():
        assert (last.sel(network=network) == depth).all()


def runs_with(losses):
    return Runs(np.arange(4), np.array(losses)[:, None], ())


def test_the_common_loss_is_what_enough_rates_of_all_optimizers_reach():
    runs = {
        "one": runs_with([[9, 3, 2, 2.5], [9, 4, 3, 3], [9, 9, 9, np.inf]]),
        "two": runs_with([[9, 5, 1, 1], [9, 6, 4, 5], [9, 8, 7, 6]]),
    }
    assert common_loss(runs, 1) == 2
    assert common_loss(runs, 2) == 4
    np.testing.assert_array_equal(runs["one"].crossing(3.5), [[1], [2], [-1]])


@pytest.mark.parametrize("ends", [np.inf, 9.5])
def test_a_common_loss_without_training_is_refused_with_a_word(ends):
    runs = {
        "one": runs_with([[9, 3, 2, 2], [9, 4, 3, 3], [9, 9, 8, 8]]),
        "wild": runs_with([[9, 5, 4, 4], [9, ends, ends, ends], [9.5, ends, ends, ends]]),
    }
    assert common_loss(runs, 1) == 4
    for count in (2, 3):
        message = f"`least_rates`: wild gets below the initial loss 9 at fewer than {count} rates"
        with pytest.raises(ValueError, match=message):
            common_loss(runs, count)


def with_parts(carried, new, cross):
    """Errors of one checkpoint's linear layers, the first of which does not count."""
    dims = ("rate", "bits", "stage")
    shaped = {"carried": carried, "new": new, "cross": cross}
    parts = {name: (dims, np.array([[[0.0, *values]]])) for name, values in shaped.items()}
    names = ("stage", np.array(["linear"] * (1 + len(carried)), object))
    return xr.Dataset(parts | {"stage_name": names}, coords={"bits": [4]})


@pytest.mark.parametrize(
    ("carried", "ratio", "word"),
    [
        ([5.9, 6.1, 8.0], 5.08, "yes"),  # over B + |C| = 1 + 0.2
        ([5.9, 5.9, 5.9], 4.92, "partly"),
        ([1.1, 1.1, 1.1], 0.92, "partly"),  # above either, not above both together
        ([0.9, 0.9, 30.0], 0.75, "no"),
    ],
)
def test_far_above_means_five_times_both_together(carried, ratio, word):
    here = with_parts(carried, [1.0] * 3, [-0.2, 0.2, -0.2])
    assert ptq_analysis.carried_ratio(here) == pytest.approx(ratio, abs=0.01)
    here = here.assign(relative=here.carried)
    (_, seen, said), *_ = ptq_tables._error_verdicts(here)
    assert said == word
    assert seen.startswith(f"median A / (B + |C|) {ratio:.1f}")


def test_a_correlation_and_its_interval_and_rank():
    rng = np.random.default_rng(2)
    cost = rng.uniform(size=(4, 6, 2))
    dims, best = ("optimizer", "rate", "seed"), xr.DataArray([1, 1, 2, 3], dims="optimizer")
    metric = cost + 0.1 * rng.standard_normal(cost.shape)
    metric[0, 0] = np.nan
    found = correlation(xr.DataArray(metric, dims=dims), xr.DataArray(cost, dims=dims), best)
    known = np.isfinite(metric)
    assert found.value == pytest.approx(-np.corrcoef(metric[known], cost[known])[0, 1], rel=1e-12)
    assert -1 <= found.low < found.value < found.high < -0.8
    assert found.signs == (-1, -1)
    at_best = [values[range(4), [1, 1, 2, 3]].mean(axis=1) for values in (metric, cost)]
    assert found.between == pytest.approx(-np.corrcoef(*at_best)[0, 1], rel=1e-12)
    assert found.between_low <= found.between <= found.between_high
    assert found.rank == pytest.approx(found.value, abs=0.1)
    noise = xr.DataArray(rng.uniform(size=cost.shape), dims=dims)
    assert correlation(noise, xr.DataArray(cost, dims=dims), best).signs[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("adamw",)}, "`methods` must be at least 2 of adamw, muon"),
        ({"methods": ("adamw", "lion")}, "`methods` must be at least 2 of"),
        ({"networks": ()}, "`networks` must be at least 1 of language, linear"),
        ({"bits": (8, 3)}, "`bits` must be different and hold 4"),
        ({"bits": (4, 17)}, "`bits` must be a finite number and at least 1 and at most 16"),
        ({"steps": 5, "every": 10}, "`steps` must be"),
        ({"rates": 2, "least_rates": 3}, "`least_rates` must be"),
        ({"rates": 1}, "`rates` must be"),
        ({"depth": 1}, "`depth` must be"),
        ({"seeds": 1}, "`seeds` must be .*at least 2, got 1"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ptq.compute(replace(CONFIG, **changes), Progress())


def test_a_digest_of_another_text_is_refused():
    with pytest.raises(ValueError, match="`text_digest` must be"):
        ptq.resolve(replace(CONFIG, text_digest="0" * 12))
