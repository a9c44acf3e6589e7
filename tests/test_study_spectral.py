"""The study of matrices: what bases change for each method, spectra of a text, bad input."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import spectral_tables
from experiments.progress import Progress
from experiments.spectral_methods import METHODS
from experiments.spectral_text import spectra
from experiments.studies import spectral
from experiments.studies.spectral import SpectralConfig
from experiments.study import run_study
from simulate.bigram import bigram
from simulate.text import count_bigrams

from .presets import tiny_config

WORDS = "the cat saw the dog and the dog saw a cat near the old tree . " * 40


@pytest.fixture(scope="module")
def record(results):
    return run_study(spectral.STUDY, tiny_config(SpectralConfig), results, Progress())[0]


def test_losses_agree_with_theory_wherever_a_method_sees_modes(record):
    for name, method in METHODS.items():
        off = record.off.sel({"method": name})
        for alignment in record.alignment.values:
            known = str(alignment) in method.sees
            assert np.isfinite(off.sel(alignment=alignment)) == known
            if known:
                assert float(off.sel(alignment=alignment)) < 1e-10
    assert float(record.text_off.max()) < 1e-10


def test_turning_changes_entrywise_methods_only(record):
    for method in ("gd", "normalized_sgd", "muon", "shampoo"):
        assert spectral_tables.difference(record, method) < spectral_tables.INVARIANT
    for method in ("sign", "adam", "soap"):
        assert spectral_tables.difference(record, method) > 0.5


def test_verdicts_come_from_exact_curves_where_there_are_any(record):
    verdicts = spectral_tables.judgements(record)
    assert verdicts["gd", "aligned"].holds == "holds"
    assert verdicts["muon", "turned"].holds == "holds"
    # The same exact curve judged: turning cannot matter where singular values are all one sees.
    assert verdicts["muon", "aligned"] == verdicts["muon", "turned"]
    assert verdicts["sign", "turned"].holds != "holds"


def test_summary_has_whole_rows(record):
    tables = spectral_tables.summary(record)
    assert len(tables) == len(record.alignment) + 3
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_spectra_of_a_text_hold_the_loss_of_its_bigram_matrix():
    counts = count_bigrams(WORDS, 8)
    problem = bigram(counts)
    rows, pairs = spectra(counts)
    start = float(problem.loss(problem.init()) - problem.floor)
    assert float(np.sum(rows.energies)) / 2 == pytest.approx(start, rel=1e-12)
    assert float(np.sum(pairs.energies)) / 2 == pytest.approx(start, rel=1e-12)
    first = np.asarray(counts.block).sum(axis=0)
    assert rows.eigenvalues.size == np.unique(counts.pair[first > 0] // 8).size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizons": (5, 9, 17)}, "`horizons` must be at least 4"),
        ({"horizons": (5, 9, 9, 17)}, "`horizons` must be at least 4, increasing"),
        ({"sizes": (8, 16, 33)}, "`sizes` must be three in a constant ratio"),
        ({"sizes": (16, 16, 16)}, "`sizes` must increase"),
        ({"vocabularies": (0, 5)}, "`vocabularies` must be"),
        ({"text_horizons": (0, 3)}, "`text_horizons` must be"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        spectral.compute(replace(SpectralConfig.quick(), **changes), Progress())
