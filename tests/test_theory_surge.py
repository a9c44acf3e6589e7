import jax
import numpy as np
import pytest
from scipy.special import erf

from tests.tolerances import FINITE_DIFFERENCE, SAME_MATHS, Z_SCORE
from theory.batch_noise import sign_step
from theory.surge import (
    approximate_mean_sign,
    gain_noise_scale,
    small_batch_surge,
    surge,
    surge_rate,
)

SIZE, COUPLING, KAPPA = 40, 0.1, 20.0
COUPLED = COUPLING * np.ones((SIZE, SIZE)) + (1 - COUPLING) * np.eye(SIZE)
SIGNS = np.where(np.arange(SIZE) % 3 == 0, -1.0, 1.0)
# Coupled along the signs of the gradient, whatever they are.
TURNED = COUPLED * np.outer(SIGNS, SIGNS)
GRADIENT = SIGNS * np.linspace(0.5, 2.0, SIZE)
BATCHES = np.geomspace(1e-2, 1e6, 40_001)


def brute_rates(gradient, std, hessian, batches):
    """The best rate from means and products of independent signs, entry by entry."""
    mean = erf(np.sqrt(np.asarray(batches)[:, None] / 2) * gradient / std)
    products = mean[:, :, None] * mean[:, None, :]
    products[:, np.arange(gradient.size), np.arange(gradient.size)] = 1.0
    return mean @ gradient / np.einsum("bij,ij->b", products, hessian)


def test_the_peak_by_brute_force():
    found = surge(GRADIENT, TURNED, KAPPA)
    near = np.geomspace(0.9, 1.1, 4001) * float(found.exact_batch)
    rates = brute_rates(GRADIENT, KAPPA * np.abs(GRADIENT), TURNED, near)
    assert near[rates.argmax()] == pytest.approx(float(found.exact_batch), rel=1e-4)
    assert rates.max() == pytest.approx(float(found.max_learning_rate), rel=1e-8)
    assert float(found.beta_n) == pytest.approx(
        np.sqrt(1 / (COUPLING * (SIZE - 1))), rel=SAME_MATHS
    )


def test_the_whole_curve_by_brute_force_and_by_draws():
    std = KAPPA * np.abs(GRADIENT)
    batches = np.array([1.0, 40.0, 1e4])
    step = sign_step(GRADIENT, std, TURNED, batches)
    brute = brute_rates(GRADIENT, std, TURNED, batches)
    assert np.allclose(step.learning_rate, brute, rtol=SAME_MATHS)
    draws = np.random.default_rng(0).normal(size=(40_000, SIZE))
    signs = np.sign(GRADIENT + std / np.sqrt(40.0) * draws)
    slopes, curves = signs @ GRADIENT, np.einsum("si,ij,sj->s", signs, TURNED, signs)
    rate = slopes.mean() / curves.mean()
    residual = (slopes - rate * curves) / curves.mean()
    error = residual.std() / np.sqrt(residual.size)
    assert abs(rate - float(step.learning_rate[1])) < Z_SCORE * error


def test_the_printed_check_with_unequal_signal_to_noise():
    # 200 coordinates, correlation 0.02, gradients 0.05 |N(0,1)|, unit noise: the exact peak is at
    # B = 274, rate 0.01383; the small-batch formula says 259.5 and 0.01485.
    gradient = 0.05 * np.abs(np.random.default_rng(0).normal(size=200))
    hessian = 0.02 * np.ones((200, 200)) + 0.98 * np.eye(200)
    height, batch = small_batch_surge(gradient, hessian, 1.0)
    assert float(batch) == pytest.approx(259.5, abs=0.05)
    assert float(height) == pytest.approx(0.01485, abs=5e-6)
    batches = np.geomspace(200, 400, 2001)
    rates = np.asarray(sign_step(gradient, 1.0, hessian, batches).learning_rate)
    assert rates.max() == pytest.approx(0.01383, abs=5e-6)
    assert batches[rates.argmax()] == pytest.approx(273.8, abs=0.5)


def test_no_surge_without_coupling_or_with_too_little():
    std = KAPPA * np.abs(GRADIENT)
    for hessian in (np.ones(SIZE), np.eye(SIZE), 0.02 * (TURNED - np.eye(SIZE)) + np.eye(SIZE)):
        found = surge(GRADIENT, hessian, KAPPA)
        assert float(found.beta_n) > 1
        assert np.isnan(float(found.max_learning_rate))
        assert np.isinf(float(found.exact_batch))
        assert np.isinf(float(found.approximate_batch))
        rates = np.asarray(sign_step(GRADIENT, std, hessian, BATCHES).learning_rate)
        assert np.all(np.diff(rates) >= -SAME_MATHS * rates[-1])


