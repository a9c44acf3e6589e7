"""SGD with momentum: stepping, 80-digit powers, Monte Carlo, floors, stability."""

import jax.numpy as jnp
import numpy as np
import pytest

from theory.accelerated import heavy_ball, nesterov
from theory.momentum_noise import momentum_noise_floor, momentum_stability_sum, stationary_loss
from theory.oscillation import resolved_spectrum
from theory.problem import power_law
from theory.sgd import sgd, stability_sum
from theory.sgd_momentum import sgd_momentum, stepped_sgd_momentum
from theory.spectrum import approximation_error, compress, explicit_spectrum

from .tolerances import EIGHT_POINTS, LAST_DIGIT, SAME_MATHS, Z_SCORE

STEPS = np.array([0, 1, 2, 3, 10, 100, 1000])
CASES = [
    (1.5, 1.8, 0.1, 0.9, 4, 0.1),
    pytest.param(2.0, 1.3, 0.3, 0.5, 1, 1.0, marks=pytest.mark.slow),
    (1.2, 2.5, 0.02, 0.98, 16, 0.5),
    pytest.param(1.5, 1.8, 0.3, 0.0, 4, 0.0, marks=pytest.mark.slow),
]


def moments(lam, energy, rate, momentum, batch, noise, is_nesterov):
    """Excess loss at STEPS from E e^2, E e m, E m^2 with the buffer m itself, all modes."""
    eta, mu, batch = np.longdouble(rate), np.longdouble(momentum), np.longdouble(batch)
    ee, em, mm, losses = energy / lam, 0 * lam, 0 * lam, {}
    for t in range(max(STEPS) + 1):
        losses[t] = float(np.sum(lam * ee) / 2)
        gg = lam**2 * ee * (1 + 1 / batch) + lam * (np.sum(lam * ee) + noise) / batch
        eg, mg = lam * ee, lam * em
        mm_new, em_now, mg_now = mu**2 * mm + 2 * mu * mg + gg, mu * em + eg, mu * mg + gg
        if is_nesterov:
            square = gg + 2 * mu * mg_now + mu**2 * mm_new
            ee = ee - 2 * eta * (eg + mu * em_now) + eta**2 * square
            em = em_now - eta * (mg_now + mu * mm_new)
        else:
            ee = ee - 2 * eta * em_now + eta**2 * mm_new
            em = em_now - eta * mm_new
        mm = mm_new
    return np.array([losses[t] for t in STEPS])


@pytest.mark.parametrize("is_nesterov", [False, True])
@pytest.mark.parametrize(("a", "b", "rate", "momentum", "batch", "noise"), CASES)
def test_momentum_sgd_matches_stepping_every_mode(a, b, rate, momentum, batch, noise, is_nesterov):
    problem = power_law(a, b, 3000, noise)
    index = np.arange(1, 3001, dtype=np.longdouble)
    untrained = 2 * float(approximation_error(problem))
    exact = moments(
        index ** -np.longdouble(a),
        index ** -np.longdouble(b),
        rate,
        momentum,
        batch,
        noise + untrained,
        is_nesterov,
    )
    hyper = (rate, momentum, batch, STEPS)
    doubled = sgd_momentum(problem, *hyper, nesterov=is_nesterov)
    np.testing.assert_allclose(doubled.optimization, exact, rtol=EIGHT_POINTS)
    walked = stepped_sgd_momentum(compress(problem), *hyper, nesterov=is_nesterov)
    np.testing.assert_allclose(walked.optimization, exact, rtol=SAME_MATHS)
    method = nesterov if is_nesterov else heavy_ball
    bias = method(problem, rate, momentum, STEPS).bias
    np.testing.assert_allclose(walked.bias, bias, rtol=SAME_MATHS)


