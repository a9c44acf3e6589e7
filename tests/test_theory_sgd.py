"""SGD's propagator against the recursion, 80-digit powers, published values and limits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.linear_methods import gd
from theory.problem import power_law
from theory.secular import rank_one_eigen
from theory.sgd import critical_learning_rate, propagator, sgd, stability_sum
from theory.spectrum import Spectrum, approximation_error, compress, explicit_spectrum

from .test_theory_spectrum import reference_rows
from .tolerances import FINITE_DIFFERENCE, REFERENCE, SAME_MATHS


def recursion(a, b, size, rate, batch, noise, horizon):
    """Excess loss after 0..horizon steps, every mode stepped in extended precision."""
    modes = np.arange(1, size + 1, dtype=np.longdouble)
    lam, v = modes ** -np.longdouble(a), modes ** np.longdouble(a - b)
    untrained = 2 * float(approximation_error(power_law(a, b, size)))
    rate, batch = np.longdouble(rate), np.longdouble(batch)
    losses = [np.sum(lam * v) / 2]
    for _ in range(horizon):
        drive = np.sum(lam * v) + noise + untrained
        v = (1 - 2 * rate * lam + rate**2 * lam**2 * (1 + 1 / batch)) * v
        v = v + rate**2 / batch * lam * drive
        losses.append(np.sum(lam * v) / 2)
    return np.array(losses, dtype=float)


@pytest.mark.parametrize(
    ("a", "b", "size", "rate", "batch", "noise"),
    [
        pytest.param(1.5, 1.8, 10_000, 0.3, 4, 0.0, marks=pytest.mark.slow),
        (1.2, 1.5, 1_000, 0.1, 1, 0.5),
        (1.0, 2.5, 3_000, 0.05, 1, 0.1),
        (2.0, 1.3, 500, 0.6, 2, 1.0),
        (1.5, 1.8, 20, 0.9, 1000, 0.0),
        (1.5, 1.8, 1, 0.5, 3, 0.2),
    ],
)
def test_sgd_matches_stepping_every_mode(a, b, size, rate, batch, noise):
    losses = recursion(a, b, size, rate, batch, noise, 3000)
    steps = np.array([0, 1, 2, 10, 100, 1000, 3000])
    curve = sgd(power_law(a, b, size, noise), rate, batch, steps)
    np.testing.assert_allclose(curve.optimization, losses[steps], rtol=SAME_MATHS)


@pytest.mark.slow
def test_sgd_matches_stepping_a_million_modes():
    losses = recursion(1.5, 1.8, 1_000_000, 0.3, 4, 0.1, 1000)
    steps = np.array([1, 100, 1000])
    curve = sgd(power_law(1.5, 1.8, 1e6, 0.1), 0.3, 4, steps)
    np.testing.assert_allclose(curve.optimization, losses[steps], rtol=SAME_MATHS)


@pytest.mark.parametrize("fraction", [0.9, 0.999, 0.9999999])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_sgd_is_exact_up_to_the_stability_limit(fraction, batch):
    problem = power_law(1.5, 1.8, 3000)
    rate = fraction * float(critical_learning_rate(problem, batch))
    losses = recursion(1.5, 1.8, 3000, rate, batch, 0.0, 300)
    # 300 steps at the edge multiply the rounding of d, where poles fold over each other.
    assert float(sgd(problem, rate, batch, 300).optimization) == pytest.approx(
        losses[300], rel=SAME_MATHS
    )


@pytest.mark.parametrize("row", reference_rows("sgd.csv"))
def test_sgd_matches_repeated_squaring_in_eighty_digits(row):
    modes = 4.0 ** np.arange(20)
    spectrum = Spectrum(
        jnp.asarray(modes ** -float(row["a"])),
        jnp.asarray(modes ** -float(row["b"])),
        jnp.asarray(modes),
        jnp.zeros(()),
        jnp.asarray(float(row["noise_variance"])),
    )
    curve = sgd(
        spectrum, float(row["learning_rate"]), float(row["batch_size"]), float(row["steps"])
    )
    assert float(curve.optimization) == pytest.approx(float(row["loss"]), rel=SAME_MATHS)


@pytest.mark.parametrize(
    ("a", "b", "losses", "digits"),
    [
        (1.2, 1.6, (1.20221357e-3, 3.84249469e-5, 1.15470668e-6), 9),
        (1.5, 1.8, (5.15282645e-4, 1.29469412e-5, 3.25050371e-7), 9),
        (2.0, 1.3, (0.2270425, 0.08026978, 0.02819009), 7),
    ],
)
def test_sgd_reproduces_tabulated_losses_of_a_trillion_modes(a, b, losses, digits):
    # The table leaves out the noise of the untrained modes.
    trained = dataclasses.replace(compress(power_law(a, b, 1e12)), approximation=jnp.zeros(()))
    curve = sgd(trained, 0.3, 4, jnp.array([1e6, 1e9, 1e12]))
    np.testing.assert_allclose(curve.optimization, losses, rtol=10.0 ** (1 - digits))


def test_more_nodes_do_not_change_the_loss():
    problem = power_law(1.5, 1.8, 1e12)
    steps = jnp.array([1e3, 1e9, 1e12])
    coarse, fine = (sgd(compress(problem, n), 0.3, 4, steps).optimization for n in (16, 24))
    np.testing.assert_allclose(coarse, fine, rtol=REFERENCE)


def test_large_batches_tend_to_gradient_descent():
    problem = power_law(1.5, 1.8, 1e5, 0.1)
    descent = gd(problem, 0.5, 1000)
    gaps = [
        float(sgd(problem, 0.5, batch, 1000).total - descent.total) for batch in (1e3, 1e6, 1e9)
    ]
    assert gaps[0] > 900 * gaps[1] > 900**2 * gaps[2] > 0
    assert float(sgd(problem, 0.5, 1e3, 1000).bias) == float(descent.bias)


def test_equal_eigenvalues_are_deflated_exactly():
    lam, energy = np.array([1, 1, 0.5, 0.5, 0.5, 0.2]), np.arange(1.0, 7.0)
    v = energy / lam
    for _ in range(50):
        drive = np.sum(lam * v) + 0.3 + 0.2
        v = (1 - 0.4 * lam + 0.04 * lam**2 * (1 + 1 / 3)) * v + 0.04 / 3 * lam * drive
    curve = sgd(explicit_spectrum(lam, energy, 0.1, 0.3), 0.2, 3, 50)
    assert float(curve.optimization) == pytest.approx(np.sum(lam * v) / 2, rel=SAME_MATHS)


@pytest.mark.parametrize(("size", "batch"), [(1, 1), (5, 2), (40, 8)])
def test_isotropic_threshold_has_its_closed_form(size, batch):
    spectrum = explicit_spectrum(np.ones(size), np.ones(size))
    limit = float(critical_learning_rate(spectrum, batch))
    assert limit == pytest.approx(2 / (1 + (size + 1) / batch), rel=SAME_MATHS)


@pytest.mark.parametrize("batch", [1, 7])
def test_threshold_separates_growth_from_decay_of_the_dense_moment_map(batch):
    lam = np.arange(1, 41) ** -1.2
    spectrum = explicit_spectrum(lam, np.ones(40))
    limit = float(critical_learning_rate(spectrum, batch))
    for factor, stable in ((0.9999, True), (1.0001, False)):
        rate = limit * factor
        dense = np.diag(1 - 2 * rate * lam + rate**2 * lam**2 * (1 + 1 / batch))
        dense += rate**2 / batch * np.outer(lam, lam)
        assert (np.abs(np.linalg.eigvals(dense)).max() < 1) is np.bool_(stable)
        assert (float(stability_sum(spectrum, rate, batch)) < 1) is stable


def test_eigenvectors_are_orthogonal_for_a_trillion_modes():
    spectrum = compress(power_law(1.5, 1.8, 1e12))
    lam, coupling = spectrum.eigenvalues, jnp.sqrt(spectrum.weights) * spectrum.eigenvalues
    eigen = rank_one_eigen(0.3 * lam * (2 - 1.25 * 0.3 * lam), coupling, jnp.array(0.3**2 / 4))
    active = np.asarray(eigen.active)
    vectors = np.asarray(eigen.directions() / eigen.norms())[np.ix_(active, active)]
    overlap = vectors.T @ vectors - np.eye(vectors.shape[0])
    assert np.abs(overlap).max() < REFERENCE


def test_eigenvalues_match_a_dense_solver_where_that_is_accurate():
    poles = jnp.array([0.1, 0.4, 0.4, 0.5, 0.9, 0.2])
    coupling = jnp.array([0.3, 0.2, 0.5, 0.0, 0.7, 0.1])
    eigen = rank_one_eigen(poles, coupling, jnp.array(0.25))
    dense = np.diag(poles) - 0.25 * np.outer(coupling, coupling)
    np.testing.assert_allclose(np.sort(eigen.values), np.linalg.eigvalsh(dense), atol=1e-15)


def test_derivatives_agree_with_finite_differences():
    def loss(values):
        rate, batch, capacity, noise = values
        problem = power_law(capacity, 1.8, 1e4, noise)
        return jnp.log(propagator(problem, rate, batch).excess(jnp.array(1e3)))

    point, step = jnp.array([0.3, 4.0, 1.5, 0.1]), 1e-5
    automatic = jax.jit(jax.grad(loss))(point)
    value = jax.jit(loss)
    for i in range(4):
        shift = jnp.zeros(4).at[i].set(step)
        central = (value(point + shift) - value(point - shift)) / (2 * step)
        assert float(automatic[i]) == pytest.approx(float(central), rel=FINITE_DIFFERENCE)


def test_propagator_vectorises_over_learning_rates():
    problem = power_law(1.5, 1.8, 1e4)
    rates, steps = jnp.array([0.1, 0.2, 0.4]), jnp.array([10.0, 1e6])
    many = jax.vmap(lambda rate: sgd(problem, rate, 4.0, steps).total)(rates)
    one_by_one = jnp.stack([sgd(problem, rate, 4.0, steps).total for rate in rates])
    np.testing.assert_allclose(many, one_by_one, rtol=REFERENCE)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"learning_rate": 1.3}, "learning_rate"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"batch_size": 0.5}, "batch_size"),
        ({"steps": -1.0}, "steps"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, name):
    good = {"learning_rate": 0.3, "batch_size": 4, "steps": 10.0}
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        sgd(power_law(1.5, 1.8, 100), **(good | arguments))
