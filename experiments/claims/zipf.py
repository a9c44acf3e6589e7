"""Claims about Zipf's law: GD and sign descent on tokens, finite vocabularies and their limits."""

import jax.numpy as jnp
import numpy as np

from experiments.claims.asymptotics import limit_row
from experiments.compare import Verdict, bound_holds, bound_tight, relative_within
from simulate.optimizers import sgd as sgd_optimizer
from simulate.problems import DiagonalQuadratic
from simulate.trajectory import simulate
from theory.zipf import (
    zipf_gd,
    zipf_gd_constant,
    zipf_gd_harmonic,
    zipf_gd_limit,
    zipf_sign_limit,
    zipf_sign_tuned,
)


def zipf_tokens(quick: bool) -> list[Verdict]:
    """GD and sign descent on Zipf tokens: finite vocabularies and their limits."""
    vocabularies = 10.0 ** np.array([3, 5, 7] if quick else [3, 5, 7, 9])
    return [
        _zipf_simulation(2_000 if quick else 100_000),
        *_zipf_gd_limits(vocabularies),
        *_zipf_sign_limits(vocabularies),
        *_zipf_sign_brute(),
    ]


def _zipf_simulation(vocabulary: int) -> Verdict:
    frequency = jnp.arange(1.0, vocabulary + 1) ** -1.0
    tokens = DiagonalQuadratic(frequency, frequency, jnp.ones_like(frequency), jnp.zeros(()))
    steps = np.array([0, 1, 10, 100, 1000])
    loss = np.asarray(simulate(tokens, sgd_optimizer, steps, learning_rate=1.0).loss)
    return relative_within(
        f"Zipf's law, GD: sum over {vocabulary} tokens equals simulation",
        zipf_gd(1.0, vocabulary, steps),
        loss / loss[0],
        1e-12,
        "rounding",
    )


def _zipf_gd_limits(vocabularies: np.ndarray) -> list[Verdict]:
    verdicts = []
    for exponent, time, order in (
        (0.5, 1.0, "d^-1/2"),
        (0.8, 0.7, "d^-1/5"),
        (1.0, 0.5, "1/log d"),
    ):
        # Steps t with 2t = tau d^alpha, or d^tau under Zipf's law proper.
        steps = (vocabularies**time if exponent == 1.0 else time * vocabularies**exponent) / 2
        clock = np.log(vocabularies) if exponent == 1.0 else vocabularies ** (1.0 - exponent)
        verdicts.append(
            limit_row(
                f"Zipf, GD: loss at exponent {exponent:g} tends to its limit in d like {order}",
                float(zipf_gd_limit(exponent, time)),
                [float(zipf_gd(exponent, *pair)) for pair in zip(vocabularies, steps, strict=True)],
                clock,
            )
        )
    few, steps = vocabularies[:3], np.array([1e2, 1e3, 1e4])
    ratios = [float(zipf_gd(1.0, d, d / 2) / zipf_gd_harmonic(d, d / 2)) for d in few]
    power = zipf_gd_constant(1.5) * (2 * steps) ** (-1 / 3)
    return [
        *verdicts,
        limit_row(
            "Zipf, GD: loss over E_1(2t/d)/H_d at t = d/2 tends to 1 like 1/d", 1.0, ratios, few
        ),
        limit_row(
            "Zipf, GD: loss at exponent 1.5 over its power law tends to 1 like 1/t",
            1.0,
            zipf_gd(1.5, 1e15, steps) / power,
            steps,
        ),
    ]


def _zipf_sign_limits(vocabularies: np.ndarray) -> list[Verdict]:
    verdicts = []
    for exponent, time in ((0.3, 2.0), (0.8, 2.0), (1.0, 2.0)):
        limit = zipf_sign_limit(exponent, time).loss
        steps = time / 2 * (vocabularies**0.5 if exponent > 0.5 else np.ones_like(vocabularies))
        pairs = zip(vocabularies, steps, strict=True)
        losses = [zipf_sign_tuned(exponent, d, t).loss / limit for d, t in pairs]
        verdicts.append(
            limit_row(
                f"Zipf, sign descent: tuned loss at exponent alpha = {exponent:g} over its limit "
                "tends to 1 like d^-|1 - 2 alpha|",
                1.0,
                losses,
                vocabularies ** abs(1.0 - 2.0 * exponent),
            )
        )
    return verdicts


def _zipf_sign_brute() -> list[Verdict]:
    """The best reach against every reach of a fine grid, summed token by token."""
    vocabulary, tuned, gridded = 300, [], []
    token = np.arange(1, vocabulary + 1)
    reach = np.unique(np.concatenate([np.linspace(1, vocabulary, 4000), token]))[:, None]
    for exponent in (0.4, 1.0):
        frequency, level = token**-exponent, reach**-exponent
        for steps in (3.0, 30.0):
            left = np.where(token <= reach, frequency - level, level / (2 * steps))
            gridded.append(np.min(np.sum(left**2, axis=1)) / np.sum(frequency**2))
            tuned.append(zipf_sign_tuned(exponent, vocabulary, steps).loss)
    return [
        bound_holds("Zipf, sign descent: no reach of a grid beats the tuned one", gridded, tuned),
        bound_tight("Zipf, sign descent: the grid comes within 0.1 %", gridded, tuned, 1.001),
    ]
