"""Quantization after and during training, of networks and quadratics, and of optimizer states."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simulate.adaptive import adam
from simulate.lmo import muon
from simulate.matrix_problems import matrix_quadratic
from simulate.network_problems import NextToken, Regression
from simulate.networks import Activate, Embedding, Linear, Network, Normalize, roles
from simulate.optimizers import sgd
from simulate.problems import DiagonalQuadratic, diagonal_quadratic
from simulate.quantize import (
    QuantizedLinear,
    Quantizer,
    post_training,
    quantization_aware,
    quantize_network,
    quantize_params,
    straight_through,
)
from simulate.quantized_states import (
    QuantizedMethod,
    quantized_state,
    quantized_updates,
    quantized_weights,
)
from simulate.sweep import sweep
from simulate.trajectory import simulate
from tests.tolerances import SAME_MATHS, Z_SCORE
from theory.checks import is_traced
from theory.clipping import gaussian_clip
from theory.hadamard import hadamard
from theory.problem import power_law

ABSMAX = Quantizer()
CLIPPED = Quantizer("clipped")
GRID = Quantizer("grid")
# Compiled once for each shape: operation by operation costs seconds.
rounded = jax.jit(Quantizer.__call__, static_argnums=0)
ROWS = np.random.default_rng(0).normal(size=(4, 8))
WEIGHTS = np.random.default_rng(1).normal(size=(4, 8))


def rows_to_levels(values, bits):
    """Absmax in plain numpy."""
    spacing = np.abs(values).max(axis=-1, keepdims=True) / (2 ** (bits - 1) - 1)
    return spacing * np.rint(values / spacing)


@pytest.mark.parametrize("kind", ["absmax", "clipped"])
@pytest.mark.parametrize("turned", [False, True])
def test_straight_through_is_the_identity_inside_the_clip_and_nothing_outside(kind, turned):
    quantizer = Quantizer(kind, turned)
    loss = lambda v: jnp.sum(jnp.asarray(WEIGHTS) * straight_through(quantizer)(v, 3.0))
    value, slope = jax.jit(jax.value_and_grad(loss))(jnp.asarray(ROWS))
    np.testing.assert_allclose(
        value, np.sum(WEIGHTS * rounded(quantizer, ROWS, 3)), rtol=SAME_MATHS
    )
    turn = np.asarray(hadamard(8)) if turned else np.eye(8)
    inside = np.ones((4, 8))
    if kind == "clipped":
        there = ROWS @ turn
        deviation = np.sqrt(np.mean(there**2, axis=1, keepdims=True))
        inside = np.abs(there) <= float(gaussian_clip(3)) * deviation
        # A bound at two deviations cuts some of 32 numbers but not many.
        assert 0 < np.sum(~inside) < 8
    np.testing.assert_allclose(slope, (WEIGHTS @ turn * inside) @ turn, atol=SAME_MATHS)


def test_rotation_spreads_an_outlier_and_lowers_the_error():
    values = ROWS.copy()
    values[:, 0] = 30.0
    plain = np.sum((np.asarray(rounded(ABSMAX, values, 4)) - values) ** 2)
    turned = np.sum(
        (np.asarray(rounded(Quantizer("absmax", hadamard=True), values, 4)) - values) ** 2
    )
    assert turned < plain / 2


def test_each_row_has_its_own_clip_at_the_gaussian_optimum():
    many = np.random.default_rng(2).normal(size=(4, 8192))
    found = np.asarray(rounded(CLIPPED, many, 2))
    scale = np.array([[1.0], [1e3], [1e-5], [7.0]])
    scaled = rounded(CLIPPED, scale * many, 2)
    np.testing.assert_allclose(scaled, scale * found, rtol=SAME_MATHS)
    error = (found - many).ravel() ** 2
    # Max 1960, table II: error 0.1188 with four levels.
    assert abs(error.mean() - 0.1188) < Z_SCORE * error.std() / np.sqrt(error.size)


def test_quantization_after_training_is_the_loss_of_rounded_weights():
    problem = diagonal_quadratic(power_law(1.5, 1.8, 32, 0.1))
    trained = problem.target * 0.9
    bits = np.array([[2.0, 3.0], [8.0, 16.0]])
    found = np.asarray(post_training(problem, trained, ABSMAX, bits))
    lam, target = np.asarray(problem.eigenvalues), np.asarray(problem.target)
    for width, loss in zip(bits.ravel(), found.ravel(), strict=True):
        error = rows_to_levels(0.9 * target[None], int(width))[0] - target
        wanted = np.sum(lam * error**2) / 2 + float(problem.floor)
        np.testing.assert_allclose(loss, wanted, rtol=SAME_MATHS)


def network_problem():
    random = np.random.default_rng(3)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape))
    network = Network((Linear(draw(4, 8)), Activate("relu"), Linear(draw(2, 4), "output")))
    teacher, inputs, roots = draw(2, 8), draw(16, 8), jnp.arange(1.0, 9.0) ** -0.75
    zero = jnp.zeros(())
    return Regression(network, roots, teacher, zero, zero, inputs, inputs @ teacher.T, 5)


@cache
def matrices():
    """A matrix problem whose rows are full: of an aligned one each has a single entry."""
    return matrix_quadratic(power_law(1.5, 1.8, 8), alignment="turned", key=jax.random.key(0))


@pytest.mark.slow
def test_a_quantized_network_rounds_weights_and_inputs_row_by_row():
    problem = network_problem()
    network = problem.init()
    quantize = partial(quantize_network, quantizer=ABSMAX, activation=ABSMAX)
    found = jax.jit(quantize)(network, bits=4.0, activation_bits=3.0)
    first, second = (np.asarray(network.stages[k].weight) for k in (0, 2))
    inputs = np.asarray(problem.inputs)
    hidden = np.maximum(rows_to_levels(inputs, 3) @ rows_to_levels(first, 4).T, 0.0)
    wanted = np.asarray(rounded(ABSMAX, hidden, 3)) @ rows_to_levels(second, 4).T
    np.testing.assert_allclose(found(problem.inputs), wanted, atol=SAME_MATHS)
    assert isinstance(found.stages[0], QuantizedLinear)
    assert roles(found).stages[2].weight == "output"
    weights_only = quantize_network(network, ABSMAX, 4)
    assert jax.tree.structure(weights_only) == jax.tree.structure(network)


def test_training_with_rounded_weights_follows_the_chain_rule_without_the_rounding():
    problem = network_problem()
    network, key = problem.init(), jax.random.key(3)
    aware = quantization_aware(problem, ABSMAX, 4, ABSMAX)
    found = jax.jit(aware.gradient)(network, key)
    first, second = (np.asarray(network.stages[k].weight) for k in (0, 2))
    first, second = rows_to_levels(first, 4), rows_to_levels(second, 4)
    # The same batch as the problem draws, which has no noise.
    normal = np.asarray(jax.random.normal(jax.random.split(key)[0], (5, 8)))
    inputs = normal * np.asarray(problem.root_eigenvalues)
    seen = rows_to_levels(inputs, 4)
    before = seen @ first.T
    hidden = np.asarray(rounded(ABSMAX, np.maximum(before, 0.0), 4))
    residual = (hidden @ second.T - inputs @ np.asarray(problem.teacher).T) / 5
    np.testing.assert_allclose(found.stages[2].weight, residual.T @ hidden, atol=SAME_MATHS)
    back = residual @ second * (before > 0)
    np.testing.assert_allclose(found.stages[0].weight, back.T @ seen, atol=SAME_MATHS)


@pytest.mark.slow
def test_a_language_model_trains_with_rounded_weights_and_keeps_its_embedding():
    network = Network((Embedding(jnp.asarray(ROWS.T)), Normalize(), Linear(jnp.asarray(ROWS))))
    network = Network((*network.stages, Activate("relu"), Linear(jnp.asarray(WEIGHTS.T)[:4])))
    tokens = jnp.asarray(np.random.default_rng(4).integers(0, 4, (4, 32), np.int32))
    problem = NextToken(network, tokens, tokens[:, :1], tokens[:, 1], 4)
    quantizer = Quantizer("clipped", hadamard=True)
    aware = quantization_aware(problem, quantizer, 4, quantizer)
    seen = jax.jit(aware.rounded)(network).stages
    np.testing.assert_array_equal(seen[0].weight, network.stages[0].weight)
    np.testing.assert_allclose(seen[2].weight, rounded(quantizer, ROWS, 4), atol=SAME_MATHS)
    found = simulate(aware, sgd, [0, 60], learning_rate=0.05)
    assert np.log(4) / 2 < found.loss[1] < found.loss[0]  # uniform tokens: log 4 at best


def test_one_compilation_serves_all_widths_and_a_sweep_runs_over_them():
    problem = matrices()
    traced = []

    def counted(learning_rate):
        traced.append(is_traced(learning_rate))
        return sgd(learning_rate)

    losses = [
        simulate(
            quantization_aware(problem, ABSMAX, bits), counted, [0, 300], learning_rate=0.5
        ).loss
        for bits in (2, 4, 16)
    ]
    assert sum(traced) == 1
    configurations = {"bits": [2, 4, 16], "learning_rate": [0.5] * 3}
    swept = sweep(quantization_aware(problem, ABSMAX, 8), counted, [0, 300], configurations)
    np.testing.assert_allclose(swept.loss, losses, rtol=SAME_MATHS)
    plain = simulate(problem, counted, [0, 300], learning_rate=0.5).loss
    # Sixteen bits move entries by 2^-16 of the largest: the loss, quadratic, by less than 1e-4.
    np.testing.assert_allclose(losses[2], plain, rtol=1e-4)
    assert losses[0][1] > losses[1][1] > losses[2][1]


@pytest.mark.slow
def test_sizes_may_be_swept_below_a_quantizer():
    problem = diagonal_quadratic(power_law(1.5, 1.8, 16))
    sizes = {"size": [4.0, 16.0], "learning_rate": [0.5, 0.5]}
    found = sweep(quantization_aware(problem, ABSMAX, 16), sgd, [0, 40], sizes).loss
    plain = sweep(problem, sgd, [0, 40], sizes).loss
    np.testing.assert_allclose(found, plain, rtol=1e-4)  # as above


def adam_by_hand(gradients, bits):
    """Adam whose second moment is rounded after each step, in numpy."""
    first = second = np.zeros_like(gradients[0])
    steps = []
    for count, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        centred = first / (1 - 0.9**count), second / (1 - 0.99**count)
        steps.append(-0.1 * centred[0] / (np.sqrt(centred[1]) + 1e-8))
        second = rows_to_levels(second, bits)
    return steps


def test_a_part_of_the_state_is_rounded_after_the_step():
    gradients = [ROWS, WEIGHTS, ROWS + WEIGHTS]
    wrapped = quantized_state(adam(0.1, 0.9, 0.99), ABSMAX, 4, parts=("nu",))
    with jax.numpy_dtype_promotion("standard"):  # as in the engine
        state = wrapped.init(jnp.asarray(ROWS))
        update = jax.jit(wrapped.update)
        for gradient, wanted in zip(gradients, adam_by_hand(gradients, 4), strict=True):
            step, state = update(gradient, state)
            np.testing.assert_allclose(step, wanted, rtol=1e-10)  # roots of rounded numbers
    held = state.inner[0]
    np.testing.assert_allclose(held.nu, rows_to_levels(np.asarray(held.nu), 4), rtol=SAME_MATHS)
    moved = np.asarray(held.mu)
    assert np.abs(moved - rows_to_levels(moved, 4)).max() > 1e-3


def test_updates_are_rounded_and_stochastic_draws_differ_from_step_to_step():
    plain = quantized_updates(optax.sgd(1.0), ABSMAX, 3)
    step, _ = jax.jit(plain.update)(ROWS, plain.init(jnp.asarray(ROWS)))
    np.testing.assert_allclose(step, -rows_to_levels(ROWS, 3), rtol=SAME_MATHS)
    drawn = quantized_updates(optax.sgd(1.0), ABSMAX, 3, key=jax.random.key(0))
    state = drawn.init(jnp.asarray(ROWS))
    update = jax.jit(drawn.update)
    one, state = update(ROWS, state)
    two, state = update(ROWS, state)
    assert np.any(np.asarray(one) != two)


def stored_on_grid(stochastic):
    return QuantizedMethod(sgd, weights=GRID, stochastic=stochastic)


def test_nearest_rounding_stalls_once_a_step_is_below_half_a_spacing():
    target = jnp.asarray([0.9, 1.1]) * 5.0  # with step 0.1 |x*|, just below and above u/2 = 0.5
    problem = DiagonalQuadratic(jnp.ones(2), jnp.ones(2), target, jnp.zeros(()))
    found = simulate(
        problem,
        stored_on_grid(False),
        [0, 1, 200],
        observe=lambda _, x: x,
        learning_rate=0.1,
        weight_bits=1.0,
    )
    np.testing.assert_array_equal(found.observed, [[0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


def test_stochastic_rounding_of_stored_weights_has_the_derived_risk_floor():
    """(1/12) sum lam u^2 whatever the step size, for targets uniform in their cells."""
    modes, draws, rates = 64, 48, (0.3, 0.1, 0.03, 0.01)
    random = np.random.default_rng(5)
    lam = np.geomspace(1.0, 0.5, modes)
    spacing = random.uniform(0.5, 2.0, modes)
    target = random.uniform(-2.0, 2.0, (draws, modes)) * spacing
    zero = jnp.zeros(())
    problem = DiagonalQuadratic(jnp.asarray(lam), jnp.asarray(lam), jnp.asarray(target[0]), zero)
    # After 3000 steps the start is forgotten to exp(-15), before squaring, in the slowest mode.
    times = np.append(0, 3000 + 100 * np.arange(10))
    found = sweep(
        problem,
        stored_on_grid(True),
        times,
        {
            "learning_rate": np.repeat(rates, draws),
            "target": np.tile(target, (len(rates), 1)),
            "weight_bits": np.tile(spacing, (draws * len(rates), 1)),
            "seed": np.arange(draws * len(rates)),
        },
    )
    risk = np.asarray(found.loss)[:, 1:].mean(axis=1).reshape(len(rates), draws)
    floor = np.sum(lam * spacing**2) / 12
    error = risk.std(axis=1, ddof=1) / np.sqrt(draws)
    assert np.all(np.abs(risk.mean(axis=1) - floor) < 3 * error)
    assert np.all(error < 0.03 * floor)


@pytest.mark.slow
def test_all_three_wrappers_train_in_the_engine():
    problem = matrices()
    wide = QuantizedMethod(muon, ABSMAX, ABSMAX, ABSMAX, stochastic=True)
    found = sweep(
        problem,
        wide,
        [0, 20],
        {
            "learning_rate": [0.05, 0.05],
            "momentum": [0.9, 0.9],
            "state_bits": [16, 2],
            "update_bits": [16, 2],
            "weight_bits": [16, 2],
        },
    ).loss
    plain = simulate(problem, muon, [0, 20], learning_rate=0.05, momentum=0.9).loss
    np.testing.assert_allclose(found[0, 1], plain[1], rtol=1e-2)  # 2^-15 a step, grown by Muon
    assert abs(found[1, 1] - plain[1]) > 0.1 * plain[1]


PROBLEM = diagonal_quadratic(power_law(1.5, 1.8, 7))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Quantizer("ternary"), "`kind` must be one of absmax, .*got 'ternary'"),
        (lambda: Quantizer("float", exponent_bits=9), "`exponent_bits` must be"),
        (lambda: quantization_aware(PROBLEM, ABSMAX, 17), "`bits` must be .*at most 16, got 17"),
        (lambda: quantization_aware(PROBLEM, Quantizer("float"), 24), "`bits` must be .*most 23"),
        (lambda: quantization_aware(PROBLEM, ABSMAX, 0), "`bits` must be .*at least 1 .*got 0"),
        (lambda: quantization_aware(PROBLEM, ABSMAX, 4, ABSMAX), "`activation` needs a network"),
        (
            lambda: quantization_aware(PROBLEM, Quantizer(hadamard=True), 4),
            "`values` must have even length along the axis, got 7",
        ),
        (lambda: post_training(PROBLEM, PROBLEM.init(), ABSMAX, [4, 20]), "`bits` must be .*20"),
        (lambda: quantize_params(ROWS, ABSMAX, 2.5), "`bits` must be a whole number, got 2.5"),
        (lambda: quantized_state(adam(0.1), ABSMAX, 0), "`bits` must be"),
        (
            lambda: quantized_state(adam(0.1), ABSMAX, 4, parts=("v",)).init(jnp.ones(3)),
            r"`parts` must name fields of \['mu', 'nu'\], got 'v'",
        ),
        (
            lambda: quantized_weights(optax.sgd(0.1), GRID, 1.0).update(jnp.ones(3), (None, None)),
            "`params` must be given",
        ),
        (
            lambda: simulate(PROBLEM, stored_on_grid(True), [0, 1], learning_rate=0.1),
            "`weight_bits` must be given with its quantizer",
        ),
        (
            lambda: simulate(
                PROBLEM, stored_on_grid(True), [0, 1], learning_rate=0.1, weight_bits=-1.0
            ),
            "`weight_bits` must be .*at least 0, got -1",
        ),
        (
            lambda: simulate(
                PROBLEM, QuantizedMethod(adam, ABSMAX), [0, 1], learning_rate=0.1, state_bits=40
            ),
            "`state_bits` must be .*at most 16, got 40",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_zero_row_of_weights_trains_without_a_nan():
    # All rows are zero at the start.
    found = simulate(quantization_aware(matrices(), ABSMAX, 1), sgd, [0, 1, 9], learning_rate=0.3)
    assert np.all(np.isfinite(found.loss))
    assert np.all(np.asarray(rounded(CLIPPED, 0 * ROWS, 3)) == 0)
