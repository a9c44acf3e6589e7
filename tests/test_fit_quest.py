"""QuEST's 104 public runs: the published objective reproduced, and beaten by a converged fit."""

import json
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from experiments.fit_options import FitOptions
from experiments.fit_runs import fit_command
from experiments.tables import plain_console
from theory.fit_warnings import bounds_hit
from theory.grouped_runs import grouped_runs
from theory.law_forms import QUANTIZED
from theory.laws import chinchilla
from theory.published_quantization import QUEST_FIT, quest_format
from theory.quantized_law import quantized_law
from theory.shared_fitting import fit_form, shared_law_of

FILE = Path(__file__).resolve().parents[2] / "shared/data/quest-quantised/runs.csv"


@pytest.fixture(scope="module")
def table():
    """The runs with the format that each counts under."""
    if not FILE.is_file():
        pytest.skip("the public quantized runs are not beside this checkout")
    found = pd.read_csv(FILE)
    rows = zip(found.w_quant, found.a_quant, found.w_bits, strict=True)
    return found.assign(format=[quest_format(w, a, bits) for w, a, bits in rows])


def grouped(table):
    size, tokens = (table[name].to_numpy(float) for name in ("non_embedding_parameters", "tokens"))
    return grouped_runs(size, tokens, table.loss.to_numpy(), table.format.to_numpy(), 2)


@pytest.fixture(scope="module")
def runs(table):
    return grouped(table)


@pytest.fixture(scope="module")
def fit(runs):
    return fit_form(runs, QUANTIZED, kind="mse_log", starts=16, key=jax.random.key(0))


def published_residuals(runs):
    law = chinchilla(
        QUEST_FIT.irreducible,
        QUEST_FIT.size_coefficient,
        QUEST_FIT.tokens_coefficient,
        QUEST_FIT.size_exponent,
        QUEST_FIT.tokens_exponent,
    )
    shared = quantized_law(law, QUEST_FIT.efficiency, QUEST_FIT.reference)
    predicted = np.empty(runs.loss.size)
    for place, name in enumerate(runs.groups):
        mine = runs.group == place
        predicted[mine] = shared.of(name).loss(runs.size[mine], runs.tokens[mine])
    return np.log(runs.loss / predicted)


def test_the_published_objective_is_reproduced_to_its_printed_digits(runs):
    half_squares = np.sum(published_residuals(runs) ** 2) / 2
    # Efficiencies are printed to nine digits.
    assert half_squares == pytest.approx(QUEST_FIT.half_squares, rel=1e-7)


def test_the_converged_fit_is_better_than_the_published_one(fit):
    assert fit.objective < QUEST_FIT.half_squares * (1 - 4e-4)
    assert fit.objective == pytest.approx(7.380535e-4, rel=1e-6)
    assert fit.agreement == 1.0
    assert fit.gradient_norm < 1e-10


def test_what_the_published_fit_left_is_its_floor(fit):
    # The descent stopped on its way to E = 0, which is the optimum: nothing else moves.
    assert bounds_hit(fit) == ("log E",)
    law = shared_law_of(fit, QUEST_FIT.reference)
    for name, rho in zip(law.optimizers, np.asarray(law.size_rescaling), strict=True):
        assert float(rho) == pytest.approx(QUEST_FIT.efficiency[name], rel=2e-3), name
    exponents = float(law.size_exponent), float(law.tokens_exponent)
    published = QUEST_FIT.size_exponent, QUEST_FIT.tokens_exponent
    assert exponents == pytest.approx(published, rel=1e-3)


def test_the_residual_of_the_fit_is_that_of_its_law(runs, fit):
    assert np.sum(fit.residuals**2) / 2 == pytest.approx(fit.objective, rel=1e-12)
    law = shared_law_of(fit, QUEST_FIT.reference)
    place = runs.groups.index("4")
    mine = runs.group == place
    predicted = law.of("4").loss(runs.size[mine], runs.tokens[mine])
    np.testing.assert_allclose(np.log(runs.loss[mine] / predicted), fit.residuals[mine], atol=1e-12)


def test_a_robust_fit_moves_efficiencies_by_a_few_percent(runs, fit):
    robust = fit_form(runs, QUANTIZED, starts=16, key=jax.random.key(0))
    assert robust.agreement > 0.9
    moved = [
        np.asarray(shared_law_of(found, QUEST_FIT.reference).size_rescaling)
        for found in (fit, robust)
    ]
    change = np.abs(np.log(moved[1] / moved[0]))
    assert 0.01 < change.max() < 0.1


@pytest.mark.slow
def test_the_command_line_finds_the_same_fit(table, tmp_path):
    # Eight bits with rotation have three runs, one fewer than the command asks for.
    table.to_csv(tmp_path / "runs.csv", index=False)
    options = FitOptions(
        tmp_path / "runs.csv",
        n="non_embedding_parameters",
        d="tokens",
        law="quantized",
        optimizer_column="format",
        reference="16",
        keep=("format!=8",),
        objective="mse-log",
        basic=True,
        bootstrap=20,
        starts=16,
        report=tmp_path / "report",
    )
    assert fit_command(options, plain_console()) == 0
    record = json.loads((tmp_path / "report" / "fit.json").read_text())
    expected = fit_form(
        grouped(table[table.format != "8"]),
        QUANTIZED,
        kind="mse_log",
        starts=16,
        key=jax.random.key(1),
    )
    assert record["objective"]["value"] == pytest.approx(expected.objective, rel=1e-9)
    assert record["rows"] == 101
    assert record["on_a_bound"] == ["log E"]
