"""One law for several optimizers: recovery, a public multi-optimizer grid, refusals."""

from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import huber as scipy_huber

from theory.fit_resampling import bootstrap_form
from theory.fit_uncertainty import percentile_intervals
from theory.fitting import fit_chinchilla, runs
from theory.grouped_runs import grouped_runs
from theory.law_forms import (
    CHINCHILLA,
    ONE_TERM,
    QUANTIZED,
    SEPARATE,
    SHARED,
    freed,
    law_form,
    parameter_labels,
)
from theory.laws import chinchilla
from theory.quantized_law import fused_rescaling, quantized_law
from theory.shared_fitting import fit_form, shared_law_of
from theory.shared_law import shared_law

CELLS = Path(__file__).resolve().parents[2] / "shared/data/marin-optimizers/cells.csv"
TRUE = (1.66, 18.7, 291.0, 0.145, 0.283)
RHO = {"adamw": (1.0, 1.0), "muon": (0.84, 1.71), "lion": (1.03, 0.9)}
# The notes beside the public cells print three decimals.
MARIN_RHO = {
    "cautious": (1.012, 0.996),
    "kron": (0.953, 1.280),
    "lion": (1.031, 0.915),
    "mars": (0.971, 1.126),
    "mini": (1.045, 0.888),
    "muon": (0.843, 1.713),
    "nadamw": (0.966, 1.140),
    "scion": (0.811, 1.712),
    "soape": (0.920, 1.415),
}


def synthetic(noise=0.0, seed=0, sizes=3, rescalings=None):
    """Three optimizers on a grid like the public one."""
    law = shared_law(chinchilla(*TRUE), rescalings or RHO, "adamw")
    one = np.geomspace(1.3e8, 5.4e8 * 4 ** (sizes - 3), sizes).repeat(4)
    size = np.tile(one, 3)
    tokens = size * np.tile([20.0, 40.0, 80.0, 160.0], 3 * sizes)
    index = np.arange(3).repeat(4 * sizes)
    scatter = np.exp(noise * np.random.default_rng(seed).standard_normal(size.size))
    loss = np.asarray(law.loss(index, size, tokens)) * scatter
    return grouped_runs(size, tokens, loss, np.array(law.optimizers)[index])


def marin():
    """The 120 cells of the ten optimizers with three sizes and four ratios, and the 1.2B cells."""
    if not CELLS.is_file():
        pytest.skip("the public multi-optimizer cells are not beside this checkout")
    table = pd.read_csv(CELLS)
    full = table[~table.optimizer.isin(["sophia", "mudam"])]
    fitted = full[(full.N < 1e9) & (full.chinchilla_ratio <= 8)]
    return fitted, full[full.N > 1e9]


def marin_runs(table):
    columns = (table[name].to_numpy() for name in ("N", "D", "min_loss", "optimizer"))
    return grouped_runs(*columns)


@pytest.fixture(scope="module", name="public")
def _public():
    return fit_form(marin_runs(marin()[0]), key=jax.random.key(0))


def test_exact_runs_give_back_exponents_and_rescalings():
    fit = fit_form(synthetic(), starts=16, key=jax.random.key(0))
    law = shared_law_of(fit, "adamw")
    found = (
        law.irreducible,
        law.size_coefficient,
        law.tokens_coefficient,
        law.size_exponent,
        law.tokens_exponent,
    )
    np.testing.assert_allclose(np.array(found, dtype=float), TRUE, rtol=1e-6)
    rho = np.stack([law.size_rescaling, law.tokens_rescaling], axis=1)
    np.testing.assert_allclose(rho, list(RHO.values()), rtol=1e-6)
    assert fit.agreement == 1.0


def test_another_reference_changes_only_the_names_of_things():
    fit = fit_form(synthetic(), starts=8, key=jax.random.key(0))
    law = shared_law_of(fit, "muon")
    assert float(law.tokens_rescaling[0]) == pytest.approx(1 / 1.71, rel=1e-6)
    other = shared_law_of(fit, "adamw")
    for name in RHO:
        ours, theirs = (float(one.of(name).loss(1e9, 1e11)) for one in (law, other))
        assert ours == pytest.approx(theirs, rel=1e-10)


