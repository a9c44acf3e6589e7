"""Factorisations in turn: what the link does, and that it keeps batched ones from a standstill."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from simulate.in_turn import after, map_in_turn

# Before the link, this stood still within seconds on two cores.
BATCHED = """
import jax, numpy as np
from simulate.matrix_problems import matrix_quadratic
from simulate.shampoo import shampoo
from simulate.soap import soap
from simulate.sweep import sweep
from theory.problem import power_law
problem = matrix_quadratic(power_law(1.5, 1.8, 16), alignment="crossed", key=jax.random.key(0))
for method in (shampoo, soap):
    run = sweep(problem, method, [0, 60], {"learning_rate": np.geomspace(0.01, 0.1, 100)})
    assert np.all(np.asarray(run.loss[:, 1]) < np.asarray(run.loss[:, 0]))
"""


def test_after_returns_the_value_and_hands_on_nan():
    value = jnp.arange(3.0)
    np.testing.assert_array_equal(after(value, jnp.ones((2, 2))), value)
    assert np.all(np.isnan(after(value, jnp.full(2, jnp.nan))))


def test_map_in_turn_equals_tree_map():
    tree = {"a": jnp.eye(2), "b": (jnp.ones((2, 3)), jnp.full((1, 1), 2.0))}
    weights = {"a": 1.0, "b": (2.0, 3.0)}
    expected = jax.tree.map(lambda x, w: w * x @ x.T, tree, weights)
    found = map_in_turn(lambda x, w: w * x @ x.T, tree, weights)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_batched_two_sided_methods_finish():
    run = [sys.executable, "-c", BATCHED]
    subprocess.run(run, check=True, timeout=120, capture_output=True)
