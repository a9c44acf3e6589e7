"""Deterministic claims: exact curves against stepping and against published digits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compare import Verdict, gap_shrinks, relative_within
from simulate.optimizers import sgd as sgd_optimizer
from simulate.problems import diagonal_quadratic, rotated_quadratic
from simulate.trajectory import simulate
from theory.linear_methods import gd, gd_asymptote
from theory.problem import power_law
from theory.sgd import critical_learning_rate, sgd
from theory.spectrum import approximation_error, compress


def gradient_descent(quick: bool) -> list[Verdict]:
    """GD's exact loss against simulation, and its asymptote."""
    size = 10_000 if quick else 1_000_000
    problem, steps = power_law(1.5, 1.8, size, 0.02), [1, 10, 100, 1000]
    run = simulate(diagonal_quadratic(problem), sgd_optimizer, steps, learning_rate=0.5)
    exact = gd(problem, 0.5, np.array(steps))
    small = power_law(1.5, 1.8, 100, 0.02)
    turned = simulate(
        rotated_quadratic(small, jax.random.key(1)), sgd_optimizer, steps, learning_rate=0.5
    )
    infinite = power_law(1.5, 1.8, 1e15)
    ratios = [
        float((curve.bias + curve.approximation) / gd_asymptote(infinite, 0.5, t))
        for t in (64.0, 1024.0, 16384.0)
        for curve in (gd(infinite, 0.5, t),)
    ]
    return [
        relative_within(
            f"GD: exact loss equals simulation, {size} modes",
            exact.total,
            np.asarray(run.loss),
            1e-12,
            "rounding",
        ),
        relative_within(
            "GD: the same in a random basis, 100 modes",
            gd(small, 0.5, np.array(steps)).total,
            np.asarray(turned.loss),
            1e-10,
            "dense products of that length, every step",
        ),
        gap_shrinks(
            "GD: loss over Gamma(s)/(2a) (2 eta T)^-s tends to 1, T = 64, 1024, 16384",
            1.0,
            ratios,
            # s (s + 1) / (4 T) at the last T, with s = 0.8/1.5.
            2 * (0.8 / 1.5) * (0.8 / 1.5 + 1) / (4 * 16384),
        ),
    ]


def sgd_recursion(quick: bool) -> list[Verdict]:
    """SGD's propagator against stepping all second moments, and tabulated losses at T = 1e12."""
    size, horizon = (1000, 300) if quick else (10_000, 3000)
    lam = np.arange(1, size + 1, dtype=np.longdouble) ** -1.5
    v = np.arange(1, size + 1, dtype=np.longdouble) ** -1.8 / lam
    eta, batch, noise = np.longdouble(0.3), np.longdouble(4), 0.1
    problem = power_law(1.5, 1.8, size, noise)
    drive = noise + 2 * float(approximation_error(problem))
    for _ in range(horizon):
        forcing = np.sum(lam * v) + drive
        v = (1 - 2 * eta * lam + eta**2 * lam**2 * (1 + 1 / batch)) * v
        v = v + eta**2 / batch * lam * forcing
    stepped = float(np.sum(lam * v) / 2)
    exact = sgd(problem, 0.3, 4, horizon)
    bare = dataclasses.replace(compress(power_law(1.5, 1.8, 1e12)), approximation=jnp.zeros(()))
    tabulated = np.array([5.15282645e-4, 1.29469412e-5, 3.25050371e-7])
    return [
        relative_within(
            f"SGD: propagator equals stepping {size} modes for {horizon} steps",
            float(exact.optimization),
            stepped,
            1e-12,
            "rounding",
        ),
        relative_within(
            "SGD: 1e12 modes at T = 1e6, 1e9, 1e12 against tabulated digits",
            sgd(bare, 0.3, 4, np.array([1e6, 1e9, 1e12])).optimization,
            tabulated,
            1e-8,
            "nine printed digits",
        ),
        _edge_of_stability(),
    ]


def _edge_of_stability() -> Verdict:
    """At the largest stable rate the map of all second moments has spectral radius one."""
    batch, lam = 4, np.arange(1, 201) ** -1.5
    eta = float(critical_learning_rate(power_law(1.5, 1.8, 200), batch))
    moments = np.diag((1 - eta * lam) ** 2 + eta**2 * lam**2 / batch)
    moments += eta**2 / batch * np.outer(lam, lam)
    return relative_within(
        "SGD: at the critical learning rate the dense map of 200 second moments has radius 1",
        1.0,
        np.max(np.abs(np.linalg.eigvals(moments))),
        1e-12,
        "rounding",
    )
