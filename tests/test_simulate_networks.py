"""Networks, their tasks and the methods that step each role of weights in its own norm."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulate.grouped import (
    GroupedMethod,
    layered_adamw,
    layered_signum,
    muon_adamw,
    scion,
)
from simulate.lmo import LmoMethod, scion_input, scion_output
from simulate.network_problems import HELD_OUT, next_token, regression
from simulate.networks import (
    Activate,
    Embedding,
    Linear,
    Network,
    Normalize,
    deep_linear,
    language_model,
    observe_norms,
    operator_norms,
    roles,
    two_layer,
)
from simulate.role_norms import ROLES, operator_norm, spectral_norm
from simulate.schedules import Scheduled, linear
from simulate.trajectory import simulate
from tests.tolerances import FINITE_DIFFERENCE, SAME_MATHS, SPECTRAL_ROUTE, Z_SCORE
from theory.newton_schulz import MUON, reached_range
from theory.norms import polar_factor
from theory.problem import power_law

VOCABULARY, WIDTH, CONTEXT, BATCH = 12, 8, 3, 16
# Exact polar factors in place of Newton-Schulz.
EXACT = GroupedMethod(scion_input, LmoMethod("rms_to_rms"), scion_output)


@pytest.fixture(scope="module")
def task():
    """A small language task in float64."""
    network = language_model(jax.random.key(3), VOCABULARY, WIDTH, CONTEXT, kind="tanh")
    text = np.random.default_rng(0).integers(0, VOCABULARY, 4000)
    text[1::2] = (3 * text[::2] + 1) % VOCABULARY  # something to learn
    return next_token(network, text, CONTEXT, BATCH, evaluation=64, block=100)


@pytest.fixture(scope="module")
def squares():
    """A regression task with a two-layer network, in float64."""
    network = two_layer(jax.random.key(5), 6, WIDTH, 4, kind="tanh")
    problem = power_law(1.2, 1.4, size=6, noise_variance=0.3)
    return regression(problem, network, 4, BATCH, jax.random.key(1), evaluation=400)


def slope(task):
    """A gradient at the initial network."""
    return jax.jit(type(task).gradient)(task, task.initial, jax.random.key(2))


def weights(network):
    """Weights as NumPy arrays, first to last."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(network)]


def numpy_norm(role, weight):
    """Operator norm by its definition on the unit ball's extreme points, or by SVD."""
    rows, columns = weight.shape
    if role == "input":
        return max(np.sqrt(np.mean(weight[:, j] ** 2)) for j in range(columns))
    if role == "hidden":
        return np.linalg.svd(weight)[1][0] * np.sqrt(columns / rows)
    return max(columns * np.sqrt(np.mean(weight[i] ** 2)) for i in range(rows))


def test_each_stage_is_its_formula():
    rng = np.random.default_rng(1)
    hidden, weight = rng.normal(size=(5, 6)), rng.normal(size=(4, 6))
    tokens = rng.integers(0, 6, (5, 2))
    gelu = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    cases = [
        (Linear(jnp.asarray(weight)), hidden, np.einsum("nj,ij->ni", hidden, weight)),
        (Normalize(), hidden, hidden / np.sqrt((hidden**2).mean(axis=1))[:, None]),
        (Normalize(2.0), hidden, hidden / np.sqrt((hidden**2).mean(axis=1) + 2)[:, None]),
        (Activate("relu"), hidden, np.where(hidden > 0, hidden, 0)),
        (Activate("tanh"), hidden, np.tanh(hidden)),
        (Activate("gelu"), hidden, gelu),
        (
            Embedding(jnp.asarray(weight)),
            tokens,
            np.concatenate([weight[:, tokens[:, 0]], weight[:, tokens[:, 1]]]).T,
        ),
    ]
    for stage, inputs, expected in cases:
        np.testing.assert_allclose(stage(jnp.asarray(inputs)), expected, rtol=SAME_MATHS)
    assert not np.any(np.asarray(Normalize()(jnp.zeros((2, 3)))))


def test_a_network_is_the_composition_of_its_stages(task):
    embedding, first, second, output = weights(task.initial)
    rms = lambda h: h / np.sqrt((h**2).mean(axis=1, keepdims=True))
    tokens = np.asarray(task.inputs)
    hidden = rms(embedding.T[tokens].reshape(len(tokens), -1))
    hidden = rms(np.tanh(hidden @ first.T))
    logits = rms(np.tanh(hidden @ second.T)) @ output.T
    np.testing.assert_allclose(task.initial(task.inputs), logits, rtol=1e3 * SAME_MATHS)
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.asarray(task.labels)
    loss = -np.mean(np.log(chance[np.arange(len(labels)), labels]))
    np.testing.assert_allclose(task.loss(task.initial), loss, rtol=1e3 * SAME_MATHS)


