"""Sign descent against stepping; signSGD against the exact random walk and Monte Carlo."""

import numpy as np
import pytest
from scipy.special import erf

from theory import sign_methods
from theory.problem import power_law
from theory.sign_methods import (
    scheduled_sign_descent,
    sign_descent,
    sign_descent_error,
    sign_descent_exponents,
    sign_floor,
)
from theory.sign_sgd import (
    expected_sign,
    one_pass_sign_plateau,
    one_pass_sign_sgd,
    sign_sgd,
    sign_sgd_plateau,
)
from theory.spectrum import approximation_error, compress, explicit_spectrum

from .tolerances import REFERENCE, SAME_MATHS, Z_SCORE


def stepped(a, b, size, rates):
    """Loss of the trained modes after every step, signs taken of the signed gradient."""
    i = np.arange(1, size + 1, dtype=float)
    lam, target = i**-a, np.where(i % 2 == 0, -1.0, 1.0) * i ** ((a - b) / 2)
    x = np.zeros_like(i)
    losses = [np.sum(lam * (x - target) ** 2) / 2]
    for rate in rates:
        x = x - rate * np.sign(lam * (x - target))
        losses.append(np.sum(lam * (x - target) ** 2) / 2)
    return np.array(losses)


@pytest.mark.parametrize(
    ("a", "b", "rate"),
    [(1.5, 1.8, 0.013), (2.0, 1.3, 0.31), (1.5, 1.5, 0.07), (0.8, 2.4, 0.02), (1.2, 4.0, 3.0)],
)
def test_sign_descent_matches_stepping(a, b, rate):
    steps = np.array([0, 1, 2, 3, 17, 64, 65, 150])
    losses = stepped(a, b, 3000, np.full(150, rate))
    curve = sign_descent(power_law(a, b, 3000, 0.3), rate, steps)
    # Stepping rounds 150 times next to the two-cycle's kink.
    np.testing.assert_allclose(curve.bias, losses[steps], rtol=100 * SAME_MATHS)
    untrained = float(approximation_error(power_law(a, b, 3000)))
    np.testing.assert_allclose(curve.total, 0.15 + untrained + losses[steps], rtol=1e-10)


def test_residual_stays_at_the_optimum_it_lands_on():
    # Steps of 1/8 are exact in binary; the first target is reached in eight of them.
    spectrum = explicit_spectrum(np.array([1.0]), np.array([1.0]))
    losses = sign_descent(spectrum, 0.125, np.array([7, 8, 9, 100])).bias
    np.testing.assert_allclose(losses, [1 / 128, 0, 0, 0], rtol=0, atol=0)


@pytest.mark.parametrize("horizon", [1, 40, 300])
def test_schedules_match_stepping(horizon):
    rates = 1.9 / horizon * (1 - np.arange(horizon) / horizon)
    losses = stepped(1.5, 1.8, 2000, rates)
    curve = scheduled_sign_descent(power_law(1.5, 1.8, 2000), rates)
    np.testing.assert_allclose(curve.bias, losses, rtol=100 * SAME_MATHS)


@pytest.mark.parametrize(
    ("a", "b", "rate", "steps"),
    [
        (1.5, 1.8, 0.01, 37),
        (1.5, 1.8, 0.01, 200),
        (1.5, 1.8, 0.05, 201),
        (1.2, 1.4, 0.002, 3001),
        (0.8, 1.5, 0.001, 3000),
        (0.8, 1.5, 0.002, 3001),
        (2.0, 1.5, 0.3, 50),
        (2.0, 1.5, 0.3, 500),
    ],
)
def test_averaged_modes_are_within_their_error(monkeypatch, a, b, rate, steps):
    exact = float(sign_descent(power_law(a, b, 130_000), rate, steps).bias)
    monkeypatch.setattr(sign_methods, "EXPLICIT_MODES", 1000)
    problem = power_law(a, b, 130_000)
    averaged = float(sign_descent(problem, rate, steps).bias)
    error = float(sign_descent_error(problem, rate, steps))
    assert abs(averaged - exact) <= Z_SCORE * error
    assert error <= 0.05 * exact


@pytest.mark.parametrize(("a", "b", "rate", "steps"), [(1.5, 1.5, 0.07, 3), (0.8, 2.0, 0.02, 65)])
def test_modes_that_do_not_oscillate_are_exact_in_compressed_form(monkeypatch, a, b, rate, steps):
    exact = float(sign_descent(power_law(a, b, 130_000), rate, steps).bias)
    monkeypatch.setattr(sign_methods, "EXPLICIT_MODES", 1000)
    problem = power_law(a, b, 130_000)
    assert float(sign_descent(problem, rate, steps).bias) == pytest.approx(exact, rel=SAME_MATHS)
    assert float(sign_descent_error(problem, rate, steps)) == 0.0


