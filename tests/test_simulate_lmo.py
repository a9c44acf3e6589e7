from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simulate.adaptive import adam, adamw, lion, optax_muon
from simulate.lmo import (
    LmoMethod,
    muon,
    normalized_sgd,
    scale_by_lmo,
    scion_hidden,
    scion_input,
    scion_output,
    signum,
    spectral_descent,
)
from simulate.matrix_problems import matrix_quadratic
from simulate.problems import diagonal_quadratic
from simulate.sweep import sweep
from simulate.trajectory import simulate
from tests.tolerances import FLOAT32_RUN, SAME_MATHS, SPECTRAL_ROUTE
from theory.newton_schulz import MUON, quintic
from theory.norms import NORMS
from theory.problem import power_law

PROBLEM = power_law(1.5, 1.8, 6)
NAMED = {
    "normalized_sgd": normalized_sgd,
    "signum": signum,
    "spectral_descent": spectral_descent,
    "muon": muon,
    "scion_input": scion_input,
    "scion_hidden": scion_hidden,
    "scion_output": scion_output,
}


def numpy_lmo(name, m):
    """The downhill direction of each norm from its formula, loop by loop."""
    rows, columns = m.shape
    if name == "euclidean":
        return -m / np.linalg.norm(m)
    if name == "max":
        return -np.sign(m)
    if name in ("spectral", "rms_to_rms"):
        left, _, right = np.linalg.svd(m, full_matrices=False)
        return -left @ right * (1.0 if name == "spectral" else np.sqrt(rows / columns))
    if name == "one_to_rms":
        return -np.stack([c / np.sqrt(np.mean(c**2)) for c in m.T], axis=1)
    return -np.stack([r / np.sqrt(np.mean(r**2)) / columns for r in m])


def numpy_run(name, gradients, start, rate, alpha, decay, initialise):
    weights = start.copy()
    average = gradients[0] if initialise == "gradient" else np.zeros_like(start)
    for g in gradients:
        average = (1 - alpha) * average + alpha * g
        weights = (1 - rate * decay) * weights + rate * numpy_lmo(name, average)
    return weights


def optax_run(transformation, gradients, start):
    state = transformation.init(start)
    for g in gradients:
        updates, state = transformation.update(jnp.asarray(g), state, start)
        start = optax.apply_updates(start, updates)
    return start


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("initialise", ["gradient", "zero"])
@pytest.mark.parametrize("decay", [None, 0.7])
def test_the_recursion_against_numpy(norm, initialise, decay):
    rng = np.random.default_rng(5)
    gradients, start = rng.normal(size=(6, 3, 4)), rng.normal(size=(3, 4))
    method = LmoMethod(norm, initialise=initialise)
    result = optax_run(method(0.3, 0.8, decay), gradients, jnp.asarray(start))
    expected = numpy_run(norm, gradients, start, 0.3, 0.2, decay or 0.0, initialise)
    np.testing.assert_allclose(result, expected, atol=SPECTRAL_ROUTE)


def test_the_two_starts_differ_after_the_first_step_only():
    gradients = np.random.default_rng(0).normal(size=(2, 3, 4))
    start = jnp.zeros((3, 4))
    warm, cold = (
        LmoMethod("euclidean", initialise=kind)(0.1, 0.9) for kind in ("gradient", "zero")
    )
    first = [optax_run(method, gradients[:1], start) for method in (warm, cold)]
    np.testing.assert_allclose(first[0], first[1], rtol=SAME_MATHS)
    second = [optax_run(method, gradients, start) for method in (warm, cold)]
    assert np.max(np.abs(second[0] - second[1])) > 0.01


def test_no_momentum_is_momentum_zero():
    gradients = np.random.default_rng(1).normal(size=(3, 4, 4))
    start = jnp.ones((4, 4))
    bare = optax_run(muon(0.1), gradients, start)
    np.testing.assert_allclose(optax_run(muon(0.1, 0.0), gradients, start), bare, rtol=SAME_MATHS)


@pytest.mark.parametrize("norm", NORMS)
def test_weight_decay_keeps_the_weights_in_the_ball(norm):
    gradients = np.random.default_rng(2).normal(size=(40, 3, 4))
    method = LmoMethod(norm)(0.25, 0.5, 2.0)
    state, weights = method.init(jnp.zeros((3, 4))), jnp.zeros((3, 4))
    largest, update = 0.0, jax.jit(method.update)
    for g in gradients:
        updates, state = update(jnp.asarray(g), state, weights)
        weights = optax.apply_updates(weights, updates)
        largest = max(largest, float(NORMS[norm].norm(weights)))
    # From inside, no step leaves the ball of radius 1/2; these reach half of it at least.
    assert 0.25 < largest <= 0.5 * (1 + SAME_MATHS)


