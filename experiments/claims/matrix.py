"""Claims about matrix quadratics: their spectrum, and spectral descent where bases are shared."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.asymptotics import limit_row
from experiments.compare import Verdict, relative_within
from simulate.lmo import spectral_descent as spectral_optimizer
from simulate.matrix_problems import matrix_quadratic
from simulate.optimizers import sgd as sgd_optimizer
from simulate.trajectory import simulate
from theory.linear_methods import gd
from theory.matrix_methods import kronecker_count, kronecker_spectrum, spectral_descent
from theory.problem import power_law

STEPS = np.array([1, 10, 100, 400])


def matrix_problems(quick: bool) -> list[Verdict]:
    """GD and spectral descent on matrix quadratics, and how many eigenvalues these have."""
    problem = power_law(1.5, 1.8, 8 if quick else 24, 0.02)
    options = {"rows": int(problem.size), "columns": int(problem.size) + 4, "left_share": 0.4}
    crossed = matrix_quadratic(problem, **options, alignment="crossed", key=jax.random.key(4))
    run = simulate(crossed, sgd_optimizer, STEPS, learning_rate=0.8)
    modes = kronecker_spectrum(crossed.left, crossed.right, crossed.target)
    aligned = matrix_quadratic(problem, **options)
    walked = simulate(aligned, spectral_optimizer, STEPS, learning_rate=0.0137)
    stated = spectral_descent(aligned.left, aligned.right, jnp.diag(aligned.target), 0.0137, STEPS)
    return [
        relative_within(
            "matrix quadratic, GD: products of eigenvalues equal simulation, no shared bases",
            gd(modes, 0.8, STEPS).optimization + crossed.floor,
            np.asarray(run.loss),
            1e-12,
            "rounding",
        ),
        relative_within(
            "spectral descent, aligned: sign descent on singular values equals simulation",
            stated.optimization + aligned.floor,
            np.asarray(walked.loss),
            1e-11,
            "rounding of 400 steps",
        ),
        *_counts(),
    ]


def _counts() -> list[Verdict]:
    verdicts = []
    for p, q, order in ((2.0, 1.0, 0.5), (1.0, 1.0, 0.5)):
        levels = np.array([1e-3, 1e-5, 1e-7])
        rows = [np.arange(1.0, np.floor(level ** (-1 / p)) + 1) for level in levels]
        counted = [
            np.sum(np.floor((level * i**p) ** (-1 / q) * (1 + 1e-12)))
            for level, i in zip(levels, rows, strict=True)
        ]
        leading = [kronecker_count(p, q, float(level)) for level in levels]
        verdicts.append(
            limit_row(
                f"matrix quadratic: count of i^-{p:g} j^-{q:g} above a level over its leading term "
                "tends to 1",
                1.0,
                np.array(counted) / leading,
                levels**-order,
            )
        )
    return verdicts
