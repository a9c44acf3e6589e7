"""Chinchilla's law and its compute-optimal allocation against brute-force minimisation."""

import numpy as np
import pytest
from scipy.optimize import brent

from theory.laws import Chinchilla, chinchilla, compute_exponents, compute_optimal

LAWS = [(1.69, 406.4, 410.7, 0.34, 0.28), (1.8172, 477.8, 2143.4, 0.3473, 0.3672), (0, 5, 7, 1, 2)]


@pytest.mark.parametrize("parameters", LAWS)
@pytest.mark.parametrize("flops", [1e18, 5.76e23])
def test_allocation_minimises_the_loss_on_the_budget(parameters, flops):
    e, a, b, alpha, beta = parameters

    def reducible(log_size):
        size = np.exp(log_size)
        return a * size**-alpha + b * (flops / 6 / size) ** -beta

    best = float(np.asarray(brent(reducible, brack=(10, 25), tol=1e-13)))
    allocation = compute_optimal(chinchilla(*parameters), flops)
    # A minimum is flat: its place is known to the square root of its value's precision.
    assert float(allocation.size) == pytest.approx(np.exp(best), rel=1e-6)
    assert float(allocation.loss) == pytest.approx(e + reducible(best), rel=1e-13)
    assert 6 * float(allocation.size * allocation.tokens) == pytest.approx(flops, rel=1e-13)


@pytest.mark.parametrize("parameters", LAWS)
def test_compute_exponents_are_the_slopes_of_the_allocation(parameters):
    law = chinchilla(*parameters)
    low, high = (compute_optimal(law, flops) for flops in (1e20, 1e22))
    measured = [
        float(np.log(after / before) / np.log(100))
        for before, after in (
            (low.size, high.size),
            (low.tokens, high.tokens),
            (low.loss - law.irreducible, high.loss - law.irreducible),
        )
    ]
    np.testing.assert_allclose(measured, compute_exponents(law), rtol=1e-12)


def test_allocation_of_many_laws_at_once():
    law = Chinchilla(*(np.array(column) for column in zip(*LAWS, strict=True)))
    together = compute_optimal(law, 1e20).size
    alone = [float(compute_optimal(chinchilla(*parameters), 1e20).size) for parameters in LAWS]
    np.testing.assert_allclose(together, alone, rtol=1e-13)


def test_hoffmann_rounded_law_at_chinchilla():
    # Hoffmann et al. 2022, their fit at 70e9 parameters and 1.4e12 tokens.
    assert float(chinchilla(*LAWS[0]).loss(70e9, 1.4e12)) == pytest.approx(1.9367, abs=1e-4)


@pytest.mark.parametrize(
    ("position", "value", "name"),
    [
        (0, -0.1, "irreducible"),
        (1, 0.0, "size_coefficient"),
        (2, np.nan, "tokens_coefficient"),
        (3, 0.0, "size_exponent"),
        (4, -1.0, "tokens_exponent"),
    ],
)
def test_bad_laws_are_refused_by_name(position, value, name):
    parameters = list(LAWS[0])
    parameters[position] = value
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        chinchilla(*parameters)


@pytest.mark.parametrize(("flops", "cost"), [(0.0, 6.0), (-1.0, 6.0), (np.nan, 6.0), (1e20, 0.0)])
def test_bad_budgets_are_refused(flops, cost):
    with pytest.raises(ValueError, match="`flops"):
        compute_optimal(chinchilla(*LAWS[0]), flops, cost)
