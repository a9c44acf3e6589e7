"""DANA: stepping every mode, the continuous-time equations and their published risks, limits."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.dana import dana, dana_exponents
from theory.problem import power_law
from theory.sgd_momentum import stepped_sgd_momentum
from theory.spectrum import approximation_error, compress, explicit_spectrum

from .tolerances import FINITE_DIFFERENCE, LAST_DIGIT, SAME_MATHS, Z_SCORE

STEPS = np.array([0, 1, 2, 3, 10, 100, 1000])
# lam = j^-2, (x*_j)^2 = j^-0.6, 2e4 modes, eta = 0.5 / tr, B = 1, delta = 5.3.
PUBLISHED = {
    (0.0, 0.0): ([1.67e-2, 2.57e-3, 4.04e-4, 6.37e-5, 1.01e-5], [4, 5, 6, 7, 7]),
    (0.2, 0.5): ([1.50e-2, 1.76e-3, 1.64e-4, 1.23e-5, 7.78e-7], [4, 5, 6, 7, 9]),
    (1.0, 0.5): ([1.47e-2, 1.10e-3, 7.62e-5, 4.89e-6, 2.43e-7], [4, 5, 7, 8, 9]),
}
DAMPING = 5.3


def published_problem():
    spectrum = replace(compress(power_law(2.0, 2.6, 2e4)), approximation=jnp.zeros(()))
    return spectrum, 0.5 / np.sum(np.arange(1.0, 20_001) ** -2)


def full_second_moments(lam, energy, rate, kappa, decay, batch, noise):
    """Excess loss at STEPS from the outer product of (e, y, g): 3x3 covariances of all modes."""
    v, c, w, losses = energy / lam, 0 * lam, 0 * lam, {}
    for t in range(max(STEPS) + 1):
        losses[t] = float(np.sum(lam * v) / 2)
        g2 = lam**2 * v * (1 + 1 / batch) + lam * (np.sum(lam * v) + noise) / batch
        moments = np.array([[v, c, lam * v], [c, w, lam * c], [lam * v, lam * c, g2]])
        keep, now = t / (DAMPING + t), kappa * (1.0 + t) ** -decay
        new = np.array([[1, -now * keep, -rate - now], [0, keep, 1]])
        second = np.einsum("ip,pqn,jq->ijn", new, moments, new)
        v, c, w = second[0, 0], second[0, 1], second[1, 1]
    return np.array([losses[t] for t in STEPS])


@pytest.mark.parametrize(
    ("a", "b", "rate", "kappa", "decay", "batch", "noise"),
    [
        (1.5, 1.8, 0.1, 0.02, 0.0, 4, 0.1),
        (2.0, 1.3, 0.3, 0.1, 0.5, 1, 0.0),
        (1.2, 2.5, 0.02, 0.05, 1 / 1.2, 16, 0.5),
    ],
)
def test_dana_matches_stepping_every_mode(a, b, rate, kappa, decay, batch, noise):
    problem, index = power_law(a, b, 3000, noise), np.arange(1, 3001.0)
    hidden = noise + 2 * float(approximation_error(problem))
    exact = full_second_moments(index**-a, index**-b, rate, kappa, decay, batch, hidden)
    curve = dana(problem, rate, kappa, batch, STEPS, damping=DAMPING, decay_exponent=decay)
    np.testing.assert_allclose(curve.optimization, exact, rtol=SAME_MATHS)
    # The bias is the loss of an infinite batch.
    huge = dana(problem, rate, kappa, 1e300, STEPS, damping=DAMPING, decay_exponent=decay)
    np.testing.assert_allclose(curve.bias, huge.optimization, rtol=SAME_MATHS)
    assert float(curve.noise[0]) == 0.0
    assert np.all(np.asarray(curve.noise[2:]) > 0)


def implicit_euler(spectrum, rate, kappa, decay, log_step, stops):
    """d u/dt = P(t) u - u for (v, c, w) of all modes, in log (1 + t), batch one."""
    fields = spectrum.eigenvalues, spectrum.energies, spectrum.weights
    lam, energy, weights = (np.asarray(field) for field in fields)
    u, risks = np.stack([energy / lam, 0 * lam, 0 * lam], axis=-1), []
    unit = np.broadcast_to(np.eye(3), (lam.size, 3, 3))
    for k in range(1, round(np.log1p(stops[-1]) / log_step) + 2):
        t = np.expm1(k * log_step)
        keep, now = t / (DAMPING + t), kappa * (1 + t) ** -decay
        # (e, y) after a step from (e, y) and the gradient, whose fluctuation is `drive`.
        map_e = np.stack([1 - (rate + now) * lam, -now * keep + 0 * lam])
        map_y = np.stack([lam, keep + 0 * lam])
        own = lam**2 * np.array([(rate + now) ** 2, -(rate + now), 1.0])[:, None]
        pairs = ((map_e, map_e), (map_e, map_y), (map_y, map_y))
        rows = [(p[0] * q[0], p[0] * q[1] + p[1] * q[0], p[1] * q[1]) for p, q in pairs]
        matrix = np.moveaxis(np.array(rows), -1, 0)
        matrix[:, :, 0] += own.T
        drive = (own / lam).T
        width = (1 + t) * log_step
        sides = np.stack([u, width * drive], axis=-1)
        solved = np.linalg.solve(unit - width * (matrix - unit), sides)
        first, second = (np.sum(weights * lam * solved[:, 0, side]) for side in (0, 1))
        total = first / (1 - second)
        u = solved[:, :, 0] + total * solved[:, :, 1]
        if len(risks) < len(stops) and t >= stops[len(risks)]:
            risks.append(total / 2)
    return np.array(risks)


@pytest.mark.parametrize("setting", list(PUBLISHED))
def test_dana_follows_the_continuous_equations_and_the_published_risks(setting):
    spectrum, rate = published_problem()
    (share, decay), (risks, digits) = setting, PUBLISHED[setting]
    half_unit = LAST_DIGIT * 10.0 ** -np.array(digits, float)
    stops = np.array([1e2, 1e3, 1e4, 1e5])
    coarse, fine = (
        implicit_euler(spectrum, rate, share * rate, decay, step, stops) for step in (0.04, 0.02)
    )
    # Euler's error is linear in its step: the published one is 0.005.
    at_published = fine + (fine - coarse) / 0.02 * (0.02 - 0.005)
    curve = dana(
        spectrum, rate, share * rate, 1, stops, damping=DAMPING, decay_exponent=decay
    ).optimization
    # The first steps of the published code are its own: 1.3 % at 1e3, 0.6 % later (measured).
    slack = np.array([0.015, 0.015, 0.006, 0.006]) + half_unit[:4] / risks[:4]
    np.testing.assert_array_less(np.abs(at_published / risks[:4] - 1), slack)
    # A step is one unit of time: time differs by a fraction of order 1/t, and Euler's step is
    # half a percent of it.
    slack = 2.0 / stops + 0.005 + half_unit[:4] / risks[:4]
    np.testing.assert_array_less(np.abs(np.asarray(curve) / risks[:4] - 1), slack)


@pytest.mark.slow
@pytest.mark.parametrize("setting", list(PUBLISHED))
def test_dana_at_a_million_steps_matches_the_published_risk(setting):
    spectrum, rate = published_problem()
    (share, decay), (risks, digits) = setting, PUBLISHED[setting]
    curve = dana(spectrum, rate, share * rate, 1, 1e6, damping=DAMPING, decay_exponent=decay)
    slack = 0.005 * risks[-1] + LAST_DIGIT * 10.0 ** -digits[-1]
    assert abs(float(curve.optimization) - risks[-1]) <= slack


def test_dana_decaying_has_the_steeper_slope():
    a, b = 2.0, 2.6
    sgd, decaying, constant = (float(x) for x in dana_exponents(power_law(a, b, 2e4)))
    assert [sgd, decaying, constant] == pytest.approx([0.8, 1.2, 1.6], rel=SAME_MATHS)
    spectrum, rate = published_problem()
    steps = np.array([1e2, 1e3, 1e4, 1e5])

    def slopes(kappa, decay):
        curve = dana(spectrum, rate, kappa, 1, steps, damping=DAMPING, decay_exponent=decay)
        return -np.diff(np.log10(np.asarray(curve.optimization)))

    assert slopes(0.0, 0.0)[1:] == pytest.approx(sgd, abs=0.01)
    gaps = decaying - slopes(rate, 1 / a)
    assert np.all(np.abs(gaps[1:]) < 0.05)
    # Momentum of constant strength sets in at 1/kappa and then approaches its slope.
    gaps = constant - slopes(rate / 2e4 * 10, 0.0)
    assert np.all(np.diff(gaps) < 0)
    assert gaps[-1] < 0.4


def test_dana_without_momentum_or_without_memory_is_sgd():
    problem, steps = power_law(1.5, 1.8, 1000, 0.1), np.array([1, 10, 300])
    plain = stepped_sgd_momentum(problem, 0.2, 0.0, 4, steps)
    problem = compress(problem, 8)  # the nodes of `stepped_sgd_momentum`
    curve = dana(problem, 0.2, 0.0, 4, steps, damping=3.0)
    np.testing.assert_allclose(curve.optimization, plain.optimization, rtol=SAME_MATHS)
    np.testing.assert_allclose(curve.bias, plain.bias, rtol=SAME_MATHS)
    # Damping without end forgets all but the current gradient: SGD with eta + kappa.
    merged = stepped_sgd_momentum(problem, 0.3, 0.0, 4, steps)
    curve = dana(problem, 0.2, 0.1, 4, steps, damping=1e300)
    np.testing.assert_allclose(curve.optimization, merged.optimization, rtol=SAME_MATHS)


def test_dana_matches_monte_carlo():
    rng = np.random.default_rng(3)
    lam, runs, steps = np.arange(1, 7.0) ** -1.2, 20_000, 30
    e, y = -np.ones((runs, 6)), np.zeros((runs, 6))
    for t in range(steps):
        x = rng.standard_normal((runs, 6)) * np.sqrt(lam)
        g = (np.sum(x * e, axis=1) + 0.5 * rng.standard_normal(runs))[:, None] * x
        y = t / (DAMPING + t) * y + g
        e = e - 0.1 * g - 0.03 * (1 + t) ** -0.5 * y
    losses = np.sum(lam * e**2, axis=1) / 2
    spectrum = explicit_spectrum(lam, lam, noise_variance=0.25)
    curve = dana(spectrum, 0.1, 0.03, 1, steps, damping=DAMPING, decay_exponent=0.5)
    z = (losses.mean() - float(curve.optimization)) / (losses.std() / runs**0.5)
    assert abs(z) <= Z_SCORE


def test_gradient_in_the_momentum_rate_matches_differences():
    problem = power_law(1.5, 1.8, 100)

    def loss(kappa):
        return dana(problem, 0.1, kappa, 4, 50, damping=4.0).optimization

    width = 1e-5
    difference = (float(loss(0.02 + width)) - float(loss(0.02 - width))) / (2 * width)
    assert float(jax.jvp(loss, (0.02,), (1.0,))[1]) == pytest.approx(
        difference, rel=FINITE_DIFFERENCE
    )


def test_a_diverging_run_is_infinite():
    curve = dana(power_law(1.5, 1.8, 100), 0.1, 1.0, 1, np.array([1, 100_000]), damping=4.0)
    assert np.isfinite(curve.total[0])
    assert np.isinf(curve.total[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("momentum_rate", -1.0),
        ("batch_size", 0.5),
        ("steps", 1.5),
        ("damping", 0.0),
        ("decay_exponent", -0.5),
    ],
)
def test_bad_arguments_are_refused(name, value):
    good = {"learning_rate": 0.1, "momentum_rate": 0.1, "batch_size": 1, "steps": 3, "damping": 4.0}
    with pytest.raises(ValueError, match=f"`{name}`"):
        dana(power_law(1.5, 1.8, 10), **{**good, name: value})
    with pytest.raises(ValueError, match="`capacity_exponent`"):
        dana_exponents(power_law(0.9, 1.8, 10))