@pytest.mark.parametrize("shape", [(3, 9), (9, 3)])
def test_spectral_norm_by_squaring_is_the_largest_singular_value(shape):
    compiled = jax.jit(spectral_norm)
    matrix = np.random.default_rng(2).normal(size=shape)
    # Too large by at most rank^(2^-20 / 4); the second matrix has equal singular values.
    excess = 3 ** (2.0**-22) - 1
    for values in (matrix, np.eye(*shape), 1e-160 * matrix):
        error = float(compiled(values)) / np.linalg.svd(values)[1][0] - 1
        assert -SPECTRAL_ROUTE <= error <= excess + SPECTRAL_ROUTE
    assert float(compiled(np.zeros(shape))) == 0
    assert np.isnan(compiled(np.full(shape, np.nan)))
    single = float(compiled((1e15 * matrix).astype(np.float32)))
    error = single / (1e15 * np.linalg.svd(matrix)[1][0]) - 1
    assert abs(error) < 1e-5  # a few dozen float32 roundings


@pytest.mark.parametrize("role", ROLES)
def test_operator_norms_are_their_definitions(role):
    weight = np.random.default_rng(4).normal(size=(3, 9))
    result = jax.jit(operator_norm, static_argnums=0)(role, weight)
    np.testing.assert_allclose(result, numpy_norm(role, weight), rtol=1e-6)


def test_initial_weights_have_norm_one_and_the_initial_loss_is_log_vocabulary(task):
    seen = operator_norms(task.initial)
    assert list(seen) == list(ROLES)
    np.testing.assert_allclose(list(seen.values()), 1, rtol=2e-6)
    embedding, first, second, output = weights(task.initial)
    np.testing.assert_allclose((embedding**2).mean(axis=0), 1, rtol=SAME_MATHS)
    for hidden in (first, second):
        values = np.linalg.svd(hidden)[1]
        np.testing.assert_allclose(values, np.sqrt(hidden.shape[0] / hidden.shape[1]), rtol=1e-12)
    np.testing.assert_allclose((output**2).sum(axis=1), 1 / WIDTH, rtol=SAME_MATHS)


def test_the_initial_loss_is_log_vocabulary():
    wide = language_model(jax.random.key(0), 40, 32, 2, depth=1)
    tokens = np.random.default_rng(1).integers(0, 40, 5000)
    problem = next_token(wide, tokens, 2, 8, evaluation=500, block=100)
    logits = np.asarray(jax.jit(Network.__call__)(wide, problem.inputs))
    assert np.abs(logits).max() <= 1  # rows of length 1/sqrt(d) on vectors of length sqrt(d)
    np.testing.assert_allclose(logits.var(), 1 / 32, rtol=0.15)
    # log V + 1/(2 d), up to the mean of logits of variance 1/d over 500 labels.
    error = 1 / np.sqrt(32 * 500)
    assert abs(float(problem.loss(wide)) - np.log(40) - 1 / 64) < Z_SCORE * error


def test_linear_networks_start_with_norm_one():
    network = deep_linear(jax.random.key(0), 6, 8, 4, depth=3)
    assert jax.tree.leaves(roles(network)) == ["hidden", "hidden", "output"]
    assert [leaf.shape for leaf in weights(network)] == [(8, 6), (8, 8), (4, 8)]
    np.testing.assert_allclose(list(operator_norms(network).values()), 1, rtol=2e-6)
    product = weights(network)[2] @ weights(network)[1] @ weights(network)[0]
    inputs = np.random.default_rng(0).normal(size=(3, 6))
    np.testing.assert_allclose(network(jnp.asarray(inputs)), inputs @ product.T, rtol=1e-12)


def test_roles_have_the_structure_of_the_network(task):
    marked = roles(task.initial)
    assert jax.tree.leaves(marked) == ["input", "hidden", "hidden", "output"]
    assert jax.tree.structure(marked) == jax.tree.structure(task.initial)