def test_muon_is_the_polar_factor_up_to_the_range_of_its_polynomial():
    g = jnp.asarray(np.random.default_rng(3).normal(size=(5, 7)))
    step = scale_by_lmo("spectral", coefficients=MUON)
    values = np.linalg.svd(np.asarray(step.update(g, step.init(g))[0]), compute_uv=False)
    assert np.all((values > 0.68) & (values < 1.14))
    exact = LmoMethod("spectral", coefficients=quintic(10))(1.0)
    svd = spectral_descent(1.0)
    np.testing.assert_allclose(
        exact.update(g, exact.init(g))[0], svd.update(g, svd.init(g))[0], atol=SPECTRAL_ROUTE
    )


def test_leaves_step_side_by_side():
    tree = {"a": jnp.asarray([3.0, -4.0]), "b": jnp.asarray([[0.5]])}
    step = scale_by_lmo("euclidean", 0.3)
    updates, _ = step.update(tree, step.init(tree))
    np.testing.assert_allclose(updates["a"], [-0.6, 0.8], rtol=SAME_MATHS)
    np.testing.assert_allclose(updates["b"], [[-1.0]], rtol=SAME_MATHS)


@pytest.mark.parametrize("name", NAMED)
def test_the_engine_sweeps_rates_and_momenta(name):
    problem = matrix_quadratic(PROBLEM, alignment="crossed", key=jax.random.key(1))
    grid = {"learning_rate": [0.01, 0.03, 0.03], "momentum": [0.0, 0.5, 0.9]}
    swept = sweep(problem, NAMED[name], [0, 3, 20], grid)
    assert np.all(np.isfinite(swept.loss))
    assert np.all(np.asarray(swept.loss)[:, 1] < np.asarray(swept.loss)[:, 0])
    for which in range(3):
        alone = {key: values[which] for key, values in grid.items()}
        single = simulate(problem, NAMED[name], [0, 3, 20], **alone)
        np.testing.assert_allclose(swept.loss[which], single.loss, rtol=SPECTRAL_ROUTE)


@pytest.mark.parametrize(
    ("factory", "extra"),
    [
        (adam, {"momentum": 0.9, "second_momentum": 0.99, "epsilon": 1e-9}),
        (adamw, {"momentum": 0.9, "weight_decay": 1e-3}),
        (lion, {"momentum": 0.9, "second_momentum": 0.95}),
        (optax_muon, {"momentum": 0.9, "weight_decay": 1e-3}),
    ],
)
def test_optax_methods_sweep_and_agree_with_optax(factory, extra):
    problem = matrix_quadratic(PROBLEM, alignment="turned", key=jax.random.key(2))
    grid = {"learning_rate": [0.01, 0.05], **{name: [v, v] for name, v in extra.items()}}
    swept = sweep(problem, factory, [0, 4], grid)
    with jax.numpy_dtype_promotion("standard"):
        transformation = {
            adam: lambda: optax.adam(0.05, 0.9, 0.99, 1e-9),
            adamw: lambda: optax.adamw(0.05, 0.9, weight_decay=1e-3),
            lion: lambda: optax.lion(0.05, 0.9, 0.95, weight_decay=0.0),
            optax_muon: lambda: optax.contrib.muon(0.05, beta=0.9, weight_decay=1e-3),
        }[factory]()
        params = problem.init()
        state = transformation.init(params)
        for _ in range(4):
            gradient = problem.gradient(params, jax.random.key(0))
            updates, state = transformation.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(swept.loss[1, 1], problem.loss(params), rtol=SPECTRAL_ROUTE)


def test_aligned_spectral_descent_is_sign_descent_on_the_vector_problem():
    steps = [0, 1, 5, 30]
    matrix = simulate(
        matrix_quadratic(PROBLEM, rows=7, columns=8), spectral_descent, steps, learning_rate=0.09
    )
    vector = simulate(diagonal_quadratic(PROBLEM), signum, steps, learning_rate=0.09)
    np.testing.assert_allclose(matrix.loss, vector.loss, rtol=SPECTRAL_ROUTE)


