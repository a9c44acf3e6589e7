"""Gradient and sign descent under Zipf's law: brute force, published tables, limits."""

import numpy as np
import pytest

from theory.zipf import (
    zipf_gd,
    zipf_gd_constant,
    zipf_gd_harmonic,
    zipf_gd_integral,
    zipf_gd_limit,
    zipf_gd_steps,
    zipf_sign,
    zipf_sign_limit,
    zipf_sign_steps,
    zipf_sign_tuned,
)

from .tolerances import PRINTED, REFERENCE, SAME_MATHS


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.7])
def test_gd_matches_stepping_every_token(exponent):
    pi = np.arange(1, 3001) ** -exponent
    pi /= pi.sum()
    # Row i holds sum_j pi_j|i^2, the same for every row, and is weighted by its eigenvalue pi_i.
    row = np.ones_like(pi)
    losses = []
    for _ in range(61):
        losses.append(np.sum(pi * row**2))
        row *= 1 - pi / pi[0]
    exact = zipf_gd(exponent, 3000, np.arange(61))
    np.testing.assert_allclose(exact, np.array(losses) / losses[0], rtol=SAME_MATHS)


TAUS = np.array([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("size", "row"),
    [
        (1e3, (0.60434, 0.38646, 0.17602, 0.02928)),
        (1e5, (0.66416, 0.42852, 0.19490, 0.01815)),
        pytest.param(1e7, (0.68897, 0.44815, 0.20784, 0.01314), marks=pytest.mark.slow),
    ],
)
def test_gd_reproduces_the_published_table_of_zipf(size, row):
    np.testing.assert_allclose(zipf_gd(1.0, size, size**TAUS / 2), row, atol=PRINTED)


@pytest.mark.slow
def test_gd_of_harmonic_sums_and_of_many_words_reproduces_the_published_table():
    harmonic = zipf_gd_harmonic(1e7, 1e7**TAUS / 2)
    np.testing.assert_allclose(harmonic, (0.68950, 0.44816, 0.20784, 0.01314), atol=PRINTED)
    np.testing.assert_allclose(zipf_gd_limit(1.0, TAUS), 1 - TAUS, rtol=REFERENCE)


def test_gd_steps_to_a_tolerance():
    rows = {0.5: (6.5, 20.9, 66.4, 210.2), 0.1: (186.6, 1360.7, 10168, 77232)}
    for tolerance, row in rows.items():
        steps = [zipf_gd_steps(1.0, size, tolerance) for size in (1e3, 1e4, 1e5, 1e6)]
        np.testing.assert_allclose(steps, row, rtol=1e-5, atol=0.05)
        assert float(zipf_gd(1.0, 1e6, steps[-1])) == pytest.approx(tolerance, rel=1e-11)
    for tolerance, exponent in ((0.5, 0.501), (0.25, 0.745), (0.1, 0.881)):
        pair = [zipf_gd_steps(1.0, size, tolerance) for size in (1e5, 1e6)]
        assert np.log10(pair[1] / pair[0]) == pytest.approx(exponent, abs=5.1e-4)


def test_gd_below_one_reproduces_the_table_and_mpmath():
    mpmath = pytest.importorskip("mpmath")
    taus = np.array([0.5, 1.0, 2.0, 4.0])
    limits = {
        0.25: (0.495728, 0.258187, 0.075069, 0.007270),
        0.5: (0.326644, 0.148496, 0.037534, 0.003198),
        0.75: (0.152621, 0.063450, 0.014837, 0.001189),
    }
    finite = {
        0.25: (0.491320, 0.254201, 0.073068, 0.006933),
        0.5: (0.326623, 0.148472, 0.037522, 0.003196),
        0.75: (0.154991, 0.064435, 0.015068, 0.001207),
    }
    for alpha, row in limits.items():
        values = zipf_gd_limit(alpha, taus)
        np.testing.assert_allclose(values, row, atol=5.1e-7)
        at_size = zipf_gd(alpha, 1e7, taus * 1e7**alpha / 2)
        np.testing.assert_allclose(at_size, finite[alpha], atol=5.1e-7)
    for alpha in (0.05, 0.3, 0.9, 0.99):
        for tau in (1e-6, 0.1, 3.0, 30.0):
            exact = float((1 - alpha) / alpha * mpmath.expint(1 / mpmath.mpf(alpha), tau))
            assert float(zipf_gd_limit(alpha, tau)) == pytest.approx(exact, rel=SAME_MATHS)
    assert float(zipf_gd_limit(0.4, 0.0)) == pytest.approx(1.0, rel=SAME_MATHS)


def test_gd_above_one_reaches_its_constant_as_one_over_t():
    rows = {1.5: (0.683653, 0.068125), 2.0: (0.538761, 0.017031), 3.0: (0.375500, 0.003753)}
    for alpha, (constant, at_500) in rows.items():
        assert float(zipf_gd_constant(alpha)) == pytest.approx(constant, abs=5.1e-7)
        assert float(zipf_gd(alpha, 1e7, 500)) == pytest.approx(at_500, abs=5.1e-7)
        slope = 1 - 1 / alpha
        for steps in (1e3, 1e4):
            power = float(zipf_gd_constant(alpha)) * (2 * steps) ** -slope
            exact = float(zipf_gd(alpha, 1e15, steps))
            # Gamma(2t + 1)/Gamma(2t + 1 + slope) = (2t)^-slope (1 - slope (slope + 1)/(4t) ...).
            untrained = (1e15) ** (1 - alpha) / ((alpha - 1) * 1.2)
            gap = 1 - exact / power
            expected = slope * (slope + 1) / (4 * steps)
            assert gap == pytest.approx(expected, rel=0.01, abs=3 * untrained / power)
            beta = float(zipf_gd_integral(alpha, steps))
            assert beta / power == pytest.approx(1 - expected, abs=3 / steps**2)


def test_a_trillion_tokens():
    # The limit of alpha < 1 is approached as d^-(1 - alpha) for alpha above 1/2, d^-alpha below.
    gaps = [
        abs(float(zipf_gd(0.5, d, d**0.5 / 2) / zipf_gd_limit(0.5, 1.0)) - 1)
        for d in (1e6, 1e9, 1e12)
    ]
    assert gaps[0] > 20 * gaps[1] > 400 * gaps[2]
    assert gaps[2] < 1e-6


def idealised(alpha, size, steps, reach):
    k = np.arange(1, size + 1)
    walking = k <= reach
    residual = np.where(walking, k**-alpha - reach**-alpha, reach**-alpha / (2 * steps))
    return np.sum(residual**2) / np.sum(k ** (-2 * alpha))


@pytest.mark.parametrize("alpha", [0.25, 0.45, 0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("steps", [0.6, 2.0, 8.0, 50.0])
def test_tuned_sign_descent_beats_every_reach(alpha, steps):
    best = zipf_sign_tuned(alpha, 2000, steps)
    assert best.loss == pytest.approx(idealised(alpha, 2000, steps, best.reach), rel=SAME_MATHS)
    assert zipf_sign(alpha, 2000, steps, 7.3) == pytest.approx(
        idealised(alpha, 2000, steps, 7.3), rel=SAME_MATHS
    )
    reaches = np.concatenate([np.arange(1, 2001), np.geomspace(1, 2000, 3000)])
    lowest = min(idealised(alpha, 2000, steps, reach) for reach in reaches)
    assert best.loss <= lowest * (1 + SAME_MATHS)
    assert best.loss >= lowest * (1 - 1e-5)  # the scan's own spacing


def test_sign_descent_reproduces_the_published_table():
    root = 1e5**0.5
    rows = ((1, 0.30396, 2), (2, 0.12159, 1.25), (4, 0.03576, 1.0625), (8, 0.00935, 1.0156))
    for tau, loss, reach in rows:
        for found in (zipf_sign_tuned(1.0, 1e5, tau * root / 2), zipf_sign_limit(1.0, tau)):
            assert found.loss == pytest.approx(loss, abs=PRINTED)
            assert found.reach == pytest.approx(reach, abs=1e-4)
    for tau, loss in ((1, 0.46197), (2, 0.18479), (4, 0.05435), (8, 0.01421)):
        assert zipf_sign_limit(2.0, tau).loss == pytest.approx(loss, abs=PRINTED)
    rows = ((4, 0.1301, 0.23077, 0.12951), (8, 0.07046, 0.04918, 0.06983))
    for tau, limit, share, finite in (*rows, (16, 0.03587, 0.01186, 0.03524)):
        found = zipf_sign_limit(0.25, tau)
        assert found.loss == pytest.approx(limit, abs=5.1e-5)
        assert found.reach == pytest.approx(share, abs=PRINTED)
        assert zipf_sign_tuned(0.25, 1e6, tau / 2).loss == pytest.approx(finite, abs=PRINTED)
    crossover = zipf_sign_steps(1.0, 1.0, np.array([0.25, 0.1, 0.05]))
    np.testing.assert_allclose(crossover, (0.598, 1.127, 1.670), atol=5.1e-4)


def test_sign_descent_tends_to_its_limits():
    for alpha, tau, steps in (
        (0.25, 4.0, (2.0, 0.0)),
        (0.8, 3.0, (1.5, 0.5)),
        (0.5, 0.6, (0.5, 0.3)),
    ):
        limit = zipf_sign_limit(alpha, tau).loss
        gaps = [
            abs(zipf_sign_tuned(alpha, d, steps[0] * d ** steps[1]).loss / limit - 1)
            for d in (1e4, 1e8, 1e12)
        ]
        assert gaps[0] > gaps[1] > gaps[2]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`exponent`"):
        zipf_gd(0.0, 10, 1)
    with pytest.raises(ValueError, match="`vocabulary`"):
        zipf_gd(1.0, 0.5, 1)
    with pytest.raises(ValueError, match="`tolerance`"):
        zipf_gd_steps(1.0, 10, 1.0)
    with pytest.raises(ValueError, match="`reach`"):
        zipf_sign(1.0, 10, 1, 11)
    with pytest.raises(ValueError, match="`scaled_time`"):
        zipf_sign_limit(0.25, 1.0)
    with pytest.raises(ValueError, match="`exponent`"):
        zipf_gd_limit(1.5, 1.0)