def test_mean_over_phases_is_a_third_of_the_floor():
    problem = power_law(1.5, 1.8, 300)
    rates = np.random.default_rng(3).uniform(0.0099, 0.0101, 2000)
    lam = np.arange(1, 301) ** -1.5
    walking = np.arange(1, 301) ** -0.15 > 0.0101  # every mode moves for at least one step
    assert walking.all()
    ratios = [float(sign_descent(problem, rate, 400).bias) / rate**2 for rate in rates]
    mean, error = np.mean(ratios), np.std(ratios) / np.sqrt(len(ratios))
    assert abs(mean - np.sum(lam) / 6) < Z_SCORE * error + np.sum(lam) / 6 * 0.01
    assert abs(mean - np.sum(lam) / 8) > 0.2 * mean  # the value with every residual at eta/2
    assert float(sign_floor(problem, 0.01)) == pytest.approx(np.sum(lam) * 5e-5, rel=SAME_MATHS)


def tuned(a, b, size, steps, exponent, points=240):
    """Lowest exact optimization loss over a grid of steps around T^-exponent, tail included."""
    problem = power_law(a, b, size)
    rates = np.geomspace(0.2, 5.0, points) * steps**-exponent
    losses = [float(sign_descent(problem, rate, steps).bias) for rate in rates]
    best = int(np.argmin(losses))
    assert 0 < best < points - 1
    return losses[best]


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), [(1.5, 1.8), (2.0, 3.5)])
def test_exponent_two_whatever_the_source(a, b):
    law = sign_descent_exponents(power_law(a, b, 1e6))
    assert (law.alpha, law.beta, law.holds) == (pytest.approx(b - 1), 2.0, True)
    horizons = np.array([32, 64, 128, 256, 512, 1024])
    losses = [tuned(a, b, 3000, steps, 1.0) for steps in horizons]
    # Phases scatter the tuned loss by a factor of about two around the law: five octaves bound the
    # slope's error by 1/5.
    slope = -np.polyfit(np.log2(horizons), np.log2(losses), 1)[0]
    assert slope == pytest.approx(2.0, abs=0.2)
    bound = [float(sign_floor(power_law(a, b, 3000), 1 / steps)) for steps in horizons]
    assert np.all(np.array(losses) <= bound)


@pytest.mark.parametrize(("a", "b"), [(2.0, 1.5), (3.0, 2.0)])
def test_rough_targets_change_the_exponent_in_a_window(a, b):
    problem = power_law(a, b, 40_000)
    law = sign_descent_exponents(problem)
    assert law.holds
    assert law.beta == pytest.approx(2 * (b - 1) / (a - 1))
    assert "window" in law.reason
    horizons = np.array([4, 8, 16, 32, 64])
    assert horizons[-1] < 40_000 ** ((a - 1) / 2) / 3
    losses = [
        tuned(a, b, 40_000, steps, law.beta / 2, 100) + float(approximation_error(problem))
        for steps in horizons
    ]
    slope = -np.polyfit(np.log2(horizons), np.log2(losses), 1)[0]
    assert slope == pytest.approx(law.beta, abs=0.2)


def test_slow_spectra_couple_size_and_steps():
    law = sign_descent_exponents(power_law(0.8, 2.8, 1e4))
    assert not law.holds
    assert np.isnan(law.beta)
    # At odd T a mode that was never farther than eta sits a whole step away: sum lam grows.
    odd = [tuned(0.8, 2.8, size, 257, 1.0) for size in (1e3, 1e4, 1e5)]
    assert odd[1] > 2 * odd[0]
    assert odd[2] > 2 * odd[1]
    # At even T it is back at its start, which hides the coupling.
    even = [tuned(0.8, 2.8, size, 256, 1.0) for size in (1e4, 1e5)]
    assert even[1] == pytest.approx(even[0], rel=0.01)


def test_expected_sign_is_the_difference_of_two_probabilities():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200_000, 4)).mean(axis=1) * 2.0
    for gradient in (0.1, -0.5, 2.0):
        signs = np.sign(gradient + noise)
        z = (signs.mean() - float(expected_sign(gradient, 2.0, 4))) / (signs.std() / 200_000**0.5)
        assert abs(z) < Z_SCORE


def random_walk(lam, start, rate, sharpness, horizon):
    """Exact E e^2 lam / 2 of one coordinate: the law of a walk on the lattice start + rate Z."""
    places = start + rate * np.arange(-horizon, horizon + 1)
    law = np.zeros_like(places)
    law[horizon] = 1.0
    losses = [lam * start**2 / 2]
    down = (1 + erf(sharpness * lam * places)) / 2
    for _ in range(horizon):
        after = np.zeros_like(law)
        after[:-1] += (law * down)[1:]
        after[1:] += (law * (1 - down))[:-1]
        law = after
        losses.append(lam * np.sum(law * places**2) / 2)
    return np.array(losses)


def test_sign_sgd_tends_to_the_exact_random_walk():
    spectrum = explicit_spectrum(np.array([1.0, 0.3]), np.array([1.0, 0.2]))
    noise, batch = 2.0, 4.0
    sharpness = np.sqrt(batch / 2) / noise
    worst = []
    for rate in (0.2, 0.1, 0.05):
        start = (1.0, np.sqrt(0.2 / 0.3))
        walk = sum(
            random_walk(lam, x, rate, sharpness, 400)
            for lam, x in zip((1.0, 0.3), start, strict=True)
        )
        curve = sign_sgd(spectrum, np.full(400, rate), noise, batch)
        gaps = np.abs(np.asarray(curve.total) / walk - 1)
        worst.append(gaps.max())
        assert gaps[1] < REFERENCE  # the closure is exact for a single step
    assert worst[0] < 0.01
    # Halving the step shrinks the gap to less than half, so it vanishes faster than the step.
    assert worst[0] > 2 * worst[1] > 4 * worst[2]


