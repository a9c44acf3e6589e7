import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tolerances import FINITE_DIFFERENCE, SAME_MATHS, Z_SCORE
from theory.adam_batch_noise import adam_step
from theory.batch_noise import normalized_step, sgd_step, sign_step, spectral_step
from theory.critical_batch import (
    critical_batch,
    curvature_noise_scale,
    effective_batch_size,
    mean_field_rate,
    simple_noise_scale,
    steps_needed,
)
from theory.noisy_quadratic import noisy_quadratic_loss, steps_to_target
from theory.norms import polar_factor

RNG = np.random.default_rng(0)
SIZE, DRAWS = 6, 200_000
ROOT = RNG.normal(size=(SIZE, SIZE))
HESSIAN = ROOT @ ROOT.T / SIZE + 0.4
GRADIENT = RNG.normal(size=SIZE)
STD = RNG.uniform(0.5, 2.0, SIZE)
BATCH = 3.0


def z_scores(step, directions, hessian, gradient):
    """Of slope and curvature against draws of the direction."""
    slopes = directions @ gradient
    curves = np.einsum("si,ij,sj->s", directions, hessian, directions)
    return [
        float((draws.mean() - expected) / (draws.std() / np.sqrt(draws.size)))
        for draws, expected in ((slopes, step.slope), (curves, step.curvature))
    ]


def noisy_gradients(gradient=GRADIENT, std=STD, batch=BATCH, draws=DRAWS, seed=1):
    normal = np.random.default_rng(seed).normal(size=(draws, gradient.size))
    return gradient + std / np.sqrt(batch) * normal


def test_the_sgd_step_against_draws():
    z = z_scores(sgd_step(GRADIENT, STD**2, HESSIAN, BATCH), noisy_gradients(), HESSIAN, GRADIENT)
    assert np.all(np.abs(z) < Z_SCORE)


def test_the_sign_step_against_draws():
    directions = np.sign(noisy_gradients())
    step = sign_step(GRADIENT, STD, HESSIAN, BATCH)
    assert np.all(np.abs(z_scores(step, directions, HESSIAN, GRADIENT)) < Z_SCORE)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_adam_step_against_draws(momentum):
    # The stationary average of Gaussian gradients is Gaussian: weights (1-b) b^j, summed here.
    weights = (1 - momentum) * momentum ** np.arange(200)
    spread = STD * np.sqrt(np.sum(weights**2) / BATCH)
    normal = np.random.default_rng(2).normal(size=(DRAWS, SIZE))
    directions = (GRADIENT + spread * normal) / np.sqrt(GRADIENT**2 + STD**2 / BATCH)
    step = adam_step(GRADIENT, STD, HESSIAN, BATCH, momentum)
    assert np.all(np.abs(z_scores(step, directions, HESSIAN, GRADIENT)) < Z_SCORE)


def test_the_normalized_step_where_noise_is_spread_over_many_directions():
    size, rng = 2000, np.random.default_rng(3)
    gradient, std = rng.normal(size=size) / 10, rng.uniform(0.5, 1.5, size)
    hessian = rng.uniform(0.1, 2.0, size)
    draws = noisy_gradients(gradient, std, 40.0, draws=400)
    directions = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    step = normalized_step(gradient, std**2, hessian, 40.0)
    # Effective dimension about 1600: the formula is good to that part; the draws to 0.3 %.
    assert (directions @ gradient).mean() == pytest.approx(float(step.slope), rel=0.01)
    assert ((directions**2) @ hessian).mean() == pytest.approx(float(step.curvature), rel=0.01)