def test_one_group_is_a_chinchilla_fit():
    data = synthetic(0.003)
    alone = runs(data.size, data.tokens, data.loss)
    one = fit_chinchilla(alone, starts=16, key=jax.random.key(0))
    groups = np.array(["all"] * data.loss.size)
    same = fit_form(
        grouped_runs(data.size, data.tokens, data.loss, groups),
        SHARED,
        starts=16,
        key=jax.random.key(1),
    )
    assert same.objective == pytest.approx(one.objective, rel=1e-10)
    np.testing.assert_allclose(same.parameters, one.parameters, rtol=1e-6)


@pytest.mark.slow
def test_separate_laws_are_the_fits_of_each_group_alone():
    data = synthetic(0.002)
    together = fit_form(data, SEPARATE, starts=32, key=jax.random.key(0))
    apart = []
    for place in range(3):
        mine = data.group == place
        one = runs(data.size[mine], data.tokens[mine], data.loss[mine])
        apart.append(fit_chinchilla(one, starts=32, key=jax.random.key(1)).objective)
    assert together.objective == pytest.approx(sum(apart), rel=1e-8)


def test_no_scipy_start_finds_a_lower_objective():
    data = synthetic(0.003)
    fit = fit_form(data, starts=16, key=jax.random.key(0))
    log_n, log_d = np.log(data.size), np.log(data.tokens)
    log_n, log_d = log_n - log_n.mean(), log_d - log_d.mean()

    def value(x):
        by_size = np.exp(x[1:4][data.group] - x[4] * log_n)
        by_tokens = np.exp(x[5:8][data.group] - x[8] * log_d)
        law = np.exp(x[0]) + by_size + by_tokens
        return scipy_huber(1e-3, np.log(law) - np.log(data.loss)).sum() / 1e-3

    assert value(fit.parameters) * 1e-3 == pytest.approx(fit.objective, rel=1e-10)
    for seed in range(3):
        start = fit.parameters + 0.1 * np.random.default_rng(seed).standard_normal(9)
        found = minimize(value, start, method="BFGS")
        assert fit.objective <= found.fun * 1e-3 * (1 + 1e-9)


def test_a_quantized_fit_gives_back_the_formats():
    law = quantized_law(chinchilla(*TRUE), {"int4": 0.7, "int2": 0.15}, "bf16")
    size = np.tile(np.geomspace(3e7, 8e8, 4).repeat(3), 3)
    tokens, index = size * np.tile([25.0, 50.0, 100.0], 12), np.arange(3).repeat(12)
    loss = np.asarray(law.loss(index, size, tokens))
    data = grouped_runs(size, tokens, loss, np.array(law.optimizers)[index])
    found = shared_law_of(fit_form(data, QUANTIZED, starts=16, key=jax.random.key(0)), "bf16")
    np.testing.assert_allclose(found.size_rescaling, [1.0, 0.7, 0.15], rtol=1e-6)
    np.testing.assert_allclose(found.tokens_rescaling, 1.0, rtol=1e-12)


def test_a_one_term_fit_finds_the_fused_rescaling():
    base = chinchilla(1.7, 60.0, 300.0, 0.25, 0.25)
    law = quantized_law(base, {"int2": 0.3}, "bf16")
    size, index = np.tile(np.geomspace(3e7, 8e9, 6), 2), np.arange(2).repeat(6)
    loss = np.asarray(law.loss(index, size, 20 * size))
    data = grouped_runs(size, 20 * size, loss, np.array(law.optimizers)[index])
    fit = fit_form(data, ONE_TERM, starts=16, key=jax.random.key(0))
    amounts, exponent = fit.symbols["A"], fit.symbols["alpha"]
    rho = (amounts[1] / amounts[0]) ** (-1 / exponent[0])
    assert rho == pytest.approx(float(fused_rescaling(base, 0.3, 20.0)), rel=1e-6)


def test_a_form_says_what_it_is():
    assert SHARED.description == "L = E + A_o N^-alpha + B_o D^-beta"
    assert parameter_labels(QUANTIZED, ("a", "b"))[1:3] == ("log A'[a]", "log A'[b]")
    assert freed(SHARED, ["beta"]).grouped == {"A", "B", "beta"}
    assert set(CHINCHILLA.bounds.values()) == {(0.0, np.inf)}
    with pytest.raises(ValueError, match="`symbols` must be one of"):
        freed(SHARED, ["gamma"])
    with pytest.raises(ValueError, match="at least one term"):
        law_form("none", [])
    with pytest.raises(ValueError, match="each coefficient name once"):
        law_form("twice", [("A", {"N": "alpha"}), ("A", {"D": "beta"})])
    with pytest.raises(ValueError, match="`variable` must be one of N, D"):
        law_form("flops", [("A", {"C": "alpha"})])
    with pytest.raises(ValueError, match="`grouped` must be one of"):
        law_form("groups", [("A", {"N": "alpha"})], ["B"])


