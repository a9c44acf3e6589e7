"""`quadlaw transfer`: hand-computed ratios, minima found by search, and refusals in one line."""

import json
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from rich.console import Console

from experiments.arguments import parse
from experiments.errors import UserError
from experiments.transfer import TransferOptions, transfer_all, transfer_command, transfer_record
from experiments.transfer_fit import checks, log_line
from experiments.transfer_input import GEOMETRIES, TunedPoint, TunedRuns, read_tuned
from experiments.transfer_regimes import without_momentum
from experiments.transfer_tables import _momentum
from theory.bound_library import BOUNDS
from theory.lmo_bounds import sharper_bound
from theory.lmo_constants import bound_constants
from theory.tuning import derive

from .tolerances import SAME_MATHS

TOKENS, BATCH, RATE, MOMENTUM = 1e10, 2.0**19, 3e-3, 0.9
TABLE = {
    "optimizer": "muon",
    "tokens": TOKENS,
    "batch_size": BATCH,
    "learning_rate": RATE,
    "momentum": MOMENTUM,
}


def toml(entries, more=()):
    lines = [f"{name} = {value!r}" for name, value in entries.items()]
    for entry in more:
        lines += ["[[more]]", *(f"{name} = {value!r}" for name, value in entry.items())]
    return "\n".join(lines)


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "tuned.toml"
        path.write_text(text)
        return path

    return write


def tuned(optimizer="muon", alpha=0.1, points=(), unit="tokens", length=None, size=None):
    first = TunedPoint(TOKENS, BATCH, RATE, alpha)
    return TunedRuns(optimizer, points or (first,), unit, length, size)


def by_name(result):
    return {move.regime.name: move for move in result.moved}


def ratios(move, alpha=0.1):
    return (move.learning_rate / RATE, move.alpha / alpha, move.batch_size / BATCH)


# Sixteen times the tokens: eta, 1 - momentum, B, bound, by hand from the table of exponents.
SIXTEEN = {
    "learning_rate": (1 / 4, 1.0, 1.0, 1.0),
    "learning_rate; steps held, square-root rule": (1.0, 1.0, 16.0, 1.0),
    "learning_rate, batch_size": (1 / 2, 1.0, 4.0, 1 / 2),
    "learning_rate, momentum": (1 / 8, 1 / 4, 1.0, 1 / 2),
    "all": (2 ** (-7 / 3), 2 ** (-4 / 3), 2 ** (2 / 3), 1 / 2),
}


@pytest.mark.parametrize("optimizer", [name for name in GEOMETRIES if name != "sgd"])
def test_sixteen_times_the_tokens_by_hand(optimizer):
    moves = by_name(transfer_all(tuned(optimizer), 16.0 * TOKENS))
    assert len(moves) == 6
    for name, expected in SIXTEEN.items():
        found = (*ratios(moves[name]), moves[name].bound_ratio)
        assert found == pytest.approx(expected, rel=SAME_MATHS)
        assert moves[name].steps * moves[name].batch_size == pytest.approx(16.0 * TOKENS)
        assert moves[name].events == ()


def test_without_momentum_the_sharper_bound_moves_like_rate_and_batch():
    moves = by_name(transfer_all(tuned(alpha=1.0), 16.0 * TOKENS))
    sharper = moves["all, sharper bound"]
    assert ratios(sharper, 1.0) == pytest.approx((0.5, 1.0, 4.0), rel=SAME_MATHS)
    assert sharper.bound_ratio == pytest.approx(0.5, rel=SAME_MATHS)


def test_a_chosen_batch_counts_by_square_root_or_linearly():
    moves = by_name(transfer_all(tuned(), 16.0 * TOKENS, 4.0 * BATCH))
    held, momentum = moves["learning_rate"], moves["learning_rate, momentum"]
    assert ratios(held) == pytest.approx((1 / 2, 1.0, 4.0), rel=SAME_MATHS)
    assert held.bound_ratio == pytest.approx(1 / 2, rel=SAME_MATHS)  # noise floor B^(-1/2)
    assert ratios(momentum) == pytest.approx((1 / 2, 1.0, 4.0), rel=SAME_MATHS)
    assert momentum.bound_ratio == pytest.approx(1 / 2, rel=SAME_MATHS)  # flat in B
    # Tuned and budget-held batch sizes are not the user's.
    assert ratios(moves["all"])[2] == pytest.approx(2 ** (2 / 3), rel=SAME_MATHS)