def test_the_peak_of_the_normalized_rate():
    # Noise along the flat direction, the gradient along the steep one.
    gradient, noise, hessian = np.array([1.0, 0.0]), np.array([0.0, 10.0]), np.array([5.0, 1.0])
    simple = float(simple_noise_scale(gradient, noise))
    curved = float(curvature_noise_scale(gradient, noise, hessian))
    assert (simple, curved) == pytest.approx((10.0, 2.0))
    batches = np.geomspace(0.1, 1000, 200_001)
    rates = np.asarray(normalized_step(gradient, noise, hessian, batches).learning_rate)
    assert batches[rates.argmax()] == pytest.approx(
        curved * simple / (simple - 2 * curved), rel=1e-4
    )
    level = np.asarray(
        normalized_step(gradient, noise, np.array([2.0, 1.0]), batches).learning_rate
    )
    assert np.all(np.diff(level) > 0)


def test_the_spectral_step_of_a_long_matrix():
    rows, columns, batch = 3, 600, 5.0
    rng = np.random.default_rng(4)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, rows)))[0]
    gradient = left @ np.diag([30.0, 12.0, 2.0]) @ right.T
    step = spectral_step(gradient, 1.3, 0.7, batch)
    draws = gradient + 1.3 / np.sqrt(batch) * rng.normal(size=(60, rows, columns))
    factors = np.asarray(jax.lax.map(polar_factor, jnp.asarray(draws)))
    slopes, curves = np.sum(factors * gradient, axis=(1, 2)), 0.7 * np.sum(factors**2, axis=(1, 2))
    # Relative error of the order of sqrt(3/600) a singular value, and it partly averages out.
    assert slopes.mean() == pytest.approx(float(step.slope), rel=0.02)
    assert curves == pytest.approx(float(step.curvature), rel=SAME_MATHS)
    exact = spectral_step(gradient, 1e-9, 0.7, batch)
    assert float(exact.slope) == pytest.approx(44.0, rel=SAME_MATHS)


def test_equal_singular_values_follow_the_square_root_rule():
    gradient = 2.0 * np.eye(3, 5)
    batches = np.array([0.5, 8.0, 100.0])
    noiseless = 2.0 / 0.7
    scale = 15 * 1.3**2 / np.sum(gradient**2)
    rates = spectral_step(gradient, 1.3, 0.7, batches).learning_rate
    assert np.allclose(rates, mean_field_rate(noiseless, scale, batches), rtol=SAME_MATHS)


def test_the_best_rate_and_gain_of_a_step_by_brute_force():
    step = sign_step(GRADIENT, STD, HESSIAN, BATCH)
    rates = np.linspace(0, 2 * float(step.learning_rate), 100_001)
    changes = np.asarray(step.change(rates))
    assert rates[changes.argmin()] == pytest.approx(float(step.learning_rate), rel=1e-5)
    assert -changes.min() == pytest.approx(float(step.gain), rel=1e-9)


def test_half_the_rate_and_half_the_gain_at_the_curvature_noise_scale():
    scale = curvature_noise_scale(GRADIENT, np.diag(STD**2), HESSIAN)
    half, full = (sgd_step(GRADIENT, STD**2, HESSIAN, b) for b in (scale, 1e18))
    assert float(full.learning_rate / half.learning_rate) == pytest.approx(2.0, rel=SAME_MATHS)
    assert float(full.gain / half.gain) == pytest.approx(2.0, rel=SAME_MATHS)


def test_a_full_covariance_enters_by_traces():
    covariance = np.cov(RNG.normal(size=(SIZE, 50)))
    direct = np.trace(HESSIAN @ covariance) / (GRADIENT @ HESSIAN @ GRADIENT)
    found = float(curvature_noise_scale(GRADIENT, covariance, HESSIAN))
    assert found == pytest.approx(direct, rel=SAME_MATHS)
    simple = float(simple_noise_scale(GRADIENT, covariance))
    assert simple == pytest.approx(np.trace(covariance) / (GRADIENT @ GRADIENT), rel=SAME_MATHS)