def test_turning_the_coordinates_changes_sign_steps_but_not_spectral_ones():
    aligned = matrix_quadratic(PROBLEM)
    turned = matrix_quadratic(PROBLEM, alignment="turned", key=jax.random.key(3))
    losses = {
        (method, kind): float(simulate(problem, method, [0, 15], learning_rate=0.07).loss[1])
        for method in (spectral_descent, signum)
        for kind, problem in (("aligned", aligned), ("turned", turned))
    }
    assert losses[spectral_descent, "turned"] == pytest.approx(
        losses[spectral_descent, "aligned"], rel=1e-9
    )
    assert abs(losses[signum, "turned"] / losses[signum, "aligned"] - 1) > 0.01


@pytest.mark.parametrize("name", ["signum", "normalized_sgd", "muon"])
def test_single_precision_follows_double(name):
    double = matrix_quadratic(PROBLEM, alignment="crossed", key=jax.random.key(1))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), double)
    options = {"learning_rate": 0.01, "momentum": 0.5, "weight_decay": 0.1}
    expected = simulate(double, NAMED[name], [0, 10], **options).loss
    result = simulate(single, NAMED[name], [0, 10], **options).loss
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=FLOAT32_RUN)


def test_a_second_call_does_not_compile_again():
    problem = diagonal_quadratic(PROBLEM)
    simulate(problem, LmoMethod("max"), [0, 3], learning_rate=0.1, momentum=0.5)
    traces = []
    original = problem.__class__.gradient
    counted = lambda self, params, key: (traces.append(1), original(self, params, key))[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem.__class__, "gradient", counted)
        simulate(problem, LmoMethod("max"), [0, 4], learning_rate=0.2, momentum=0.7)
    assert not traces


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"norm": "nuclear"}, "norm"),
        ({"norm": "max", "initialise": "one"}, "initialise"),
        ({"norm": "spectral", "coefficients": ((1.0, 2.0),)}, "coefficients"),
    ],
)
def test_bad_choices_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        LmoMethod(**options)(0.1)
    with pytest.raises(ValueError, match=named):
        scale_by_lmo(**options)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
        ({"momentum": float("nan")}, "momentum"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
    ],
)
def test_bad_numbers_are_refused(numbers, named):
    with pytest.raises(ValueError, match=named):
        signum(**{"learning_rate": 0.1, **numbers})
    with pytest.raises(ValueError, match=named):
        signum.check(**{"learning_rate": np.array([0.1]), **numbers})


@pytest.mark.parametrize("alpha", [0.0, 1.1, -0.5, float("nan")])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        scale_by_lmo("max", alpha)


@pytest.mark.parametrize(
    ("factory", "numbers", "named"),
    [
        (adam, {"momentum": 1.0}, "momentum"),
        (adam, {"epsilon": -1.0}, "epsilon"),
        (adamw, {"weight_decay": -1.0}, "weight_decay"),
        (lion, {"second_momentum": 1.5}, "second_momentum"),
        (optax_muon, {"momentum": -0.5}, "momentum"),
    ],
)
def test_bad_numbers_of_adaptive_methods_are_refused(factory, numbers, named):
    with pytest.raises(ValueError, match=named):
        factory(0.1, **numbers)


@pytest.mark.parametrize("momentum", [1.0, 1.5, -0.1])
def test_a_traced_momentum_outside_its_range_is_never_silent(momentum):
    @jax.jit
    def two_steps(momentum):
        return optax_run(signum(0.1, momentum), jnp.ones((2, 3)), jnp.zeros(3))

    assert np.all(np.isnan(two_steps(momentum)))
    assert np.all(np.isfinite(two_steps(0.5)))


@pytest.mark.parametrize("method", ["spectral_descent", "muon", "scion_output"])
def test_a_matrix_method_refuses_a_vector_problem(method):
    with pytest.raises(ValueError, match="matrix"):
        simulate(diagonal_quadratic(PROBLEM), NAMED[method], [0, 1], learning_rate=0.1)


def test_a_run_at_the_minimum_stays_there():
    problem = matrix_quadratic(PROBLEM)
    problem = replace(problem, target=jnp.zeros_like(problem.target))
    for method in NAMED.values():
        run = simulate(problem, method, [0, 3], learning_rate=0.1, momentum=0.5)
        np.testing.assert_array_equal(run.loss, np.full(2, problem.floor))
