"""Claims about noisy sign and normalized steps: closures against Monte Carlo, and plateaus."""

import jax
import numpy as np

from experiments.compare import Verdict, agree_within, relative_within
from simulate.lmo import signum
from simulate.matrix_problems import matrix_quadratic
from simulate.sweep import ensemble, sweep
from theory.normalized_methods import normalized_sgd as one_pass_normalized_sgd
from theory.normalized_methods import normalized_sgd_plateau
from theory.problem import power_law
from theory.sign_sgd import (
    one_pass_sign_plateau,
    one_pass_sign_sgd,
    sign_sgd,
    sign_sgd_plateau,
)
from theory.spectrum import explicit_spectrum


def noise_closures(quick: bool) -> list[Verdict]:
    """Mean-field curves of noisy sign and normalized steps against Monte Carlo."""
    seeds = 500 if quick else 2000
    return [_additive_noise(seeds), *_one_pass(seeds), *_plateaus()]


def _additive_noise(seeds: int) -> Verdict:
    steps, rate = np.array([1, 10, 40, 200]), 0.035
    noisy = matrix_quadratic(power_law(1.0, 1.3, 5, 0.02), noise_std=1.0, batch_size=2.0)
    keys = jax.random.split(jax.random.key(23), seeds)
    average = ensemble(sweep(noisy, signum, steps, {"learning_rate": np.array([rate])}, keys))
    lam = np.outer(noisy.left, noisy.right)
    energies = lam * np.asarray(noisy.target) ** 2
    spectrum = explicit_spectrum(lam.ravel(), energies.ravel(), 0.0, 2 * float(noisy.floor))
    closed = np.asarray(sign_sgd(spectrum, np.full(steps[-1], rate), 1.0, 2.0).total)[steps]
    # k eta = eta lam_1 sqrt(B/2) / s = 0.035, where the closure is within 0.07 %.
    return agree_within(
        f"signSGD, additive noise: {seeds} runs, T = 1, 10, 40, 200",
        closed,
        average.mean[0],
        5 * average.standard_error[0] + 7e-4 * closed,
        "5 standard errors and 0.07 % of the closure",
    )


def _one_pass(seeds: int) -> list[Verdict]:
    """Batch one; the closures drop what many comparable modes average out."""
    horizon, noise = 200, 0.25
    verdicts = []
    for name, closure in (
        ("signSGD", one_pass_sign_sgd),
        ("normalized SGD", one_pass_normalized_sgd),
    ):
        closed, means, allowed = [], [], []
        for dimension in (20, 80):
            lam = np.arange(1, dimension + 1) ** -0.5
            energies = lam / lam.sum()
            rate = 0.2 / dimension if name == "signSGD" else 0.1
            losses = _one_pass_losses(name, lam, energies, noise, rate, horizon, seeds)
            spectrum = explicit_spectrum(lam, energies, 0.0, noise)
            closed.append(float(closure(spectrum, np.full(horizon, rate)).optimization[-1]))
            means.append(np.mean(losses))
            dilution = np.sum(lam**2) / np.sum(lam) ** 2
            error = np.std(losses, ddof=1) / np.sqrt(seeds)
            allowed.append(5 * error + dilution * means[-1])
        verdicts.append(
            agree_within(
                f"{name}, one pass, batch one: {seeds} runs in 20 and 80 dimensions",
                closed,
                means,
                allowed,
                "5 standard errors and the inverse effective dimension",
            )
        )
    return verdicts


def _plateaus() -> list[Verdict]:
    """Stationary losses in closed form against the curves run to their end."""
    lam = np.arange(1, 21) ** -0.5
    spectrum, rate = explicit_spectrum(lam, lam / lam.sum(), 0.0, 0.25), 0.01
    rates = np.full(20_000, rate)
    rows = {
        "signSGD, additive noise": (
            sign_sgd_plateau(spectrum, rate, 1.0, 2.0),
            sign_sgd(spectrum, rates, 1.0, 2.0),
        ),
        "signSGD, one pass": (
            one_pass_sign_plateau(spectrum, rate),
            one_pass_sign_sgd(spectrum, rates),
        ),
        "normalized SGD, one pass": (
            normalized_sgd_plateau(spectrum, rate),
            one_pass_normalized_sgd(spectrum, rates),
        ),
    }
    return [
        relative_within(
            f"{name}: closed plateau equals 20 000 steps of the curve",
            plateau,
            curve.optimization[-1],
            1e-12,
            "rounding",
        )
        for name, (plateau, curve) in rows.items()
    ]


def _one_pass_losses(
    name: str,
    lam: np.ndarray,
    energies: np.ndarray,
    noise: float,
    rate: float,
    horizon: int,
    seeds: int,
) -> np.ndarray:
    """Excess losses at the horizon, sample by sample, [seeds]."""
    rng = np.random.default_rng(31)
    error = np.tile(np.sqrt(energies / lam), (seeds, 1))
    for _ in range(horizon):
        inputs = rng.standard_normal(error.shape) * np.sqrt(lam)
        residual = np.sum(inputs * error, axis=1) + np.sqrt(noise) * rng.standard_normal(seeds)
        gradient = residual[:, None] * inputs
        if name == "signSGD":
            error -= rate * np.sign(gradient)
        else:
            error -= rate * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    return np.sum(lam * error**2, axis=1) / 2