def test_signs_and_adam_in_the_limits_of_the_batch():
    small, large = (sign_step(GRADIENT, STD, HESSIAN, b) for b in (1e-10, 1e10))
    slope = np.sqrt(2e-10 / np.pi) * np.sum(GRADIENT**2 / STD)
    assert float(small.learning_rate) == pytest.approx(slope / np.trace(HESSIAN), rel=1e-4)
    signs = np.sign(GRADIENT)
    best = np.abs(GRADIENT).sum() / (signs @ HESSIAN @ signs)
    assert float(large.learning_rate) == pytest.approx(best, rel=1e-6)
    adam = adam_step(GRADIENT, STD, HESSIAN, 1e10, 0.9)
    assert float(adam.learning_rate) == pytest.approx(best, rel=1e-6)


def test_the_gradient_of_the_sign_rate_in_the_batch():
    def rate(batch):
        return sign_step(GRADIENT, STD, HESSIAN, batch).learning_rate

    h = 2e-5
    slope = (rate(BATCH + h) - rate(BATCH - h)) / (2 * h)
    assert float(jax.grad(rate)(BATCH)) == pytest.approx(float(slope), rel=FINITE_DIFFERENCE)


def test_momentum_is_worth_more_samples():
    kept, steps, runs = 0.7, 60, 100_000
    noise = np.random.default_rng(5).normal(size=(runs, steps)) / np.sqrt(BATCH)
    average = noise @ ((1 - kept) * kept ** np.arange(steps))
    expected = 1 / float(effective_batch_size(BATCH, kept))
    assert abs(average.var() / expected - 1) < Z_SCORE * np.sqrt(2 / runs)


# The noisy quadratic model.


def test_the_noisy_quadratic_by_stepping_its_moments():
    h, eta, batch = np.array([1.0, 0.4, 0.05]), 1.3, 7.0
    moments, losses = np.ones(3), []
    for _ in range(25):
        losses.append(np.sum(h * moments) / 2)
        moments = (1 - eta * h) ** 2 * moments + eta**2 * h / batch
    found = noisy_quadratic_loss(h, eta, batch, np.arange(25.0))
    assert np.allclose(found, losses, rtol=SAME_MATHS)
    # A step of one over the curvature leaves the noise of the last step alone.
    one = noisy_quadratic_loss(np.array([1.0]), 1.0, 4.0, np.array([0.0, 1.0, 2.0]))
    assert np.allclose(one, [0.5, 0.125, 0.125], rtol=SAME_MATHS)


def test_steps_to_target_are_where_the_loss_is_the_target():
    h, rates = 1.0 / np.arange(1, 51), np.array([0.02, 0.3, 1.5])
    steps = np.asarray(steps_to_target(h, 0.1, rates, 64.0))
    assert np.allclose(noisy_quadratic_loss(h, rates, 64.0, steps), 0.1, rtol=1e-9)
    assert float(steps_to_target(h, 10.0, 0.1, 64.0)) == 0.0
    assert np.isinf(float(steps_to_target(h, 0.01, 1.5, 1.0)))


def test_the_hyperbola_fails_in_the_noisy_quadratic_model():
    # 1e4 modes, target 0.01, 100 rates from 1e-5 to 10^0.5 as in the study of 2019. The product
    # that the hyperbola puts at one is about 0.36 (0.353 with real-valued steps; 0.415 if the rate
    # is tuned without a grid).
    h, rates = 1.0 / np.arange(1, 10_001), np.logspace(-5, 0.5, 100)
    rates = rates[(rates > 3e-3) & (rates < 2.0)]
    least = [float(jnp.min(steps_to_target(h, 0.01, rates, b))) for b in (1024.0, 1e9)]
    small = float(jnp.min(steps_to_target(h, 0.01, np.logspace(-5, 0.5, 100)[40:48], 1.0)))
    product = (least[0] / least[1] - 1) * (least[0] * 1024 / small - 1)
    assert product == pytest.approx(0.36, abs=0.01)
    assert least[0] < 0.8 * float(steps_needed(least[1], small, 1024.0))