@pytest.mark.parametrize("name", ["task", "squares"])
def test_gradients_are_finite_differences(name, request):
    problem = request.getfixturevalue(name)
    params, inputs, labels = problem.initial, problem.inputs, problem.labels
    loss = jax.jit(problem.sample_loss)
    gradient = jax.tree.leaves(jax.jit(jax.grad(problem.sample_loss))(params, inputs, labels))
    leaves, structure = jax.tree.flatten(params)
    leaves = [np.asarray(leaf) for leaf in leaves]
    for place in range(len(leaves)):
        direction = np.random.default_rng(place).normal(size=leaves[place].shape)
        slope = float(np.sum(gradient[place] * direction))
        ends = []
        for step in (1e-5, -1e-5):
            moved = list(leaves)
            moved[place] = leaves[place] + step * direction
            ends.append(float(loss(structure.unflatten(moved), inputs, labels)))
        assert abs((ends[0] - ends[1]) / 2e-5 - slope) < FINITE_DIFFERENCE


def numpy_lmo(role, gradient):
    """Minus the direction of norm one steepest in the role's norm."""
    rows, columns = gradient.shape
    if role == "hidden":
        left, _, right = np.linalg.svd(gradient, full_matrices=False)
        return -np.sqrt(rows / columns) * left @ right
    axis, scale = (0, np.sqrt(rows)) if role == "input" else (1, columns**-0.5)
    length = np.sqrt((gradient**2).sum(axis=axis, keepdims=True))
    return -scale * gradient / np.where(length == 0, 1, length)


