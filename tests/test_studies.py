"""The studies' own logic: measured parts, the frontier, slopes, and small whole runs."""

import numpy as np
import pytest

from experiments.claims import CLAIMS
from experiments.claims.stochastic import BATCHES, NOISES, sgd_monte_carlo
from experiments.progress import Progress
from experiments.studies import STUDIES, bigram, decomposition, emergence
from experiments.studies.emergence import frontier

from .tolerances import SAME_MATHS, Z_SCORE


@pytest.fixture(scope="module")
def split():
    return decomposition.compute(decomposition.DecompositionConfig.quick(), Progress())


@pytest.fixture(scope="module")
def grid():
    config = emergence.EmergenceConfig(sizes_per_decade=1, steps_per_decade=2, starts=4)
    return emergence.compute(config, Progress())


def test_simulated_parts_agree_with_exact_ones(split):
    descent = split.sel({"method": "gd"})
    np.testing.assert_allclose(descent.simulated, descent.exact, rtol=SAME_MATHS, atol=1e-15)
    stochastic = split.sel({"method": "sgd"}).isel(steps=[3, 10, -1])
    for part in ("total", "noise"):
        difference = stochastic.simulated.sel(part=part) - stochastic.exact.sel(part=part)
        error = stochastic[f"simulated_{part}_error"]
        assert float(abs(difference / error).max()) <= Z_SCORE


def test_parts_sum_to_the_total(split):
    for route in ("exact", "simulated"):
        parts = split[route].sel(part=list(decomposition.PARTS)).sum(dim="part")
        total = split[route].sel(part="total")
        # The simulated split removes 1/S of the noise from the bias, once for all seeds.
        np.testing.assert_allclose(parts, total, rtol=SAME_MATHS if route == "exact" else 1e-9)


def test_additivity_gap_is_the_untrained_share_of_the_optimization_error(grid):
    size, step = 2, 5
    modes = np.arange(1, 2_000_001, dtype=float)
    contraction = (1 - 0.5 * modes**-1.5) ** (2 * float(grid.steps[step]))
    untrained = modes > float(grid["size"][size])
    brute = np.sum(modes[untrained] ** -1.8 * contraction[untrained]) / 2
    # Beyond two million modes nothing has moved: the tail is N^-0.8 / 1.6 to first order.
    brute += (modes[-1] + 0.5) ** -0.8 / 1.6
    assert float(grid.additivity_gap[size, step]) == pytest.approx(brute, rel=1e-7)


def test_frontier_finds_the_vertex_of_a_parabola():
    sizes = np.geomspace(1, 100, 9)
    losses = np.exp((np.log(sizes / 7.3)) ** 2)[:, None] * np.array([[1.0, 2.0]])
    best_size, best_loss = frontier(sizes, losses)
    np.testing.assert_allclose(best_size, 7.3, rtol=1e-9)
    np.testing.assert_allclose(best_loss, [1.0, 2.0], rtol=1e-9)


def test_frontier_does_not_report_an_edge_as_an_optimum():
    sizes = np.geomspace(1, 100, 9)
    best_size, best_loss = frontier(sizes, sizes[:, None] ** -1.0)
    assert np.isnan(best_size).all()
    assert np.isnan(best_loss).all()


def test_wider_windows_bring_the_fit_closer_to_the_derived_exponents(grid):
    alpha, beta = grid.derived.values
    for name, derived in (("size_exponent", alpha), ("tokens_exponent", beta)):
        gaps = abs(grid.law.sel(parameter=name) - derived).values
        assert gaps[0] > gaps[1] > gaps[2]


def test_bigram_simulation_follows_the_exact_curve_of_its_text(tmp_path):
    words = "the cat sat on the mat and the dog sat on the cat while a bird sang to the dog . "
    (tmp_path / "story.txt").write_text((words * 40) + ("so it goes . " * 60))
    config = bigram.BigramConfig(
        text=str(tmp_path), vocabulary=16, window_first=1, window_last=12, simulated_horizon=50
    )
    dataset = bigram.compute(config, Progress())
    np.testing.assert_allclose(dataset.simulated_loss, dataset.exact_at_steps, rtol=SAME_MATHS)


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_is_known_by_its_own_name_and_has_a_quick_preset(name):
    study = STUDIES[name]
    assert study.name == name
    assert study.title
    assert study.config.quick() != study.config()


@pytest.mark.slow
def test_all_claims_hold_in_full():
    failed = [v for check in CLAIMS.values() for v in check(False) if not v.passed]
    assert not failed


def test_monte_carlo_claims_hold_for_every_noise_and_batch():
    verdicts = sgd_monte_carlo(True)
    assert len(verdicts) == len(NOISES) * len(BATCHES)
    assert [verdict.claim for verdict in verdicts if not verdict.passed] == []


def test_another_text_is_another_record(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("a b c " * 50)
    before = bigram.resolve(bigram.BigramConfig(text=str(file)))
    file.write_text("a b d " * 50)
    after = bigram.resolve(bigram.BigramConfig(text=str(file)))
    assert before != after
    with pytest.raises(ValueError, match="`text_digest` must be"):
        bigram.resolve(before)
    with pytest.raises(ValueError, match="`text_digest` must be"):
        bigram.compute(before, Progress())


@pytest.mark.parametrize(
    ("compute", "config", "name"),
    [
        (decomposition.compute, decomposition.DecompositionConfig(seeds=0), "seeds"),
        (decomposition.compute, decomposition.DecompositionConfig(points=1), "points"),
        (decomposition.compute, decomposition.DecompositionConfig(horizon=0), "horizon"),
        (decomposition.compute, decomposition.DecompositionConfig(total_size=10), "total_size"),
        (decomposition.compute, decomposition.DecompositionConfig(learning_rate=2.1), "learning"),
        (emergence.compute, emergence.EmergenceConfig(starts=0), "starts"),
        (emergence.compute, emergence.EmergenceConfig(sizes_per_decade=0), "sizes_per_decade"),
        (bigram.compute, bigram.BigramConfig(vocabulary=1), "vocabulary"),
        (bigram.compute, bigram.BigramConfig(vocabulary=300, window_last=500), "window"),
    ],
)
def test_fields_outside_their_domain_are_named(compute, config, name):
    with pytest.raises(ValueError, match=f"`{name}"):
        compute(config, Progress())
