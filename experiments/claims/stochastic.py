"""Stochastic claims: Monte Carlo against exact expectations, at times fixed beforehand."""

import jax
import numpy as np

from experiments.compare import Verdict, z_score
from simulate.least_squares import least_squares
from simulate.optimizers import sgd as sgd_optimizer
from simulate.sweep import ensemble, sweep
from theory.problem import power_law
from theory.sgd import sgd

STEPS = (3, 20, 150)
NOISES = (0.0, 0.1, 1.0)
BATCHES = (1, 4, 16)


def sgd_monte_carlo(quick: bool) -> list[Verdict]:
    """SGD's expected loss for three noise levels and three batch sizes."""
    seeds = 1000 if quick else 3000
    keys = jax.random.split(jax.random.key(7), seeds)
    verdicts = []
    for noise in NOISES:
        problem = power_law(1.2, 1.6, 25, noise)
        for batch in BATCHES:
            drawn = least_squares(problem, batch, total_size=40)
            rates = {"learning_rate": np.array([0.15])}
            average = ensemble(sweep(drawn, sgd_optimizer, STEPS, rates, keys))
            exact = sgd(problem, 0.15, batch, np.array(STEPS)).total
            verdicts.append(
                z_score(
                    f"SGD: {seeds} runs, B = {batch}, sigma^2 = {noise:g}, T = 3, 20, 150",
                    exact,
                    average.mean[0],
                    average.standard_error[0],
                )
            )
    return verdicts