def test_the_same_budget_changes_nothing():
    for optimizer in ("sgd", "signum"):
        for name, move in by_name(transfer_all(tuned(optimizer), TOKENS)).items():
            if name != "all, sharper bound":
                assert ratios(move) == pytest.approx((1.0, 1.0, 1.0), rel=SAME_MATHS)


def test_all_batch_sizes_of_sgd_tie_between_the_two_rows():
    ends = derive(BOUNDS["sgd"], ["learning_rate", "batch_size"]).family.ends["B"]
    assert ends == (Fraction(0), Fraction(1, 2))


def test_momentum_is_printed_to_three_digits_of_what_it_lacks():
    shown = [_momentum(alpha) for alpha in (1.0, 0.5, 0.1, 0.0215, 3.214e-6)]
    assert shown == ["0", "0.5", "0.9", "0.9785", "0.99999679"]


def test_sgd_follows_the_classical_bound():
    moves = by_name(transfer_all(tuned("sgd"), 16.0 * TOKENS))
    assert ratios(moves["learning_rate"]) == pytest.approx((1 / 4, 1, 1), rel=SAME_MATHS)
    assert moves["learning_rate"].bound_ratio == pytest.approx(1 / 4, rel=SAME_MATHS)
    assert ratios(moves["learning_rate, batch_size"]) == pytest.approx((1, 1, 4), rel=SAME_MATHS)
    assert "L*eta <= 1" in moves["learning_rate; steps held"].events[0]
    wider = by_name(transfer_all(tuned("sgd"), 16.0 * TOKENS, 4.0 * BATCH))["learning_rate"]
    assert ratios(wider) == pytest.approx((1.0, 1.0, 4.0), rel=SAME_MATHS)  # linear in B


def three_terms(logs, tokens, batch):
    """Gap, noise and lag of the bound with all constants chosen, no lower orders."""
    eta, alpha = np.exp(logs)
    return 3.0 * batch / (eta * tokens) + 2.0 * np.sqrt(alpha / batch) + 2.0 * 0.5 * eta / alpha