def test_a_surge_turns_the_rate_but_never_the_gain():
    step = sign_step(GRADIENT, KAPPA * np.abs(GRADIENT), TURNED, BATCHES)
    assert np.asarray(step.learning_rate)[-1] < 0.9 * np.asarray(step.learning_rate).max()
    assert np.all(np.diff(np.asarray(step.gain)) >= -SAME_MATHS * float(step.gain[-1]))


def test_the_rate_is_a_harmonic_mean_around_the_peak():
    found = surge(GRADIENT, TURNED, KAPPA)
    m, beta = np.linspace(0.05, 1.0, 9), float(found.beta_n)
    expected = 2 * float(found.max_learning_rate) / (beta / m + m / beta)
    assert np.allclose(surge_rate(GRADIENT, TURNED, m), expected, rtol=SAME_MATHS)
    # The approximate peak is the batch at which the approximate mean sign is beta_n.
    at_peak = approximate_mean_sign(KAPPA, float(found.approximate_batch))
    assert float(at_peak) == pytest.approx(beta, rel=SAME_MATHS)


def test_the_printed_peaks_agree_where_the_coupling_is_strong():
    size = 4000
    row = np.full(size, 1.0)
    hessian = np.outer(row, row)
    found = surge(row, hessian, KAPPA)
    assert float(found.exact_batch) == pytest.approx(float(found.approximate_batch), rel=1e-3)
    closed = np.pi * KAPPA**2 / (2 * (size - 2))  # beta_n^2 = 1 / (size - 1)
    assert float(found.approximate_batch) == pytest.approx(closed, rel=SAME_MATHS)


def test_the_approximate_mean_sign_is_a_lower_bound():
    ratio = np.geomspace(1e-4, 1e4, 20_001)  # B / kappa^2
    gap = erf(np.sqrt(ratio / 2)) - np.asarray(approximate_mean_sign(1.0, ratio))
    assert np.all(gap > -SAME_MATHS)
    assert gap.max() == pytest.approx(0.108, abs=5e-4)
    assert ratio[gap.argmax()] == pytest.approx(3.5, abs=0.1)


def test_the_gain_with_the_approximate_mean_sign():
    scale = float(gain_noise_scale(GRADIENT, TURNED, KAPPA))
    beta = float(surge(GRADIENT, TURNED, KAPPA).beta_n)
    assert scale == pytest.approx(np.pi * KAPPA**2 * beta**2 / (2 * (1 + beta**2)), rel=SAME_MATHS)

    def gain(m):
        return float(surge_rate(GRADIENT, TURNED, m)) * m * np.abs(GRADIENT).sum() / 2

    m = float(approximate_mean_sign(KAPPA, 30.0))
    assert gain(1.0) / gain(m) == pytest.approx(1 + scale / 30.0, rel=SAME_MATHS)


def test_the_small_batch_formula_is_the_limit_of_the_exact_rate():
    std = np.linspace(5.0, 30.0, SIZE)
    height, peak = (float(x) for x in small_batch_surge(GRADIENT, TURNED, std))
    batches = np.array([1e-4, 1e-3])
    exact = np.asarray(sign_step(GRADIENT, std, TURNED, batches).learning_rate)
    formula = 2 * height / (np.sqrt(peak / batches) + np.sqrt(batches / peak))
    assert np.allclose(exact, formula, rtol=1e-4)
    # Signs coupled against the gradient: nothing to peak.
    against = np.eye(SIZE) - (TURNED - np.eye(SIZE)) / SIZE
    assert all(np.isnan(float(x)) for x in small_batch_surge(GRADIENT, against, std))


def test_the_peak_batch_has_a_gradient_in_the_noise():
    def peak(kappa):
        return surge(GRADIENT, TURNED, kappa).exact_batch

    h = KAPPA * 6e-6
    slope = (peak(KAPPA + h) - peak(KAPPA - h)) / (2 * h)
    assert float(jax.grad(peak)(KAPPA)) == pytest.approx(float(slope), rel=FINITE_DIFFERENCE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: surge(GRADIENT, TURNED, 0.0), "`noise_ratio`"),
        (lambda: surge(np.zeros(SIZE), TURNED, 1.0), "`gradient` must not be zero"),
        (lambda: surge(GRADIENT, np.ones(3), 1.0), r"`hessian` must be \[d\] or \[d, d\]"),
        (lambda: surge(GRADIENT, -np.ones(SIZE), 1.0), "`hessian` must be .* at least 0, got -1"),
        (lambda: surge_rate(GRADIENT, TURNED, 1.5), "`mean_sign`"),
        (lambda: approximate_mean_sign(1.0, 0.0), "`batch_size`"),
        (lambda: gain_noise_scale(GRADIENT, TURNED, -1.0), "`noise_ratio`"),
        (lambda: small_batch_surge(GRADIENT, np.ones(SIZE), 1.0), "`hessian` must be a matrix"),
        (lambda: small_batch_surge(GRADIENT, TURNED, 0.0), "`noise_std`"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