@pytest.mark.parametrize("is_nesterov", [False, True])
def test_momentum_sgd_at_a_trillion_steps_matches_eighty_digits(is_nesterov):
    mp = pytest.importorskip("mpmath")
    lam, energy = 16.0 ** -np.arange(8), 6.0 ** -np.arange(8)
    rate, momentum, batch, noise = 0.1, 0.9, 4, 1e-9
    n = lam.size
    with mp.workdps(80):
        eta, mu = mp.mpf(rate), mp.mpf(momentum)
        power = mp.zeros(3 * n + 1)
        power[3 * n, 3 * n] = 1
        # One step as the expectation of the outer product of (e, m), row by row.
        for i in range(n):
            x = mp.mpf(lam[i])
            gg = {j: x * mp.mpf(lam[j]) / batch for j in range(n)}
            gg[i] += x**2 * (1 + mp.mpf(1) / batch)
            gg[3 * n] = x * mp.mpf(noise) / batch
            forward = mu if is_nesterov else mp.mpf(1)
            # e' = e - eta (forward m' + extra g), m' = mu m + g: coefficients of (e, m) and of g.
            extra = mp.mpf(1) if is_nesterov else mp.mpf(0)
            on_e, on_m, on_g = mp.mpf(1), -eta * forward * mu, -eta * (forward + extra)
            for row, (p, q) in enumerate(
                (
                    ((on_e, on_m, on_g), (on_e, on_m, on_g)),
                    ((on_e, on_m, on_g), (0, mu, 1)),
                    ((0, mu, 1), (0, mu, 1)),
                )
            ):
                here = row * n + i
                power[here, i] += p[0] * q[0] + x * (p[0] * q[2] + p[2] * q[0])
                power[here, n + i] += p[0] * q[1] + p[1] * q[0] + x * (p[1] * q[2] + p[2] * q[1])
                power[here, 2 * n + i] += p[1] * q[1]
                for j, value in gg.items():
                    power[here, j] += p[2] * q[2] * value
        state = mp.matrix([mp.mpf(e) / mp.mpf(x) for e, x in zip(energy, lam, strict=True)])
        state = mp.matrix([*state, *[0] * (2 * n), 1])
        horizon = 10**12
        while horizon:
            if horizon % 2:
                state = power * state
            power, horizon = power * power, horizon // 2
        exact = float(sum(mp.mpf(lam[i]) * state[i] for i in range(n)) / 2)
    spectrum = explicit_spectrum(lam, energy, noise_variance=noise)
    curve = sgd_momentum(spectrum, rate, momentum, batch, 1e12, nesterov=is_nesterov)
    assert float(curve.optimization) == pytest.approx(exact, rel=SAME_MATHS)


@pytest.mark.parametrize("is_nesterov", [False, True])
def test_momentum_sgd_matches_monte_carlo(is_nesterov):
    rng = np.random.default_rng(7)
    lam, target = np.arange(1, 9.0) ** -1.2, np.ones(8)
    rate, momentum, batch, noise, runs, steps = 0.15, 0.7, 2, 0.3, 20_000, 40
    e, m = -np.tile(target, (runs, 1)), np.zeros((runs, 8))
    for _ in range(steps):
        x = rng.standard_normal((batch, runs, 8)) * np.sqrt(lam)
        label = np.sqrt(noise) * rng.standard_normal((batch, runs))
        g = np.mean((np.sum(x * e, axis=-1) + label)[..., None] * x, axis=0)
        m = momentum * m + g
        e = e - rate * (g + momentum * m if is_nesterov else m)
    loss = np.sum(lam * e**2, axis=1) / 2
    spectrum = explicit_spectrum(lam, lam * target**2, noise_variance=noise)
    curve = sgd_momentum(spectrum, rate, momentum, batch, steps, nesterov=is_nesterov)
    z = (loss.mean() - float(curve.optimization)) / (loss.std() / np.sqrt(runs))
    assert abs(z) <= Z_SCORE


def test_momentum_zero_is_sgd_at_any_horizon():
    problem, steps = power_law(1.5, 1.8, 1e6, 0.1), np.array([1, 1e3, 1e6, 1e9, 1e12])
    plain = sgd(problem, 0.3, 4, steps)
    for is_nesterov in (False, True):
        curve = sgd_momentum(problem, 0.3, 0.0, 4, steps, nesterov=is_nesterov)
        np.testing.assert_allclose(curve.optimization, plain.optimization, rtol=EIGHT_POINTS)
    same = momentum_stability_sum(problem, 0.3, 0.0, 4) / stability_sum(problem, 0.3, 4)
    assert float(same) == pytest.approx(1, rel=SAME_MATHS)


def test_momentum_tends_to_sgd_at_the_effective_rate():
    gaps = []
    for shrink in (1, 10, 100):
        rate, steps = 0.02 / shrink, 1e4 * shrink
        problem = power_law(1.5, 1.8, 1e4, 0.1)
        slow = sgd_momentum(problem, rate, 0.9, 4, steps).optimization
        gaps.append(abs(float(slow / sgd(problem, 10 * rate, 4, steps).optimization) - 1))
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]