def test_sign_sgd_plateau_is_where_the_walk_ends():
    spectrum = explicit_spectrum(np.array([1.0]), np.array([1.0]))
    for rate in (0.2, 0.1):
        walk = random_walk(1.0, 1.0, rate, np.sqrt(2.0) / 2, 1000)[-2:].mean()
        plateau = float(sign_sgd_plateau(spectrum, rate, 2.0, 4.0))
        assert plateau == pytest.approx(walk, rel=0.04 * rate**2 / 2)
        end = sign_sgd(spectrum, np.full(1000, rate), 2.0, 4.0).total[-1]
        assert plateau == pytest.approx(float(end), rel=1e-10)
    many = power_law(1.5, 1.8, 1000)
    # Large noise: every mode carries sqrt(pi/8) eta s / sqrt(B) / 2.
    assert float(sign_sgd_plateau(many, 1e-6, 3.0, 9.0)) == pytest.approx(
        1000 * np.sqrt(np.pi / 8) * 1e-6 / 2, rel=1e-5
    )


def one_pass_runs(lam, start, noise, rate, steps, runs, rng, normalize):
    error = np.tile(start, (runs, 1))
    for _ in range(steps):
        x = rng.standard_normal(error.shape) * np.sqrt(lam)
        residual = (x * error).sum(axis=1) + noise * rng.standard_normal(runs)
        direction = np.sign(residual)[:, None] * normalize(x)
        error = error - rate * direction
    return (lam * error**2).sum(axis=1) / 2


@pytest.mark.parametrize("dimension", [50, 200])
def test_one_pass_sign_sgd_matches_simulation(dimension):
    lam = np.arange(1, dimension + 1) ** -0.5
    energy = lam / lam.sum()
    rate, steps = 0.2 / dimension, 200
    losses = one_pass_runs(
        lam, np.sqrt(energy / lam), 0.5, rate, steps, 500, np.random.default_rng(1), np.sign
    )
    curve = one_pass_sign_sgd(explicit_spectrum(lam, energy, 0.0, 0.25), np.full(steps, rate))
    gap = losses.mean() - float(curve.optimization[-1])
    error = losses.std() / np.sqrt(losses.size)
    # Linearised arcsine and mean risk: relative 1/dimension.
    assert abs(gap) < Z_SCORE * error + losses.mean() / dimension


def test_one_pass_plateau_is_the_fixed_point_and_the_published_number():
    j = np.arange(1, 501)
    published = explicit_spectrum(1 / j, 1 / j**2, 0.0, 0.25)
    assert 2 * float(one_pass_sign_plateau(published, 1e-3)) == pytest.approx(0.01758, abs=5.1e-6)
    isotropic = explicit_spectrum(np.ones(500), np.full(500, 1 / 500), 0.0, 0.25)
    assert 2 * float(one_pass_sign_plateau(isotropic, 1e-3)) == pytest.approx(0.2881, abs=5.1e-5)
    end = one_pass_sign_sgd(isotropic, np.full(20_000, 1e-3)).optimization[-1]
    assert float(end) == pytest.approx(float(one_pass_sign_plateau(isotropic, 1e-3)), rel=1e-9)


def test_untrained_modes_act_as_noise():
    problem = power_law(1.2, 1.6, 100, 0.3)
    tail = 2 * float(approximation_error(problem))
    i = np.arange(1, 101)
    same = explicit_spectrum(i**-1.2, i**-1.6, 0.0, 0.3 + tail)
    rates = np.full(50, 0.01)
    np.testing.assert_allclose(
        one_pass_sign_sgd(problem, rates).optimization,
        one_pass_sign_sgd(same, rates).optimization,
        rtol=SAME_MATHS,
    )


def test_bad_arguments_are_refused():
    problem = power_law(1.5, 1.8, 100)
    with pytest.raises(ValueError, match="`learning_rate`"):
        sign_descent(problem, 0.0, 10)
    with pytest.raises(ValueError, match="whole"):
        sign_descent(problem, 0.1, 1.5)
    with pytest.raises(ValueError, match="compressed"):
        sign_descent(compress(power_law(1.5, 1.8, 1e6)), 0.1, 1)
    with pytest.raises(ValueError, match="`size`"):
        scheduled_sign_descent(power_law(1.5, 1.8, 1e9), np.full(3, 0.1))
    with pytest.raises(ValueError, match="vector"):
        scheduled_sign_descent(problem, 0.1)
    with pytest.raises(ValueError, match="`noise_scale`"):
        sign_sgd(problem, np.full(3, 0.1), 0.0)
    with pytest.raises(ValueError, match="vector"):
        one_pass_sign_sgd(problem, 0.1)
