"""Printed tables and laws: they are read right, and agree with each other where they should."""

import numpy as np
import pytest

from theory.bound_library import BOUNDS
from theory.published import (
    LAYER_GAINS,
    LOSS_TABLE,
    MODEL_BATCH_SIZES,
    MODEL_ROWS,
    OPTIMAL_LOG2_NORM,
)
from theory.published_laws import KNOWN, LAWS, published_ratio, published_value
from theory.tuning import derive

from .tolerances import SAME_MATHS

LOSS = np.array(LOSS_TABLE.loss)
NORM = np.array(LOSS_TABLE.log2_norm)
LOG_TOKENS = np.log2(LOSS_TABLE.tokens)
LOG_BATCH = np.log2(LOSS_TABLE.batch_sizes)
PRINTED_LOSS = 0.005  # half a unit of the second decimal


def parabola_minima(losses, width=2):
    """log2 of the best batch size from a parabola through the best entry and its neighbours."""
    found = []
    for row in losses:
        best = int(np.argmin(row))
        near = slice(max(best - width, 0), best + width + 1)
        curve, slope, _ = np.polyfit(LOG_BATCH[near], row[near], 2)
        found.append(-slope / (2.0 * curve))
    return np.array(found)


def test_bold_cells_are_the_row_minima_of_the_table():
    assert LOSS.shape == NORM.shape == (4, 7)
    best = [LOSS_TABLE.batch_sizes[k] for k in np.argmin(LOSS, axis=1)]
    assert tuple(best) == LOSS_TABLE.best
    for row in MODEL_ROWS:
        assert len(row.loss) == len(MODEL_BATCH_SIZES)
        assert MODEL_BATCH_SIZES[int(np.argmin(row.loss))] == row.best
        assert min(row.loss) < LOSS[1].min()  # larger models than the proxy, at the same tokens


def test_parabolas_give_the_printed_growth_of_the_best_batch():
    minima = parabola_minima(LOSS)
    (slope, _), covariance = np.polyfit(LOG_TOKENS, minima, 1, cov=True)
    printed = LAWS["filatov.batch_size"]
    error = np.hypot(printed.errors["D"], np.sqrt(covariance[0, 0]))
    assert abs(slope - printed.exponents["D"]) < 2.0 * error
    # Not so for half or twice the printed exponent: the test can fail.
    assert abs(slope - 2.0 * printed.exponents["D"]) > 2.0 * error
    assert abs(slope - printed.exponents["D"] / 2.0) > 2.0 * error
    # The derived exponent of `learning_rate, batch_size`, too.
    assert abs(slope - 0.5) < 2.0 * error


def test_at_batch_32_more_tokens_do_not_help_and_at_the_best_batch_they_do():
    at_32 = LOSS[:, 0]
    assert at_32[-1] > at_32[0] + PRINTED_LOSS
    assert at_32.max() - at_32.min() < 0.12
    assert np.all(np.diff(LOSS.min(axis=1)) < -0.1)
    assert np.all(np.diff(LOSS[:, -1]) < -0.1)


def test_the_norm_at_the_best_batch_is_constant():
    at_best = NORM[np.arange(4), np.argmin(LOSS, axis=1)]
    value, error = OPTIMAL_LOG2_NORM
    assert np.all(np.abs(at_best - value) < 2.0 * error)
    assert np.ptp(NORM[0]) > 5.0 * error  # across one row it is not


def test_layer_rates_gain_six_percent_at_most_and_less_with_more_tokens():
    gains = np.array([1.0 - with_rates / equal for _, with_rates, equal in LAYER_GAINS])
    assert 0.055 < gains.max() < 0.065
    assert np.all(np.diff(gains) < 0.0)


@pytest.mark.parametrize("name", ["filatov.learning_rate", "filatov_9.learning_rate"])
def test_rate_at_given_batch_and_best_batch_make_the_rate_at_the_best_batch(name):
    rate, batch = LAWS[name], LAWS["filatov.batch_size"]
    joint = LAWS["filatov_best.learning_rate"]
    power = rate.exponents["B"] * batch.exponents["D"] + rate.exponents["D"]
    error = np.sqrt(
        (batch.exponents["D"] * rate.errors["B"]) ** 2
        + (rate.exponents["B"] * batch.errors["D"]) ** 2
        + rate.errors["D"] ** 2
    )
    assert abs(power - joint.exponents["D"]) < error
    if name == "filatov.learning_rate":
        assert round(power, 2) == joint.exponents["D"]
        assert round(float(error), 2) == joint.errors["D"]