def searched(tokens, batch):
    """Minimum over eta and alpha <= 1 by search."""
    start = np.log([np.sqrt(batch / tokens), 0.5])
    found = scipy.optimize.minimize(
        lambda logs: np.log(three_terms(logs, tokens, batch)),
        start,
        bounds=[(None, None), (None, 0.0)],
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    return np.exp(found.x), np.exp(found.fun)


@pytest.mark.parametrize(
    ("tokens", "batch", "capped"),
    [(1e8, 20.0, False), (30.0, 4.0, True), (1e4, 3000.0, True), (100.0, 4.0, False)],
)
def test_momentum_stops_at_zero_where_a_search_says_so(tokens, batch, capped):
    (eta, alpha), bound = searched(1e4, 4.0)
    runs = tuned(points=(TunedPoint(1e4, 4.0, eta, alpha),))
    move = by_name(transfer_all(runs, tokens, batch))["learning_rate, momentum"]
    (expected_eta, expected_alpha), expected_bound = searched(tokens, batch)
    assert move.learning_rate == pytest.approx(expected_eta, rel=1e-5)
    assert move.alpha == pytest.approx(expected_alpha, rel=1e-5)
    assert (move.alpha == 1.0) is capped
    assert bool(move.events) is capped
    if not capped:
        assert move.bound_ratio == pytest.approx(expected_bound / bound, rel=1e-8)


def test_the_batch_from_which_momentum_is_zero_is_where_a_search_stops():
    (eta, alpha), _ = searched(1e4, 4.0)
    result = transfer_all(tuned(points=(TunedPoint(1e4, 4.0, eta, alpha),)), 1e6)
    limit = result.momentum_limit
    assert searched(1e6, limit * 0.99)[0][1] < 1.0 - 5e-3
    assert searched(1e6, limit * 1.01)[0][1] == pytest.approx(1.0, abs=1e-6)


def test_a_shrinking_budget_stops_at_one_sample():
    runs = tuned(points=(TunedPoint(1e6, 2.0, RATE, 0.5),))
    move = by_name(transfer_all(runs, 1e6 / 4096.0))["learning_rate, batch_size"]
    # B ~ T^(1/2) is down to one at a quarter of the tokens; then eta ~ T^(-1/2) at B = 1.
    assert move.batch_size == pytest.approx(1.0, rel=SAME_MATHS)
    expected = 4.0**0.25 * 1024.0**0.5
    assert move.learning_rate / RATE == pytest.approx(expected, rel=1e-10)
    assert "one sample at 2.5e+05 tokens" in move.events[0]


def test_a_run_that_cannot_be_is_called_so():
    small = tuned(points=(TunedPoint(1e6, 2.0, RATE, 0.5),))
    held = by_name(transfer_all(small, 1e5))["learning_rate; steps held, square-root rule"]
    assert held.events == ("a batch is smaller than one sample, no such run",)
    short = tuned(points=(TunedPoint(1e6, 1e5, RATE, 1e-3),))
    sharper = by_name(transfer_all(short, 1e6))["all, sharper bound"]
    assert sharper.steps < 1.0
    assert "no such run" in sharper.events[-1]


def test_the_way_to_no_momentum_is_that_of_the_sharper_bound():
    constants = bound_constants(initial_gap=3.0, smoothness=0.5, norm_ratio=1.5, noise=2.0)
    tokens, batch = 1e16, 1e5

    def least(free, start):
        def value(x):
            eta, alpha, size = free(jnp.exp(x))
            return jnp.log(sharper_bound(constants, eta, alpha, size, tokens / size).total)

        options = {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000}
        found = scipy.optimize.minimize(
            lambda x: float(value(x)), np.log(start), method="Nelder-Mead", options=options
        )
        return np.exp(found.x)

    eta, alpha = least(lambda x: (x[0], jnp.minimum(x[1], 1.0), batch), [1e-6, 1e-3])
    moved = without_momentum(TunedPoint(tokens, batch, eta, alpha))
    best_eta, best_batch = least(lambda x: (x[0], 1.0, x[1]), [1e-4, 1e8])
    assert alpha < 0.01
    assert moved.batch_size == pytest.approx(best_batch, rel=1e-3)
    assert moved.learning_rate == pytest.approx(best_eta, rel=1e-3)


def law_points(eta, batch, alpha, noise=0.0, seed=0):
    """Points on power laws through the first one."""
    draws = np.random.default_rng(seed).normal(size=(5, 3)) * noise
    return tuple(
        TunedPoint(
            TOKENS * 4.0**k,
            BATCH * 4.0 ** (batch * k) * np.exp(draw[0]),
            RATE * 4.0 ** (eta * k) * np.exp(draw[1]),
            0.1 * 4.0 ** (alpha * k) * np.exp(draw[2] if alpha else 0.0),
        )
        for k, draw in enumerate(draws)
    )


def verdicts(runs):
    found = {}
    for check in checks(runs, 1e12):
        found.setdefault(check.regime, []).append(check.verdict)
    return found


def test_points_on_the_joint_law_reject_the_others():
    for noise in (0.0, 0.02):
        found = verdicts(tuned(points=law_points(-7 / 12, 1 / 6, -1 / 3, noise)))
        assert found["all"] == ["not rejected"] * 3
        # Its ridge is that of tuned momentum at given batch: -7/12 - 1/6 = -3/4.
        assert found["learning_rate, momentum"] == ["not rejected"] * 2
        assert all("momentum varies" in text for text in found["learning_rate, batch_size"])


def test_points_with_rate_and_batch_tuned_reject_held_momentum_laws_that_differ():
    found = verdicts(tuned(points=law_points(-0.25, 0.5, 0.0)))
    assert found["learning_rate, batch_size"] == ["not rejected"] * 2
    assert found["learning_rate"] == ["not rejected"]  # eta ~ (B/T)^(1/2) holds along it
    assert found["all"] == ["rejected", "not tested: momentum never varied", "rejected"]
    step_law = verdicts(tuned(points=law_points(0.307, 0.571, 0.0, 0.01)))
    assert step_law["learning_rate, batch_size"][0] == "rejected"
    assert step_law["learning_rate"] == ["rejected"]


def test_the_line_and_its_interval_are_those_of_scipy():
    points = law_points(-0.4, 0.0, 0.0, 0.3)
    tokens, logs = [p.tokens for p in points], np.log([p.learning_rate for p in points])
    line = log_line(tokens, logs, 1e15)
    known = scipy.stats.linregress(np.log(tokens), logs)
    quantile = scipy.stats.t.ppf(0.975, 3)
    assert line.slope == pytest.approx(known.slope, rel=1e-10)
    assert line.half_width == pytest.approx(quantile * known.stderr, rel=1e-6)
    assert line.value == pytest.approx(known.intercept + known.slope * np.log(1e15), rel=1e-10)


def test_new_points_fall_into_the_predicted_interval_as_often_as_stated():
    rng, x, at = np.random.default_rng(1), np.geomspace(1e9, 1e11, 5), 1e12
    hits, runs = 0, 400
    for _ in range(runs):
        line = log_line(x, -0.3 * np.log(x) + rng.normal(size=5), at)
        hits += abs(-0.3 * np.log(at) + rng.normal() - line.value) < line.value_half_width
    expected, deviation = 0.95 * runs, np.sqrt(0.95 * 0.05 * runs)
    assert abs(hits - expected) < 4.0 * deviation


def test_several_points_fit_constants_and_two_give_no_interval():
    points = (TunedPoint(1e10, BATCH, 4e-3, 0.1), TunedPoint(1e10, BATCH, 1e-3, 0.1))
    result = transfer_all(tuned(points=points), 1e10)
    assert by_name(result)["learning_rate"].learning_rate == pytest.approx(2e-3, rel=SAME_MATHS)
    assert result.lines == {}
    assert result.checks == ()
    two = verdicts(tuned(points=law_points(-0.5, 0.0, 0.0)[:2]))
    assert two["learning_rate"] == ["two points: no interval"]


def test_published_laws_stand_next_to_the_regime_that_answers_the_same():
    result = transfer_all(tuned("adamw", size=1e9), 1e12)
    laws = {law.name: law for law in result.empirical}
    step = laws["Step Law"]
    assert step.learning_rate.factor == pytest.approx(100.0**0.307, rel=SAME_MATHS)
    assert step.learning_rate.over_derived == pytest.approx(100.0 ** (0.307 + 0.25), rel=1e-10)
    assert step.batch_size.over_derived == pytest.approx(100.0 ** (0.571 - 0.5), rel=1e-10)
    absolute = 1.79 * 1e9**-0.713 * 1e12**0.307
    assert step.learning_rate.absolute == pytest.approx(absolute, rel=SAME_MATHS)
    assert laws["Bjorck et al."].learning_rate.over_derived == pytest.approx(100.0**0.18)
    assert laws["DeepSeek"].learning_rate.factor == pytest.approx(100.0**-0.125)
    assert laws["Filatov, batch held"].learning_rate.factor == pytest.approx(100.0**-0.56)
    assert laws["Filatov"].learning_rate.error == pytest.approx(0.07 * np.log(100.0))
    said = transfer_record(result)["disagreements"]
    [conflict] = [text for text in said if "opposite signs" in text]
    assert "Step Law multiplies the learning rate by 4.11 (D^+0.307)" in conflict
    assert "a factor 13 apart" in conflict
    away = [text for text in said if "standard errors away" in text]
    assert len(away) == 6
    assert "Filatov: B ~ D^(0.45 +- 0.066), derived 1/2, 0.8 standard errors away." in away
    # (0.62 - 1/2) / 0.05 and (0.56 - 1/2) / 0.05.
    held = [text.split(", ")[-1] for text in away if text.startswith("Filatov, batch held: ")]
    assert held == ["2.4 standard errors away.", "1.2 standard errors away."]


def shown(path, *arguments):
    console = Console(record=True, width=160)
    options = parse(TransferOptions, [str(path), *arguments], "quadlaw transfer")
    assert transfer_command(options, console) == 0
    return console.export_text()


def test_the_command_prints_tables_limits_disagreement_and_assumptions(written, tmp_path):
    path = written(toml({**TABLE, "optimizer": "adamw", "parameters": 1e9}))
    text = shown(path, "--tokens", "1.6e11", "--json", str(tmp_path / "out.json"))
    for phrase in ("T^-7/12", "0.00075", "opposite signs", "treated as a sign method", "absolute"):
        assert phrase in text
    assert "one tuned point: exponents" in text
    record = json.loads((tmp_path / "out.json").read_text())
    assert [row["regime"] for row in record["regimes"]][:5] == list(SIXTEEN)
    assert record["regimes"][3]["exponents_of_tokens"] == {
        "eta": "-3/4",
        "alpha": "-1/2",
        "bound": "-1/4",
    }
    assert record["regimes"][3]["momentum"] == pytest.approx(1.0 - 0.1 / 4.0)
    # B / alpha at the old budget, times T^(1/2).
    assert record["momentum_limit_batch_size"] == pytest.approx(4.0 * BATCH / 0.1)
    assert [entry.name for entry in tmp_path.iterdir()] in (
        ["tuned.toml", "out.json"],
        ["out.json", "tuned.toml"],
    )


def test_batch_sizes_in_samples_are_read_and_shown_in_samples(written):
    entries = {**TABLE, "batch_size": 128, "batch_unit": "samples", "sequence_length": 4096}
    path = written(toml(entries, [{"tokens": 4e10, "batch_size": 256, "learning_rate": 2e-3}]))
    runs = read_tuned(path)
    assert runs.points[0].batch_size == 128 * 4096
    assert runs.points[1].alpha == pytest.approx(0.1)
    text = shown(path, "--tokens", "1.6e11")
    assert "batch (samples)" in text
    assert "2 points give exponents without intervals" in text


BAD = {
    "no such file": (None, "No such file"),
    "not TOML": ("optimizer = ", "is no TOML"),
    "missing": ({"momentum": None}, "`momentum` is missing; needed: optimizer, tokens"),
    "missing optimizer": ({"optimizer": None}, "`optimizer` is missing"),
    "unknown optimizer": ({"optimizer": "adamx"}, "unknown optimizer 'adamx'; there are: adam,"),
    "optimizer a number": ({"optimizer": 3}, "unknown optimizer '3'"),
    "unknown entry": ({"batchsize": 8}, "unknown entry 'batchsize'.*Did you mean batch_size"),
    "text": ({"learning_rate": "big"}, "`learning_rate` must be a finite number, got 'big'"),
    "flag": ({"tokens": True}, "`tokens` must be a finite number"),
    "zero rate": ({"learning_rate": 0}, "`learning_rate` must be positive, got 0"),
    "negative tokens": ({"tokens": -1e9}, "`tokens` must be positive, got -1e"),
    "momentum one": ({"momentum": 1.0}, "`momentum` must be at least 0 and below 1, got 1"),
    "negative momentum": ({"momentum": -0.1}, "`momentum` must be at least 0"),
    "batch beyond tokens": ({"batch_size": 1e11}, "`tokens` 1e.10 is less than one batch of 1e.11"),
    "below one sample": ({"sequence_length": 1e6}, "less than one sample of 1e.06"),
    "unknown unit": ({"batch_unit": "rows"}, "unknown `batch_unit` 'rows'"),
    "no length": ({"batch_unit": "samples"}, "`sequence_length` is missing"),
    "negative size": ({"parameters": -1}, "`parameters` must be positive"),
    "more is a number": ({"more": 3}, "`more` must be tables"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_files_are_refused_in_one_line(case, written, tmp_path):
    change, message = BAD[case]
    path = tmp_path / "nowhere.toml"
    if isinstance(change, str):
        path = written(change)
    elif change is not None:
        merged = {key: value for key, value in {**TABLE, **change}.items() if value is not None}
        path = written(toml(merged).replace("True", "true"))
    with pytest.raises(UserError, match=message) as caught:
        read_tuned(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_bad_further_points_are_refused_by_number(written):
    good = {"tokens": 2e10, "batch_size": BATCH, "learning_rate": 1e-3}
    for change, message in (
        ({"learning_rate": -1.0}, "`learning_rate` must be positive in .*number 2, got -1"),
        ({"lr": 1.0}, "unknown entry in .*number 2 'lr'"),
    ):
        with pytest.raises(UserError, match=message):
            read_tuned(written(toml(TABLE, [good, {**good, **change}])))
    short = {"tokens": 2e10, "batch_size": BATCH}
    with pytest.raises(UserError, match=r"`learning_rate` is missing in .*number 1"):
        read_tuned(written(toml(TABLE, [short])))


def test_bad_budgets_and_targets_are_refused(written, tmp_path):
    runs = tuned()
    for tokens, batch, message in (
        (0.0, None, "--tokens must be a positive number"),
        (float("nan"), None, "--tokens must be a positive number"),
        (float("inf"), None, "--tokens must be a positive number"),
        (1e5, None, "less than one batch of 524288 tokens"),
        (1e12, 0.5, "--batch-size must be between one sample"),
        (1e12, 1e13, "--batch-size must be between one sample"),
    ):
        with pytest.raises(UserError, match=message):
            transfer_all(runs, tokens, batch)
    path = written(toml(TABLE))
    with pytest.raises(UserError, match="cannot be written: No such file"):
        shown(path, "--tokens", "1e12", "--json", str(tmp_path / "no" / "out.json"))
    with pytest.raises(UserError, match="--tokens"):
        shown(path)
