"""Intervals cover the truth as often as they say (slow: thousands of refits)."""

import jax
import numpy as np
import pytest

from theory.fit_comparison import nested_test
from theory.fit_uncertainty import bootstrap, conditioning, percentile_intervals
from theory.fitting import fit_chinchilla, runs
from theory.law_forms import SEPARATE, SHARED
from theory.shared_fitting import fit_form

from .test_theory_fitting import TRUE, design
from .test_theory_shared_fitting import synthetic

REPEATS, DRAWS = 200, 200
FIELDS = ("irreducible", "size_coefficient", "tokens_coefficient", "size_exponent")
NAMES = (*FIELDS, "tokens_exponent")


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.001, 0.003, 0.01])
def test_intervals_cover_the_truth(noise):
    by_bootstrap, by_error = np.zeros(5), np.zeros(2)
    for seed in range(REPEATS):
        data = runs(*design(noise, seed + 1000))
        fit = fit_chinchilla(data, starts=4, key=jax.random.key(0))
        draws = bootstrap(fit, DRAWS, jax.random.key(seed))
        for k, (name, truth) in enumerate(zip(NAMES, TRUE.values(), strict=True)):
            low, high = percentile_intervals(np.asarray(getattr(draws.law, name)))
            by_bootstrap[k] += low <= truth <= high
        errors = conditioning(fit).standard_errors[[2, 4]]
        off = np.abs(fit.parameters[[2, 4]] - [TRUE["alpha"], TRUE["beta"]])
        by_error += off <= 1.96 * errors
    assert np.all((by_bootstrap / REPEATS >= 0.90) & (by_bootstrap / REPEATS <= 0.99)), by_bootstrap
    assert np.all((by_error / REPEATS >= 0.90) & (by_error / REPEATS <= 0.99)), by_error


@pytest.mark.slow
def test_a_true_shared_law_is_seldom_rejected():
    rejected = 0
    for seed in range(REPEATS):
        data = synthetic(0.001, seed)
        narrow, wide = (
            fit_form(data, form, delta=0.01, starts=4, key=jax.random.key(0))
            for form in (SHARED, SEPARATE)
        )
        rejected += nested_test(narrow, wide).p_value < 0.01
    # Nominally 2 of 200; a tenth has p < 0.05 with 36 runs and 15 parameters.
    assert rejected <= 10