@pytest.mark.parametrize("is_nesterov", [False, True])
@pytest.mark.parametrize(("a", "b", "rate", "momentum", "batch", "noise"), CASES[:3])
def test_the_loss_comes_to_rest_where_the_closed_form_says(
    a, b, rate, momentum, batch, noise, is_nesterov
):
    problem = power_law(a, b, 100, noise)
    hyper = (rate, momentum, batch)
    rest = stationary_loss(problem, *hyper, nesterov=is_nesterov)
    curve = sgd_momentum(compress(problem), *hyper, 2.0**40, nesterov=is_nesterov)
    assert float(curve.optimization) == pytest.approx(float(rest), rel=SAME_MATHS)


def test_stability_sum_separates_decay_from_divergence():
    spectrum = compress(power_law(1.2, 1.5, 200))
    for is_nesterov in (False, True):

        def total(rate, nest=is_nesterov):
            return float(momentum_stability_sum(spectrum, rate, 0.8, 1, nesterov=nest))

        low, high = 1e-3, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if total(middle) < 1 else (low, middle)
        lam, energy = np.asarray(spectrum.eigenvalues), np.asarray(spectrum.energies)
        lam, energy = lam[spectrum.weights > 0], energy[spectrum.weights > 0]
        for factor, grows in ((0.8, False), (1.2, True)):
            curve = moments(
                np.longdouble(lam), np.longdouble(energy), factor * low, 0.8, 1, 0.0, is_nesterov
            )
            assert (curve[-1] > curve[-2]) == grows
        with pytest.raises(ValueError, match="diverges in mean square"):
            sgd_momentum(spectrum, 1.001 * low, 0.8, 1, 10, nesterov=is_nesterov)


@pytest.mark.parametrize(
    ("a", "heavy", "ahead"),
    [(1.5, 0.65966, 0.59234), (2.0, 0.41816, 0.38906), (4.0, 0.27702, 0.25676)],
)
def test_noise_floors_reproduce_published_numbers(a, heavy, ahead):
    # B floor / sigma^2 in units of eta/(1-mu) = 1000 and its a-th root; eta = 0.1.
    problem = power_law(a, 2.0, 2e5)
    floors = [
        float(momentum_noise_floor(problem, 0.1, 1 - 1e-4, 8, 0.5, nesterov=kind)) * 8 / 0.5
        for kind in (False, True)
    ]
    assert abs(floors[0] / 1000 - heavy) <= LAST_DIGIT * 1e-5
    assert abs(floors[1] / 1000 ** (1 / a) - ahead) <= LAST_DIGIT * 1e-5


def test_noise_floor_is_the_variance_of_an_autoregression():
    # One mode: x_{t+1} = f1 x_t + f2 x_{t-1} + noise; variance summed from its impulse response.
    for kind in (False, True):
        h, mu = 0.3, 0.8
        f1, f2 = (1 + mu) * (1 - h), -mu * (1 - h)
        if not kind:
            f1, f2 = 1 + mu - h, -mu
        now, before, variance = 1.0, 0.0, 0.0
        for _ in range(2000):
            variance += now**2
            now, before = f1 * now + f2 * before, now
        spectrum = explicit_spectrum(np.array([0.6]), np.array([1.0]))
        floor = momentum_noise_floor(spectrum, 0.5, mu, 2, 0.7, nesterov=kind)
        # lam/2 times eta^2 lam sigma^2 / B times the response.
        assert float(floor) == pytest.approx(h**2 * 0.7 / 4 * variance, rel=SAME_MATHS)


def test_oscillating_modes_are_stepped_on_resolved_nodes():
    problem = power_law(1.5, 1.8, 3000, 0.1)
    index = np.arange(1, 3001, dtype=np.longdouble)
    untrained = 2 * float(approximation_error(problem))
    exact = moments(
        index ** -np.longdouble(1.5),
        index ** -np.longdouble(1.8),
        1.0,
        0.999,
        10_000,
        0.1 + untrained,
        False,
    )
    nodes = resolved_spectrum(problem, lambda lam: 1000 * np.sqrt(lam))
    curve = stepped_sgd_momentum(nodes, 1.0, 0.999, 10_000, STEPS)
    np.testing.assert_allclose(curve.optimization, exact, rtol=SAME_MATHS)


def test_bad_arguments_are_refused():
    problem = power_law(1.5, 1.8, 100)
    for bad in ({"momentum": 1.0}, {"batch_size": 0.5}, {"learning_rate": 0.0}, {"steps": 0.5}):
        arguments = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 1, "steps": 10} | bad
        with pytest.raises(ValueError, match=f"`{next(iter(bad))}`"):
            sgd_momentum(problem, **arguments)
    with pytest.raises(ValueError, match="`noise_variance`"):
        momentum_noise_floor(problem, 0.1, 0.5, 1, -1.0)
    assert jnp.isinf(stationary_loss(problem, 2.0, 0.5, 1))
