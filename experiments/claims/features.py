"""Claims about random features: one draw has an explicit spectrum, many have a known mean."""

import jax
import numpy as np

from experiments.compare import Verdict, agree_within, relative_within, z_score
from simulate.optimizers import sgd as sgd_optimizer
from simulate.random_features import RandomFeatures, random_features
from simulate.sweep import ensemble, sweep
from simulate.trajectory import simulate
from theory.linear_methods import gd
from theory.phases import random_feature_floor
from theory.problem import power_law
from theory.sgd import sgd
from theory.spectrum import Spectrum, explicit_spectrum

A, B, NOISE = 1.4, 2.0, 0.05


def _spectrum(drawn: RandomFeatures) -> Spectrum:
    """Modes of the least-squares problem that a drawn model sees.

    What the best weights leave over is, for Gaussian inputs, independent of the features: it acts
    as untrained modes do.
    """
    lam = np.asarray(drawn.eigenvalues)
    design = np.sqrt(lam)[:, None] * np.asarray(drawn.sketch * drawn.trained)
    labels = np.sqrt(lam) * np.asarray(drawn.target)
    left, values, _ = np.linalg.svd(design, full_matrices=False)
    energies = (left.T @ labels) ** 2
    rest = labels - left @ (left.T @ labels)
    return explicit_spectrum(values**2, energies, np.sum(rest**2) / 2, 2 * float(drawn.floor))


def drawn_models(quick: bool) -> list[Verdict]:
    """GD and one-pass SGD on drawn features, and the floor averaged over draws."""
    problem = power_law(A, B, 64, NOISE)
    exact = random_features(problem, jax.random.key(1), total_size=200)
    spectrum, steps = _spectrum(exact), np.array([1, 10, 100, 1000])
    run = simulate(exact, sgd_optimizer, steps, learning_rate=0.3)
    # Dense products of length 200, squared condition numbers of the SVD.
    verdicts = [
        relative_within(
            "random features, GD: spectrum of the drawn model equals simulation",
            gd(spectrum, 0.3, steps).total,
            np.asarray(run.loss),
            1e-10,
            "rounding",
        )
    ]
    seeds, times = (500 if quick else 2000), np.array([3, 20, 100])
    noisy = random_features(problem, jax.random.key(1), total_size=200, batch_size=2)
    keys = jax.random.split(jax.random.key(6), seeds)
    average = ensemble(sweep(noisy, sgd_optimizer, times, {"learning_rate": np.array([0.1])}, keys))
    return [
        *verdicts,
        z_score(
            f"random features, SGD: {seeds} runs, B = 2, T = 3, 20, 100",
            sgd(spectrum, 0.1, 2, times).total,
            average.mean[0],
            average.standard_error[0],
        ),
        _floor(60 if quick else 300),
    ]


def _floor(draws: int) -> Verdict:
    hidden, stated, means, allowed = 400, [], [], []
    index, rng = np.arange(1, hidden + 1), np.random.default_rng(7)
    for features in (15, 60):
        sketches = rng.standard_normal((draws, hidden, features))
        bases = np.linalg.qr(index[:, None] ** (-A / 2) * sketches)[0]
        labels = index ** (-B / 2)
        left = (np.sum(labels**2) - np.sum((labels @ bases) ** 2, axis=-1)) / 2
        stated.append(float(random_feature_floor(power_law(A, B, hidden), features)))
        means.append(np.mean(left))
        allowed.append(5 * np.std(left, ddof=1) / np.sqrt(draws) + stated[-1] / features)
    return agree_within(
        f"random features: loss of the best of 15 and 60 weights, {draws} draws",
        stated,
        means,
        allowed,
        "5 standard errors and the equivalent's 1/d",
    )
