"""Runs by blocks against the plain engine, and which runs go by blocks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulate import blocks
from simulate.adaptive import adam, adamw, lion, optax_muon
from simulate.blocks import ARRAY_BYTES, MODES_A_CORE, in_blocks, parts_of
from simulate.elementwise import is_elementwise
from simulate.least_squares import least_squares
from simulate.lmo import muon, normalized_sgd, signum
from simulate.optimizers import nesterov, sgd
from simulate.problems import (
    CenteredQuadratic,
    DiagonalQuadratic,
    diagonal_quadratic,
    rotated_quadratic,
)
from simulate.schedules import Scheduled, cosine, warmup_stable_decay
from simulate.sweep import sweep
from simulate.trajectory import NEVER, _simulate, record_steps, run, simulate
from theory.problem import power_law

from .compilations import engine_compilations
from .tolerances import FLOAT32_BLOCKS, SAME_MATHS

WIDTH = ARRAY_BYTES // 8
# Three blocks, the last of them mostly modes of the one before; gaps that no pass divides.
SIZE = 2 * WIDTH + 77
STEPS = record_steps(61, 9)
METHODS = {
    "gradient descent": (sgd, {"learning_rate": 0.7}),
    "heavy ball": (sgd, {"learning_rate": 0.3, "momentum": 0.8}),
    "Nesterov": (nesterov, {"learning_rate": 0.3, "momentum": 0.8}),
    "sign descent": (signum, {"learning_rate": 0.01}),
    "Signum": (signum, {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    "Adam": (adam, {"learning_rate": 0.01}),
    "AdamW": (adamw, {"learning_rate": 0.01, "weight_decay": 0.1}),
    "Lion": (lion, {"learning_rate": 0.01, "weight_decay": 0.1}),
    "scheduled": (Scheduled(sgd, cosine), {"learning_rate": 0.9, "horizon": 40.0}),
    "scheduled Nesterov": (
        Scheduled(nesterov, cosine),
        {"learning_rate": 0.4, "momentum": 0.5, "horizon": 40.0},
    ),
    "scheduled Adam": (
        Scheduled(adam, warmup_stable_decay),
        {"learning_rate": 0.02, "horizon": 61.0, "warmup": 0.1},
    ),
}
SELDOM = ("Nesterov", "sign descent", "AdamW", "scheduled Adam")


def quadratic(size=SIZE, dtype=jnp.float64, trained=None):
    return diagonal_quadratic(power_law(1.5, 1.8, trained or size, 0.1), dtype, size)


def plainly(problem, optimizer, steps, **numbers):
    arrays = {name: jnp.asarray(value, float) for name, value in numbers.items()}
    return _simulate(
        problem, optimizer, jnp.asarray(steps), jax.random.key(0), arrays, None, by_blocks=False
    )


@pytest.fixture
def widths(monkeypatch):
    """Sizes of the blocks that were traced: none if a run of this shape was compiled before."""
    found, genuine = [], blocks.recorded

    def recorded(problem, *rest):
        found.append(problem.target.size)
        return genuine(problem, *rest)

    monkeypatch.setattr(blocks, "recorded", recorded)
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SELDOM else ()) for n in METHODS],
)
def test_blocks_are_the_plain_run(name, widths):
    optimizer, numbers = METHODS[name]
    # A size of its own: no other test has compiled this run.
    problem = quadratic(SIZE + 1)
    by_blocks = simulate(problem, optimizer, STEPS, **numbers)
    plain = plainly(problem, optimizer, STEPS, **numbers)
    assert widths == [WIDTH]
    assert int(by_blocks.diverged_at) == NEVER
    assert by_blocks.loss.shape == STEPS.shape
    np.testing.assert_allclose(by_blocks.loss, plain.loss, rtol=SAME_MATHS)
    assert plain.loss[-1] < plain.loss[0]


@pytest.mark.parametrize("name", ["gradient descent", "Adam"])
def test_single_precision_blocks_are_the_plain_run(name):
    optimizer, numbers = METHODS[name]
    problem = quadratic(2 * SIZE, jnp.float32)
    by_blocks = simulate(problem, optimizer, STEPS, **numbers)
    plain = plainly(problem, optimizer, STEPS, **numbers)
    assert by_blocks.loss.dtype == jnp.float32
    np.testing.assert_allclose(by_blocks.loss, plain.loss, rtol=FLOAT32_BLOCKS)


@pytest.mark.parametrize("size", [1, WIDTH, WIDTH + 1])
def test_any_size_goes_by_blocks(size, widths):
    by_blocks = simulate(quadratic(size), sgd, STEPS, learning_rate=0.7)
    plain = plainly(quadratic(size), sgd, STEPS, learning_rate=0.7)
    assert widths == [min(size, WIDTH)]
    np.testing.assert_allclose(by_blocks.loss, plain.loss, rtol=SAME_MATHS)


def test_untrained_modes_stay_in_every_block():
    for trained in (1, WIDTH - 5, SIZE):
        problem = quadratic().with_size(trained)
        by_blocks = simulate(problem, sgd, STEPS, learning_rate=0.7, momentum=0.1)
        plain = plainly(problem, sgd, STEPS, learning_rate=0.7, momentum=0.1)
        np.testing.assert_allclose(by_blocks.loss, plain.loss, rtol=SAME_MATHS)


@pytest.mark.parametrize(("parts", "name"), [(2, "Adam"), (3, "scheduled")])
def test_threads_share_the_blocks_of_a_large_run(parts, name, monkeypatch):
    monkeypatch.setattr("simulate.trajectory.parts_of", lambda _: parts)
    optimizer, numbers = METHODS[name]
    shared = simulate(quadratic(), optimizer, STEPS, **numbers)
    plain = plainly(quadratic(), optimizer, STEPS, **numbers)
    np.testing.assert_allclose(shared.loss, plain.loss, rtol=SAME_MATHS)


def test_only_large_runs_are_shared(monkeypatch):
    monkeypatch.setattr(blocks, "cores", lambda: 4)
    assert parts_of(quadratic()) == 1
    assert parts_of(quadratic(2 * MODES_A_CORE)) == 2
    assert parts_of(quadratic(99 * MODES_A_CORE)) == 4


@pytest.mark.parametrize("parts", [1, 2])
def test_divergence_is_recorded_at_its_step(parts, monkeypatch):
    monkeypatch.setattr("simulate.trajectory.parts_of", lambda _: parts)
    steps = np.unique(np.concatenate([np.arange(0, 60, 3), [20_000]]))
    by_blocks = simulate(quadratic(), sgd, steps, learning_rate=3.0)
    plain = plainly(quadratic(), sgd, steps, learning_rate=3.0)
    assert 0 < int(by_blocks.diverged_at) < 60
    assert int(by_blocks.diverged_at) == int(plain.diverged_at)
    np.testing.assert_allclose(by_blocks.loss, plain.loss, rtol=SAME_MATHS)


def test_sweeps_hold_the_runs_by_blocks(widths):
    problem = quadratic(SIZE + 2)
    grid = {"learning_rate": [0.1, 0.5, 3.0], "size": [5, WIDTH, SIZE]}
    keys = jax.random.split(jax.random.key(1), 2)
    grown = sweep(problem, sgd, STEPS, grid, keys)
    assert set(widths) == {WIDTH}
    assert grown.loss.shape == (3, 2, STEPS.size)
    for lane, (rate, size) in enumerate(zip(*grid.values(), strict=True)):
        plain = plainly(problem.with_size(size), sgd, STEPS, learning_rate=rate)
        assert np.asarray(grown.diverged_at[lane]).tolist() == [int(plain.diverged_at)] * 2
        for seed in range(2):
            np.testing.assert_allclose(grown.loss[lane, seed], plain.loss, rtol=SAME_MATHS)


@pytest.mark.parametrize("configurations", [1, 29])
def test_small_runs_are_swept_several_at_once(configurations, widths):
    problem, rates = quadratic(300), np.linspace(0.1, 1.9, configurations)
    grown = sweep(problem, nesterov, STEPS, {"learning_rate": rates / 2, "momentum": rates / 2})
    assert set(widths) == {300}
    for lane in {0, configurations // 2, configurations - 1}:
        numbers = {"learning_rate": rates[lane] / 2, "momentum": rates[lane] / 2}
        plain = plainly(problem, nesterov, STEPS, **numbers)
        np.testing.assert_allclose(grown.loss[lane], plain.loss, rtol=SAME_MATHS)


def test_mapped_problems_and_steps_are_run_one_after_the_other():
    problem = quadratic()
    floors, grids = jnp.array([0.0, 1.0]), jnp.array([[0, 3, 9], [1, 2, 30]])
    rate = {"learning_rate": jnp.asarray(0.7)}

    def one(floor, grid):
        changed = dataclasses.replace(problem, floor=floor)
        return run(changed, sgd, grid, jax.random.key(0), rate).loss

    both = jax.jit(jax.vmap(one))(floors, grids)
    for lane in range(2):
        changed = dataclasses.replace(problem, floor=floors[lane])
        plain = plainly(changed, sgd, grids[lane], learning_rate=0.7)
        np.testing.assert_allclose(both[lane], plain.loss, rtol=SAME_MATHS)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OwnLoss(CenteredQuadratic):
    """A block whose curvature is part of its loss."""

    def loss(self, params):
        return super().loss(params) + jnp.sum(self.curvature)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OwnBlocks(DiagonalQuadratic):
    """A problem that may be cut, into blocks of its own kind."""

    def block(self, first, width):
        block = super().block(first, width)
        return OwnLoss(block.eigenvalues, block.curvature, block.target)


def test_blocks_of_another_kind_keep_their_curvature():
    plain = quadratic(40)
    own = OwnBlocks(plain.eigenvalues, plain.curvature, plain.target, plain.floor)
    numbers = {"learning_rate": 0.3}
    more = simulate(own, sgd, STEPS, **numbers).loss - simulate(plain, sgd, STEPS, **numbers).loss
    np.testing.assert_allclose(more, float(plain.curvature.sum()), rtol=SAME_MATHS)


def test_an_observer_sees_whole_parameters(widths):
    problem = quadratic(SIZE + 3)
    observed = simulate(problem, sgd, STEPS, learning_rate=0.7, observe=size_and_last)
    assert widths == []
    assert observed.observed[0].tolist() == [SIZE + 3] * STEPS.size
    unseen = simulate(problem, sgd, STEPS, learning_rate=0.7)
    assert widths == [WIDTH]
    np.testing.assert_allclose(observed.loss, unseen.loss, rtol=SAME_MATHS)


def size_and_last(problem, params):
    return jnp.asarray(params.size), params[-1]


@pytest.mark.parametrize("parts", [1, 2])
def test_another_horizon_rate_or_trained_size_does_not_compile_again(parts, monkeypatch):
    monkeypatch.setattr("simulate.trajectory.parts_of", lambda _: parts)
    problems = [quadratic(), quadratic().with_size(17), quadratic(trained=SIZE // 2)]
    with engine_compilations() as first:
        simulate(problems[0], lion, [0, 1, 5], learning_rate=0.1)
    assert len(first) > 0
    with engine_compilations() as again:
        simulate(problems[1], lion, [0, 7, 50], learning_rate=np.float32(0.2))
        simulate(problems[2], lion, [3, 4, 9], learning_rate=jnp.asarray(0.3))
    assert again == []


def test_a_problem_on_several_devices_is_not_cut(monkeypatch, widths):
    monkeypatch.setattr("simulate.trajectory.is_spread", lambda _: True)
    spread = simulate(quadratic(SIZE + 4), sgd, STEPS, learning_rate=0.7)
    assert widths == []
    assert int(spread.diverged_at) == NEVER


def test_which_runs_go_by_blocks(monkeypatch):
    diagonal, small = quadratic(), power_law(1.5, 1.8, 9)
    for optimizer, _ in METHODS.values():
        assert in_blocks(diagonal, optimizer)
    for coupled in (normalized_sgd, muon, optax_muon, Scheduled(normalized_sgd, cosine)):
        assert not is_elementwise(coupled)
        assert not in_blocks(diagonal, coupled)
    for problem in (rotated_quadratic(small, jax.random.key(0)), least_squares(small, 2)):
        assert not in_blocks(problem, sgd)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not in_blocks(diagonal, sgd)