def test_the_engine_trains_like_a_plain_loop(task):
    key, rate, ratio, decay = jax.random.key(7), 0.05, 0.5, 0.2
    run = train_exact(task, [0, 1, 4], key, ratio, decay, learning_rate=rate)
    leaves, structure = jax.tree.flatten(task.initial)
    labels = jax.tree.leaves(roles(task.initial))
    slope, loss = (
        jax.jit(lambda net, k: jax.grad(task.sample_loss)(net, *task.batch(k))),
        jax.jit(task.loss),
    )
    losses, norms = [], []
    for step in range(5):
        network = structure.unflatten(leaves)
        losses.append(float(loss(network)))
        norms.append(
            [numpy_norm(role, np.asarray(w)) for role, w in zip(labels, leaves, strict=True)]
        )
        gradient = jax.tree.leaves(slope(network, jax.random.fold_in(key, step)))
        own = [rate * (ratio if role == "hidden" else 1) for role in labels]
        leaves = [
            (1 - eta * decay) * leaf + eta * numpy_lmo(role, np.asarray(g))
            for eta, role, leaf, g in zip(own, labels, leaves, gradient, strict=True)
        ]
    at = [0, 1, 4]
    np.testing.assert_allclose(run.loss, np.array(losses)[at], rtol=SPECTRAL_ROUTE)
    expected = np.array(norms)[at]
    np.testing.assert_allclose(run.observed["input"], expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(run.observed["hidden"], expected[:, 1:3].max(axis=1), rtol=2e-6)
    np.testing.assert_allclose(run.observed["output"], expected[:, 3], rtol=1e-6)


def train_exact(problem, steps, key=None, hidden_ratio=1.0, weight_decay=0.0, **numbers):
    """Scion with exact polar factors; one compilation for all tests."""
    return simulate(
        problem, EXACT, steps, key=key, observe=observe_norms, hidden_ratio=hidden_ratio,
        weight_decay=weight_decay, **numbers,
    )  # fmt: skip


@partial(jax.jit, static_argnums=0)
def update(method, params, gradient, numbers):
    """What a method adds to the weights in its first step."""
    with jax.numpy_dtype_promotion("standard"):
        transformation = method(**numbers)
        return transformation.update(gradient, transformation.init(params), params)[0]


def first_step(method, task, input_ratio=1.0, hidden_ratio=1.0, weight_decay=0.0, **numbers):
    """`update` at the initial network."""
    numbers = numbers | {"input_ratio": input_ratio, "hidden_ratio": hidden_ratio}
    numbers["weight_decay"] = weight_decay
    return weights(update(method, task.initial, slope(task), numbers))


def test_a_step_of_scion_has_the_norm_of_the_rate_in_every_layer(task):
    labels = jax.tree.leaves(roles(task.initial))
    ratios = {"input_ratio": 2.0, "hidden_ratio": 0.125}
    for method, low, high in ((EXACT, 1, 1), (scion, *reached_range(MUON, 1e-4))):
        for role, step in zip(
            labels, first_step(method, task, learning_rate=0.3, **ratios), strict=True
        ):
            size = numpy_norm(role, step) / (0.3 * ratios.get(f"{role}_ratio", 1.0))
            bounds = (low, high) if role == "hidden" else (1, 1)
            assert bounds[0] - 1e-9 <= size <= bounds[1] + 1e-9


def test_each_role_gets_its_own_method(task):
    rate = 0.01
    labels = jax.tree.leaves(roles(task.initial))
    adam = first_step(layered_adamw, task, learning_rate=rate)
    sign = first_step(layered_signum, task, learning_rate=rate)
    mixed = first_step(muon_adamw, task, learning_rate=rate)
    spectral = first_step(scion, task, learning_rate=rate)
    gradient = weights(slope(task))
    for place, role in enumerate(labels):
        np.testing.assert_array_equal(sign[place], -rate * np.sign(gradient[place]))
        # Adam's first step is the sign, up to epsilon.
        large = np.abs(gradient[place]) > 1e-4
        np.testing.assert_allclose(adam[place][large], sign[place][large], rtol=1e-3)
        source = spectral if role == "hidden" else adam
        np.testing.assert_allclose(mixed[place], source[place], rtol=1e-12)


def test_constrained_scion_settles_at_the_inverse_decay_under_a_steady_gradient(task):
    rate, decay, steps = 0.3, 0.5, 30
    numbers = {
        "learning_rate": rate,
        "weight_decay": decay,
        "input_ratio": 1.0,
        "hidden_ratio": 1.0,
    }
    params = task.initial
    for _ in range(steps):
        step = update(EXACT, params, slope(task), numbers)
        params = jax.tree.map(np.add, params, step)
    left = (1 - rate * decay) ** steps
    labels = jax.tree.leaves(roles(task.initial))
    parts = (weights(params), weights(task.initial), weights(slope(task)))
    for role, final, first, gradient in zip(labels, *parts, strict=True):
        expected = left * first + (1 - left) / decay * numpy_lmo(role, gradient)
        np.testing.assert_allclose(final, expected, atol=SPECTRAL_ROUTE)
        assert abs(decay * numpy_norm(role, final) - 1) < 2 * left


def test_constrained_scion_never_leaves_the_ball(task):
    run = train_exact(task, [0, 40, 80], learning_rate=0.5, weight_decay=0.5)
    free = train_exact(task, [0, 40, 80], learning_rate=0.5)
    for role in ROLES:
        assert np.all(run.observed[role] <= 2 + 1e-5)
        assert free.observed[role][-1] > 4


def test_a_schedule_scales_every_role(task):
    method = Scheduled(layered_signum, linear)(0.1, horizon=4.0, hidden_ratio=0.5)
    state = method.init(task.initial)
    labels = jax.tree.leaves(roles(task.initial))
    for count in range(3):
        step, state = method.update(slope(task), state, task.initial)
        for role, got, gradient in zip(labels, weights(step), weights(slope(task)), strict=True):
            rate = 0.1 * (1 - count / 4) * (0.5 if role == "hidden" else 1.0)
            np.testing.assert_allclose(got, -rate * np.sign(gradient), rtol=SAME_MATHS)


def test_training_lowers_every_loss(task, squares):
    for problem in (task, squares):
        run = train_exact(problem, [0, 30, 60], learning_rate=0.05)
        assert run.loss[2] < 0.9 * run.loss[0]


def test_windows_are_training_text_only(task):
    length, count = 50, 24
    problem = next_token(
        task.initial, np.arange(length * count + 7), CONTEXT, 2000, evaluation=100, block=length
    )
    inputs, labels = (np.asarray(part) for part in jax.jit(problem.batch)(jax.random.key(0)))
    window = np.concatenate([inputs, labels[:, None]], axis=1)
    held = np.arange(HELD_OUT - 1, count, HELD_OUT)
    assert np.all(np.diff(window, axis=1) == 1)  # neighbours in the text
    assert np.all(window[:, 0] // length == window[:, -1] // length)
    assert not np.any(np.isin(window // length, held))
    evaluation = np.asarray(problem.inputs)
    assert np.all(np.isin(evaluation // length, held))
    assert len(np.unique(evaluation[:, 0])) == 100
    # Starts are uniform: counts in ten bins, each binomial.
    starts = window[:, 0] % length
    possible = length - CONTEXT
    share = np.bincount(starts, minlength=possible) / len(starts)
    error = np.sqrt(1 / possible * (1 - 1 / possible) / len(starts))
    assert share.size == possible
    assert np.all(np.abs(share - 1 / possible) < Z_SCORE * error)


def test_regression_is_the_quadratic_for_a_linear_network():
    problem = power_law(1.2, 1.4, size=5, noise_variance=0.3)
    network = Network((Linear(jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)))),))
    task = regression(problem, network, 3, 4, jax.random.key(0), evaluation=20000)
    index = np.arange(1, 6.0)
    teacher, weight = np.asarray(task.teacher), weights(network)[0]
    np.testing.assert_allclose((teacher**2).sum(axis=0) * index**-1.2, index**-1.4, rtol=SAME_MATHS)
    np.testing.assert_allclose(task.root_eigenvalues, index**-0.6, rtol=SAME_MATHS)
    np.testing.assert_allclose(task.floor, 0.15, rtol=SAME_MATHS)
    scale = np.asarray(task.inputs) @ (weight - teacher).T
    samples = (scale**2).sum(axis=1) / 2
    exact = 0.15 + np.sum((weight - teacher) ** 2 * index**-1.2) / 2
    error = samples.std() / np.sqrt(len(samples))
    assert abs(float(task.loss(network)) - exact) < Z_SCORE * error
    keys = jax.random.split(jax.random.key(5), 2000)
    draw = jax.jit(jax.vmap(task.gradient, in_axes=(None, 0)))
    drawn = weights(draw(network, keys))[0]
    mean, spread = drawn.mean(axis=0), drawn.std(axis=0) / np.sqrt(len(keys))
    assert np.all(np.abs(mean - (weight - teacher) * index**-1.2) < Z_SCORE * spread)
    # Label noise adds variance lam_i noise_variance / outputs / batch to an entry at the optimum.
    best = Network((Linear(task.teacher),))
    noise = weights(draw(best, keys))[0]
    expected = index**-1.2 * 0.1 / 4
    assert np.all(np.abs(noise.var(axis=0) / expected - 1) < Z_SCORE * np.sqrt(8 / len(keys)))


def test_bad_input_is_named(task):
    key, weight = jax.random.key(0), jnp.ones((2, 2))
    whole: Any = 1.5
    other: Any = weight
    cases = [
        ("role", lambda: Linear(weight, "middle")),
        ("role", lambda: operator_norm("middle", weight)),
        *[("norm", lambda role=role: operator_norm(role, jnp.ones(3))) for role in ROLES],
        *[("norm", lambda role=role: operator_norm(role, jnp.ones((2, 2, 2)))) for role in ROLES],
        *[("shape", lambda role=role: operator_norm(role, jnp.ones((0, 3)))) for role in ROLES],
        ("matrix", lambda: polar_factor(jnp.ones(3))),
        ("matrix", lambda: polar_factor(jnp.ones((2, 3, 3)))),
        ("matrix", lambda: polar_factor(jnp.ones((0, 3)))),
        ("kind", lambda: Activate("swish")),
        ("width", lambda: language_model(key, 5, 0, 2)),
        ("context", lambda: language_model(key, 5, 4, whole)),
        ("depth", lambda: deep_linear(key, 3, 4, 2, depth=1)),
        ("outputs", lambda: two_layer(key, 3, 4, 0)),
        ("network", lambda: roles(other)),
        ("evaluation", lambda: next_token(task.initial, np.zeros(800), 3, 4, 10**6, 100)),
        ("tokens", lambda: next_token(task.initial, np.zeros(799), 3, 4, 10, 100)),
        ("context", lambda: next_token(task.initial, np.zeros(800), 100, 4, 10, 100)),
        ("batch_size", lambda: next_token(task.initial, np.zeros(800), 3, 0, 10, 100)),
        ("hidden_ratio", lambda: simulate(task, scion, [1], learning_rate=1.0, hidden_ratio=-1.0)),
        ("second_momentum", lambda: scion(0.1, second_momentum=0.9)),
        ("momentum", lambda: scion(0.1, momentum=1.0)),
        ("momentum", lambda: layered_adamw(0.1, momentum=1.0)),
        ("learning_rate", lambda: scion(-0.1)),
        ("network", lambda: scion(0.1).init(weight)),
    ]
    for name, call in cases:
        with pytest.raises(ValueError, match=f"`{name}`"):
            call()