def test_the_hyperbola_holds_for_one_noise_scale():
    # Isotropic: with h = 1 every step gains 1/(1 + B_noise/B); B_noise follows the gradient, so
    # the noise here is a fixed share of it: g -> g (1 - eta), variance share / B.
    share, target = 8.0, 1e-6

    def steps(batch):
        return np.log(target) / np.log(1 - 1 / (1 + share / batch))

    # Small gains a step: the sum becomes the integral that the hyperbola is.
    least_steps = -np.log(target)
    for batch in (0.01, 0.05):
        expected = float(steps_needed(least_steps, least_steps * share, batch))
        assert steps(batch) == pytest.approx(expected, rel=0.01)
    assert float(critical_batch(least_steps, least_steps * share)) == pytest.approx(share)


def test_the_hyperbola_and_its_two_ends():
    batches = np.array([1e-3, 40.0, 1e9])
    steps = np.asarray(steps_needed(100.0, 4000.0, batches))
    assert np.allclose((steps / 100 - 1) * (batches * steps / 4000 - 1), 1.0, rtol=1e-6)
    assert steps[1] == pytest.approx(200.0, rel=SAME_MATHS)


def test_the_square_root_rule_against_the_error_function():
    batches = np.geomspace(1e-6, 1e6, 4001)
    exact = sign_step(np.ones(1), 1.0, np.ones(1), batches).learning_rate
    ratio = np.asarray(mean_field_rate(1.0, 1.0, batches) / exact)
    assert ratio.max() == pytest.approx(np.sqrt(np.pi / 2), rel=1e-5)
    assert ratio.min() == pytest.approx(0.936, abs=5e-4)
    assert batches[ratio.argmin()] == pytest.approx(4.6, abs=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sgd_step(np.ones((2, 2)), np.ones(2), np.ones(2), 1.0),
            "`gradient` must be a vec",
        ),
        (lambda: sgd_step(np.zeros(2), np.ones(2), np.ones(2), 1.0), "`gradient` must not be zero"),
        (lambda: sgd_step(np.ones(2), np.ones(3), np.ones(2), 1.0), "`covariance` must have sides"),
        (
            lambda: sgd_step(np.ones(2), np.ones(2), np.ones((2, 3)), 1.0),
            r"`hessian` must be \[d\]",
        ),
        (lambda: sgd_step(np.ones(2), np.ones(2), np.ones(2), 0.0), "`batch_size`"),
        (lambda: sign_step(np.ones(2), 0.0, np.ones(2), 1.0), "`noise_std`"),
        (lambda: sign_step(np.ones(2), 1.0, np.ones(3), 1.0), "`hessian` must have sides"),
        (lambda: adam_step(np.ones(2), 1.0, np.ones(2), 1.0, 1.0), "`momentum`"),
        (lambda: adam_step(np.ones(2), 1.0, np.ones(3), 1.0), "`hessian` must have sides"),
        (lambda: spectral_step(np.ones(2), 1.0, 1.0, 1.0), "`gradient` must be a matrix"),
        (lambda: spectral_step(np.ones((2, 2)), 1.0, -1.0, 1.0), "`curvature`"),
        (lambda: mean_field_rate(1.0, 0.0, 1.0), "`noise_scale`"),
        (lambda: effective_batch_size(1.0, 1.0), "`momentum`"),
        (lambda: critical_batch(0.0, 1.0), "`steps_min`"),
        (lambda: steps_needed(1.0, 1.0, 0.0), "`batch_size`"),
        (lambda: noisy_quadratic_loss(np.ones(2), 2.0, 1.0, 1.0), "`learning_rate` .* less than 2"),
        (lambda: noisy_quadratic_loss(np.zeros(2), 1.0, 1.0, 1.0), "`eigenvalues`"),
        (lambda: steps_to_target(np.ones(2), 0.0, 1.0, 1.0), "`target`"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
