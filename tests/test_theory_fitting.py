"""Fits: recovery, reference optima on public runs, conditioning, bootstrap, refusals."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import huber as scipy_huber

from theory.fit_losses import Kind, huber, make_objective
from theory.fit_uncertainty import bootstrap, conditioning, percentile_intervals, warnings_of
from theory.fitting import fit_chinchilla, runs
from theory.newton import newton
from theory.objectives import derivatives, log_law, value_of
from theory.objectives import design as linear_forms

from .tolerances import FINITE_DIFFERENCE, SAME_MATHS

SHARED_RUNS = Path(__file__).resolve().parents[2] / "shared/data/chinchilla-epoch/runs.csv"
TRUE = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def design(noise=0.0, seed=0, count=240):
    """Runs spread like the public 240: 16 sizes, 15 token counts."""
    generator = np.random.default_rng(seed)
    size = np.geomspace(5e7, 1.6e10, 16).repeat(15)
    tokens = np.tile(np.geomspace(5e8, 3e11, 15), 16)
    loss = (
        TRUE["E"] + TRUE["A"] * size ** -TRUE["alpha"] + TRUE["B"] * tokens ** -TRUE["beta"]
    ) * np.exp(noise * generator.standard_normal(size.size))
    return size[:count], tokens[:count], loss[:count]


def plain(law):
    names = "irreducible", "size_coefficient", "tokens_coefficient", "size_exponent"
    return [float(getattr(law, name)) for name in (*names, "tokens_exponent")]


def public_runs(all_rows=False):
    if not SHARED_RUNS.is_file():
        pytest.skip("the public Chinchilla runs are not beside this checkout")
    table = pd.read_csv(SHARED_RUNS)
    kept = table if all_rows else table[~table.excluded_by_epoch]
    return runs(kept.N.to_numpy(), kept.D.to_numpy(), kept.loss.to_numpy())


@pytest.fixture(scope="module")
def noisy():
    return fit_chinchilla(runs(*design(0.003)), starts=32, key=jax.random.key(0))


@pytest.fixture(scope="module")
def smooth():
    """A threshold beyond the noise: at 1e-3 few residuals carry the curvature of the objective."""
    data = runs(*design(0.003))
    return fit_chinchilla(data, delta=0.01, starts=32, key=jax.random.key(0))


def test_exact_runs_are_recovered_to_six_digits_from_every_start():
    fit = fit_chinchilla(runs(*design()), key=jax.random.key(1))
    np.testing.assert_allclose(plain(fit.law), list(TRUE.values()), rtol=1e-6)
    assert fit.objective < 1e-20
    assert fit.gradient_norm < 1e-12
    assert fit.agreement == 1.0


def test_objective_is_scipys_huber_summed():
    size, tokens, loss = design(0.01)
    data = runs(size, tokens, loss)
    point = np.array([0.3, 0.1, 0.3, 0.2, 0.4])
    n0, d0 = np.exp(np.log(size).mean()), np.exp(np.log(tokens).mean())
    law = np.exp(0.3) + np.exp(0.1) * (size / n0) ** -0.3 + np.exp(0.2) * (tokens / d0) ** -0.4
    forms = linear_forms(data.log_size, data.log_tokens).forms
    for delta in (1e-3, 0.1, 10.0):
        expected = scipy_huber(delta, np.log(law) - np.log(loss)).sum()
        value = value_of(jnp.asarray(point), forms, data.log_loss, make_objective("huber", delta))
        assert float(value) == pytest.approx(expected, rel=SAME_MATHS)
    squares: dict[Kind, np.ndarray] = {"mse_log": np.log(law / loss), "mse": law - loss}
    for kind, residual in squares.items():
        value = value_of(jnp.asarray(point), forms, data.log_loss, make_objective(kind))
        assert float(value) == pytest.approx((residual**2).sum() / 2, rel=SAME_MATHS)


@pytest.mark.parametrize("kind", ["huber", "mse_log", "mse"])
def test_derivatives_agree_with_finite_differences_and_autodiff(kind: Kind):
    data, chosen = runs(*design(0.01)), make_objective(kind, 0.05)
    terms = linear_forms(data.log_size, data.log_tokens)
    point, step, ones = jnp.array([0.3, -1.0, 0.3, -1.2, 0.4]), 1e-6, jnp.ones(240)
    evaluate = jax.jit(lambda x: derivatives(x, terms, data.log_loss, ones, chosen))
    value, gradient, hessian = evaluate(point)

    def plain_value(x):
        return value_of(x, terms.forms, data.log_loss, chosen)

    assert float(value) == pytest.approx(float(plain_value(point)), rel=SAME_MATHS)
    automatic = jax.hessian(plain_value)(point)
    np.testing.assert_allclose(hessian, automatic, rtol=1e-10, atol=1e-12 * np.abs(hessian).max())
    for i in range(5):
        shift = jnp.zeros(5).at[i].set(step)
        central = (plain_value(point + shift) - plain_value(point - shift)) / (2 * step)
        assert float(gradient[i]) == pytest.approx(float(central), rel=FINITE_DIFFERENCE)


def test_weights_count_runs():
    data, chosen = runs(*design(0.01)), make_objective()
    terms = linear_forms(data.log_size, data.log_tokens)
    point, counts = jnp.array([0.3, -1.0, 0.3, -1.2, 0.4]), np.arange(240) % 4
    weighted = derivatives(point, terms, data.log_loss, jnp.asarray(counts, float), chosen)
    rows = np.repeat(np.arange(240), counts)
    repeated = linear_forms(data.log_size[rows], data.log_tokens[rows])
    plain_sum = derivatives(point, repeated, data.log_loss[rows], jnp.ones(rows.size), chosen)
    for ours, theirs in zip(weighted, plain_sum, strict=True):
        scale = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=SAME_MATHS, atol=SAME_MATHS * scale)


def test_huber_slopes():
    assert float(jax.grad(huber)(0.2, 0.1)) == pytest.approx(0.1)
    assert float(jax.grad(huber)(0.0, 0.1)) == 0.0


def test_newton_leaves_a_saddle_and_follows_a_curved_valley():
    def rosenbrock(x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    def double_well(x):
        return (x[0] ** 2 - 1) ** 2 + x[1] ** 2

    def run(function, start):
        def evaluate(x):
            return function(x), jax.grad(function)(x), jax.hessian(function)(x)

        return np.asarray(jax.jit(lambda x: newton(evaluate, x))(jnp.array(start)))

    np.testing.assert_allclose(run(rosenbrock, [-1.2, 1.0]), [1.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(run(double_well, [0.01, 2.0]), [1.0, 0.0], atol=1e-9)


def test_no_scipy_start_finds_a_lower_objective(noisy):
    data, chosen = noisy.data, make_objective("huber", 1e-3)
    forms = linear_forms(data.log_size, data.log_tokens).forms
    value = jax.jit(lambda x: value_of(x, forms, data.log_loss, chosen) / 1e-3)
    gradient = jax.jit(jax.grad(value))
    for seed in range(5):
        start = noisy.parameters + 0.3 * np.random.default_rng(seed).standard_normal(5)
        other = minimize(value, start, jac=gradient, method="BFGS", options={"gtol": 1e-9})
        assert noisy.objective <= other.fun * 1e-3 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("delta", "expected", "value"),
    [
        (1e-3, (1.8172181, 477.825868, 2143.41736, 0.347310499, 0.367172433), 1.018274017801e-3),
        (1e-4, (1.815823579, 478.6887052, 2065.412988, 0.3474088515, 0.3653847317), None),
        (1e-2, (1.838078616, 538.751877, 2905.59993, 0.3544155035, 0.3815375249), None),
        (1.0, (1.864550095, 593.3221016, 4875.637808, 0.3602527982, 0.4058833619), None),
    ],
)
def test_public_runs_reach_the_reference_optimum(delta, expected, value):
    fit = fit_chinchilla(public_runs(), delta=delta, key=jax.random.key(0))
    np.testing.assert_allclose(plain(fit.law), expected, rtol=1e-7)
    assert fit.agreement == 1.0
    assert fit.gradient_norm < 1e-12
    if value is not None:
        assert fit.objective <= value * (1 + 1e-9)


def test_all_public_runs_reach_the_reference_optimum():
    fit = fit_chinchilla(public_runs(all_rows=True), key=jax.random.key(0))
    expected = (1.891338499, 495.7260088, 12845.61327, 0.3493128937, 0.4530492956)
    np.testing.assert_allclose(plain(fit.law), expected, rtol=1e-7)
    assert fit.objective == pytest.approx(1.826010523e-3, rel=1e-9)


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 6, 12))]
)
def test_no_start_loses_a_term_of_the_law(seed):
    # With a gradient summed over the runs, BFGS threw one start of each of these away.
    assert fit_chinchilla(public_runs(), key=jax.random.key(seed)).agreement == 1.0


@pytest.mark.slow
def test_squares_on_the_loss_reach_the_reference_optimum():
    fit = fit_chinchilla(public_runs(), kind="mse", key=jax.random.key(0))
    expected = (1.88281, 567.81, 7581.8, 0.35762, 0.42762)
    # Printed values: half a unit of their last digit.
    half = (5e-6, 5e-3, 0.06, 5e-6, 5e-6)
    assert np.all(np.abs(np.subtract(plain(fit.law), expected)) < half)
    assert 2 * fit.objective == pytest.approx(0.083204, rel=1e-5)
    assert fit.agreement == 1.0
    logarithmic = fit_chinchilla(public_runs(), kind="mse_log", key=jax.random.key(0))
    # Huber with a threshold beyond every residual is the same sum of squares.
    wide = fit_chinchilla(public_runs(), delta=1.0, key=jax.random.key(0))
    np.testing.assert_allclose(plain(logarithmic.law), plain(wide.law), rtol=1e-9)


def test_the_published_fit_is_the_absolute_error_limit():
    fit = fit_chinchilla(public_runs(), delta=1e-6, starts=32, key=jax.random.key(0))
    _, a, b, *_ = plain(fit.law)
    assert (a, b) == (pytest.approx(481.93, abs=5e-3), pytest.approx(2085.00, abs=5e-3))


def test_conditioning_of_the_public_runs():
    found = conditioning(fit_chinchilla(public_runs(), starts=16, key=jax.random.key(0)))
    assert found.plain == pytest.approx(3.5e13, rel=0.02)
    assert found.logarithmic == pytest.approx(9.9e6, rel=0.01)
    assert found.centred == pytest.approx(1.1e4, rel=0.05)
    raw = found.logarithmic_correlation
    assert raw[1, 2] == pytest.approx(0.9992, abs=5e-5)
    assert raw[3, 4] == pytest.approx(0.9996, abs=5e-5)
    assert raw[2, 4] == pytest.approx(-0.33, abs=5e-3)
    assert raw[0, 2] == pytest.approx(0.77, abs=5e-3)


def test_standard_errors_agree_with_the_scatter_of_repeated_experiments(smooth):
    estimated = conditioning(smooth).standard_errors
    start = jax.random.key(3)
    refits = [
        fit_chinchilla(runs(*design(0.003, seed)), delta=0.01, starts=4, key=start).parameters
        for seed in range(1, 41)
    ]
    scatter = np.std(refits, axis=0, ddof=1)
    # Forty repeats know a standard deviation to 11 %; three such errors.
    np.testing.assert_allclose(scatter, estimated, rtol=0.34)


def test_bootstrap_agrees_with_the_standard_errors(smooth):
    draws = bootstrap(smooth, 400, jax.random.key(5))
    spread = draws.parameters.std(axis=0, ddof=1)
    # 400 draws know a standard deviation to 3.5 %, 240 residuals their own to 5 %: three of both.
    np.testing.assert_allclose(spread, conditioning(smooth).standard_errors, rtol=0.19)
    low, high = percentile_intervals(np.asarray(draws.law.size_exponent))
    assert low < TRUE["alpha"] < high


def test_bootstrap_refits_converge_where_the_objective_is_nearly_piecewise_linear(noisy):
    assert bootstrap(noisy, 400, jax.random.key(5)).converged == 1.0


def test_bootstrap_is_reproducible_and_draws_whole_groups(noisy):
    groups = np.arange(240) // 15
    first, again = (bootstrap(noisy, 20, jax.random.key(2), groups) for _ in range(2))
    np.testing.assert_array_equal(first.parameters, again.parameters)
    one_group = bootstrap(noisy, 20, jax.random.key(2), np.zeros(240))
    # A single group is always drawn whole: nothing is resampled.
    np.testing.assert_allclose(one_group.parameters, np.tile(noisy.parameters, (20, 1)), rtol=1e-6)


def test_a_floor_that_the_runs_do_not_show_is_reported():
    size, tokens, _ = design()
    loss = 400 * size**-0.34 + 400 * tokens**-0.28
    fit = fit_chinchilla(runs(size, tokens, loss), starts=16, key=jax.random.key(0))
    said = " ".join(warnings_of(fit, conditioning(fit)))
    assert "E is not identifiable" in said


def test_runs_at_one_ratio_of_tokens_to_size_are_reported():
    size = np.geomspace(1e8, 1e10, 12)
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(12))
    loss = (1.69 + 400 * size**-0.34 + 410 * (20 * size) ** -0.28) * noise
    fit = fit_chinchilla(runs(size, 20 * size, loss), starts=32, key=jax.random.key(0))
    assert "vary together" in " ".join(warnings_of(fit, conditioning(fit)))


def test_a_sound_fit_raises_no_warning(noisy):
    assert warnings_of(noisy, conditioning(noisy)) == []


def test_log_law_does_not_overflow():
    forms = linear_forms(jnp.zeros(1), jnp.zeros(1)).forms
    value = log_law(jnp.array([0.0, 800.0, 0.1, -800.0, 0.1]), forms)
    assert float(value[0]) == 800.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, d, loss: (n * 0 + 1e9, d, loss), "`size` must vary"),
        (lambda n, d, loss: (n, d * 0 + 1e9, loss), "`tokens` must vary"),
        (lambda n, d, loss: (-n, d, loss), "`size` must be"),
        (lambda n, d, loss: (n, d, loss * np.nan), "`loss` must be"),
        (lambda n, d, loss: (n[:4], d[:4], loss[:4]), "at least 5 distinct"),
        (lambda n, d, loss: (n[:9], d, loss), "one length"),
    ],
)
def test_unusable_runs_are_refused(change, message):
    size, tokens, loss = design()
    order = np.random.default_rng(0).permutation(240)
    with pytest.raises(ValueError, match=message):
        runs(*change(size[order], tokens[order], loss[order]))


def test_bad_options_are_refused(noisy):
    with pytest.raises(ValueError, match="`delta`"):
        fit_chinchilla(noisy.data, delta=0.0, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`kind`"):
        fit_chinchilla(noisy.data, kind="l3", key=jax.random.key(0))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`starts`"):
        fit_chinchilla(noisy.data, starts=0, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`draws`"):
        bootstrap(noisy, 0, jax.random.key(0))
    with pytest.raises(ValueError, match="`groups`"):
        bootstrap(noisy, 2, jax.random.key(0), np.zeros(3))
    with pytest.raises(ValueError, match="`level`"):
        percentile_intervals(np.zeros(3), 1.0)