def test_public_cells_reach_the_reference_optimum(public):
    law = shared_law_of(public, "adamw")
    assert public.objective <= 1.016758e-4 * (1 + 1e-6)
    assert public.agreement == 1.0
    assert public.gradient_norm < 1e-12
    assert float(law.irreducible) == pytest.approx(1.6631, abs=1e-4)
    assert float(law.size_coefficient) == pytest.approx(18.735, abs=1e-3)
    assert float(law.tokens_coefficient) == pytest.approx(290.99, abs=1e-2)
    assert float(law.size_exponent) == pytest.approx(0.1451, abs=1e-4)
    assert float(law.tokens_exponent) == pytest.approx(0.2829, abs=1e-4)
    for name, pair in MARIN_RHO.items():
        place = law.optimizers.index(name)
        found = law.size_rescaling[place], law.tokens_rescaling[place]
        np.testing.assert_allclose(found, pair, atol=6e-4)


def test_shared_exponents_extrapolate_better_on_the_public_cells(public):
    fitted, largest = marin()
    index = np.array([public.data.groups.index(name) for name in largest.optimizer])
    size, tokens, loss = (largest[name].to_numpy() for name in ("N", "D", "min_loss"))
    shared = public.predict(index, size, tokens) - loss
    separate = np.zeros(len(largest))
    for name in largest.optimizer.unique():
        own = fitted[fitted.optimizer == name]
        fit = fit_chinchilla(
            runs(own.N.to_numpy(), own.D.to_numpy(), own.min_loss.to_numpy()),
            starts=64,
            key=jax.random.key(0),
        )
        mine = (largest.optimizer == name).to_numpy()
        separate[mine] = np.asarray(fit.law.loss(size[mine], tokens[mine])) - loss[mine]
    assert len(largest) == 16
    assert np.sqrt(np.mean(shared**2)) == pytest.approx(0.0069, abs=5e-5)
    assert np.sqrt(np.mean(separate**2)) == pytest.approx(0.0109, abs=5e-5)


def test_resampling_keeps_every_optimizers_number_of_cells(public):
    draws = bootstrap_form(public, 200, jax.random.key(1))
    assert draws.converged > 0.99
    law = draws.law("adamw")
    np.testing.assert_array_equal(law.tokens_rescaling[:, 0], 1.0)
    low, high = percentile_intervals(np.asarray(law.tokens_rescaling))
    place = public.data.groups.index("muon")
    assert 1.2 < low[place] < 1.713 < high[place] < 2.7


def test_whole_training_runs_are_drawn_within_an_optimizer():
    data = synthetic(0.002)
    fit = fit_form(data, starts=8, key=jax.random.key(0))
    labels = np.array([f"{o} {n:.3g}" for o, n in zip(data.group, data.size, strict=True)])
    assert bootstrap_form(fit, 20, jax.random.key(0), labels).parameters.shape == (20, 9)
    with pytest.raises(ValueError, match="at least two training runs of every optimizer"):
        bootstrap_form(fit, 20, jax.random.key(0), data.group)
    with pytest.raises(ValueError, match="`groups` must hold 36 labels"):
        bootstrap_form(fit, 20, jax.random.key(0), labels[:5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, d, loss, o: (n, d, loss, o[:5]), "`groups` must hold 36 labels"),
        (lambda n, d, loss, o: (-n, d, loss, o), "`size` must be"),
        (
            lambda n, d, loss, o: (n, d, loss, np.where(np.arange(36) < 3, "few", o)),
            "'few' has 3 distinct",
        ),
    ],
)
def test_unusable_groups_are_refused(change, message):
    data = synthetic()
    labels = np.array(data.groups)[data.group]
    with pytest.raises(ValueError, match=message):
        grouped_runs(*change(data.size, data.tokens, data.loss, labels))


def test_an_unknown_reference_or_form_is_refused():
    fit = fit_form(synthetic(), starts=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`reference` must be one of adamw, muon, lion"):
        shared_law_of(fit, "sgd")
    odd = fit_form(synthetic(), SEPARATE, starts=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`form` must be one of shared, quantized"):
        shared_law_of(odd, "adamw")