@pytest.mark.parametrize(
    ("name", "letter", "tune", "hold", "away"),
    [
        ("filatov.learning_rate", "eta", ["eta"], {"alpha": 1.0, "B": 64.0}, 2.5),
        ("filatov_9.learning_rate", "eta", ["eta"], {"alpha": 1.0, "B": 64.0}, 1.75),
        ("filatov.batch_size", "B", ["eta", "B"], {"alpha": 1.0}, 1.0),
        ("filatov_best.learning_rate", "eta", ["eta", "B"], {"alpha": 1.0}, 0.5),
    ],
)
def test_exponents_of_the_bound_lie_near_the_measured_ones(name, letter, tune, hold, away):
    law = derive(BOUNDS["kovalev"], tune, "tokens", hold).law(letter)
    derived = {"D": law.exponent, "B": law.dependence.get("B")}
    printed = LAWS[name]
    distances = [
        abs(printed.exponents[key] - float(derived[key])) / error
        for key, error in printed.errors.items()
    ]
    assert max(distances) < away
    # In units of the printed error the farthest is really that far: the table above is no slack.
    assert max(distances) > 0.7 * away


def test_step_law_alone_raises_the_learning_rate_with_the_tokens():
    ratios = {"D": 100.0, "B": 1.0}
    factors = {
        name: published_ratio(law, ratios)[0]
        for name, law in LAWS.items()
        if law.quantity == "learning_rate"
    }
    assert {name for name, factor in factors.items() if factor > 1.0} == {"step_law.learning_rate"}


def test_the_two_fits_of_the_learning_rate_agree_where_the_data_lie():
    four, nine = LAWS["filatov.learning_rate"], LAWS["filatov_9.learning_rate"]
    for tokens in LOSS_TABLE.tokens:
        for batch in (128, 512):
            values = {"D": float(tokens), "B": float(batch)}
            apart = np.log2(published_value(four, values) / published_value(nine, values))
            assert abs(apart) < 1.0  # two steps of their grid, 2^(1/2)


def test_values_are_those_of_the_printed_formulas():
    values = {"N": 1e9, "D": 2e10}
    rate = published_value(LAWS["step_law.learning_rate"], values)
    assert rate == pytest.approx(1.79 * 1e9**-0.713 * 2e10**0.307, rel=SAME_MATHS)
    batch = published_value(LAWS["step_law.batch_size"], values)
    assert batch == pytest.approx(0.58 * 2e10**0.571, rel=SAME_MATHS)
    flops = published_value(LAWS["deepseek.batch_size"], {"C": 6.0 * 1e9 * 2e10})
    assert published_value(LAWS["deepseek.batch_size"], values) == pytest.approx(
        flops, rel=SAME_MATHS
    )
    table = {"B": 128.0, "D": 2.0**33}
    assert np.log2(published_value(LAWS["filatov.learning_rate"], table)) == pytest.approx(
        0.62 * 7 - 0.56 * 33 + 9.8, rel=SAME_MATHS
    )


@pytest.mark.parametrize("name", list(LAWS))
def test_a_ratio_is_the_quotient_of_two_values(name):
    law = LAWS[name]
    old, new = {"N": 1e8, "D": 1e10, "B": 64.0}, {"N": 3e8, "D": 7e10, "B": 200.0}
    factor, error = published_ratio(law, {key: new[key] / old[key] for key in old})
    if law.absolute:
        quotient = published_value(law, new) / published_value(law, old)
        assert factor == pytest.approx(quotient, rel=SAME_MATHS)
    assert (error > 0.0) == bool(law.errors)
    assert law.known in KNOWN
    assert (law.constant is None) == (law.constant_known == "")
    assert law.source
    assert law.setting


def test_the_error_of_a_ratio_is_that_of_the_exponents():
    _, error = published_ratio(LAWS["filatov.learning_rate"], {"B": 2.0, "D": 2.0})
    assert error == pytest.approx(np.log(2.0) * np.sqrt(2.0) * 0.05, rel=SAME_MATHS)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="ratios only: no constant recovered"):
        published_value(LAWS["bjorck.learning_rate"], {"N": 1e9, "D": 1e9})
    with pytest.raises(ValueError, match="ratios only: unit of the constant"):
        published_value(LAWS["critical.batch_size"], {"D": 1e9})
    with pytest.raises(ValueError, match="needs N"):
        published_value(LAWS["step_law.learning_rate"], {"D": 1e9})
    with pytest.raises(ValueError, match="needs B"):
        published_ratio(LAWS["filatov.learning_rate"], {"D": 10.0})
    with pytest.raises(ValueError, match="`D` must be a finite number and positive, got -1"):
        published_ratio(LAWS["filatov.batch_size"], {"D": -1.0})
