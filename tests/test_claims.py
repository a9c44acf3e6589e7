"""Claims must be able to fail: each group holds as it is, and not with its mathematics broken."""

import dataclasses
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments import claims
from experiments.claims import CLAIMS, adaptive, norm_steps, second_moments
from simulate.lmo import LmoMethod
from simulate.shampoo import Shampoo
from simulate.soap import Soap


@cache
def held(group):
    """Names of the claims of a group as it is; all of them hold."""
    verdicts = CLAIMS[group](True)
    assert [verdict.claim for verdict in verdicts if not verdict.passed] == []
    return [verdict.claim for verdict in verdicts]


def failed(group):
    return [verdict.claim for verdict in CLAIMS[group](True) if not verdict.passed]


def module(group):
    return importlib.import_module(CLAIMS[group].__module__)


def off(function, factor=1.001):
    """The function with every number it returns a thousandth too large."""
    return lambda *args, **options: jax.tree.map(
        lambda leaf: factor * leaf, function(*args, **options)
    )


# Group, name in its module of what is a thousandth off, and a word of the claims that must fail.
CURVES = [
    ("momentum", "heavy_ball", "heavy ball:"),
    pytest.param("momentum-noise", "stationary_loss", "stationary loss", marks=pytest.mark.slow),
    ("momentum-noise", "sgd_momentum", "loss after 10^4 steps"),
    pytest.param(
        "momentum-noise", "momentum_stability_sum", "stability sum", marks=pytest.mark.slow
    ),
    ("momentum-noise", "momentum_noise_floor", "additive noise"),
    ("lmo", "norm", "norm one"),
    ("lmo", "dual_norm", "dual norm"),
    pytest.param("newton-schulz", "newton_schulz", "Newton-Schulz", marks=pytest.mark.slow),
    ("newton-schulz", "polar_factor", "polar factor: singular"),
    ("phases", "random_feature_resolution", "resolved scale"),
    pytest.param("matrix", "kronecker_count", "count of", marks=pytest.mark.slow),
    pytest.param("matrix", "spectral_descent", "spectral descent", marks=pytest.mark.slow),
    pytest.param("matrix", "gd", "matrix quadratic, GD", marks=pytest.mark.slow),
    pytest.param("quantization", "linear_gain", "of its products", marks=pytest.mark.slow),
    pytest.param("quantization", "fused_rescaling", "rho of a one-term", marks=pytest.mark.slow),
    pytest.param("quantization", "relative_errors", "over the R before", marks=pytest.mark.slow),
    ("sign", "sign_descent", "sign descent: exact walk"),
    ("sign", "normalized_gd", "normalized GD"),
]


@pytest.mark.parametrize(("group", "name", "word"), CURVES)
def test_a_curve_a_thousandth_off_fails_its_claims_and_no_others(group, name, word, monkeypatch):
    expected = [claim for claim in held(group) if word in claim]
    assert expected
    where = module(group)
    monkeypatch.setattr(where, name, off(getattr(where, name)))
    found = failed(group)
    if name == "newton_schulz":  # the bounds on its distance have that much room
        assert found
        assert all(word in claim for claim in found)
    else:
        assert found == expected


def flipped(name, values):
    """The oracle, but for the sign of its smallest entry that is not zero."""
    answer = ORACLE(name, values)
    size = jnp.where(answer == 0, jnp.inf, jnp.abs(answer))
    return jnp.where(size == jnp.min(size), -answer, answer)


ORACLE = module("lmo").lmo


def test_an_oracle_that_misses_the_optimum_in_its_smallest_entry_fails(monkeypatch):
    held("lmo")
    monkeypatch.setattr(module("lmo"), "lmo", flipped)
    found = failed("lmo")
    assert sum("is the maximum of" in claim for claim in found) == 6
    assert any("dual norm" in claim for claim in found)


def test_a_range_too_narrow_or_too_wide_fails_the_newton_schulz_claims(monkeypatch):
    held("newton-schulz")
    where = module("newton-schulz")
    reached = where.reached_range
    for scale, word in ((0.9, "within its stated range"), (1.6, "below 1.5 times")):

        def scaled(*args, scale=scale):
            return tuple(1 + scale * (end - 1) for end in reached(*args))

        monkeypatch.setattr(where, "reached_range", scaled)
        assert failed("newton-schulz") == [c for c in held("newton-schulz") if word in c]


@pytest.mark.parametrize(
    ("group", "constant", "count"),
    [
        ("adaptive", "MOMENTUM", 3),  # not Lion: no sign turns
        ("adaptive", "SECOND", 3),  # not optax's Muon
        ("adaptive", "DECAY", 3),  # not Adam
        ("shampoo-soap", "MOMENTUM", 3),  # not Shampoo without averages
        ("shampoo-soap", "SECOND", 3),
        ("shampoo-soap", "BASIS", 2),
        ("shampoo-soap", "DAMPING", 2),
        ("shampoo-soap", "EPSILON", 2),
    ],
)
def test_a_loop_with_a_constant_a_thousandth_off_disagrees_with_the_engine(
    group, constant, count, monkeypatch
):
    where = {"adaptive": adaptive, "shampoo-soap": second_moments}[group]
    held(group)
    monkeypatch.setattr(where, constant, 1.001 * getattr(where, constant))
    if group == "adaptive":  # the engine keeps the right ones
        right = {"momentum": 0.85, "second_momentum": 0.95, "weight_decay": 0.3}
        monkeypatch.setattr(where, "HYPERPARAMETERS", right)
    assert len(failed(group)) == count


def test_a_compute_optimal_exponent_a_thousandth_off_fails(monkeypatch):
    held("phases")
    where = module("phases")
    right = where.compute_optimal
    for field in ("loss_exponent", "size_exponent"):

        def wrong(*args, field=field):
            law = right(*args)
            return law._replace(**{field: 1.001 * getattr(law, field)})

        monkeypatch.setattr(where, "compute_optimal", wrong)
        assert failed("phases") == [c for c in held("phases") if field.replace("_", " ") in c]


def test_a_noise_term_a_factor_two_off_fails_by_z_score(monkeypatch):
    where, runs = module("sgd-momentum"), []
    sweep, right = where.sweep, where.sgd_momentum

    def once(*args):
        if not runs:
            runs.append(sweep(*args))
        return runs[0]

    def wrong(*args, **options):
        curve = right(*args, **options)
        return dataclasses.replace(curve, noise=2 * curve.noise)

    monkeypatch.setattr(where, "OPTIMIZERS", {"heavy ball": where.sgd_optimizer})
    monkeypatch.setattr(where, "sweep", once)
    assert failed("sgd-momentum") == []
    monkeypatch.setattr(where, "sgd_momentum", wrong)
    assert len(failed("sgd-momentum")) == 1


METHODS = {
    "theory": (
        "accelerated",
        "acceleration_schedules",
        "chebyshev",
        "linear_methods",
        "momentum_noise",
        "newton_schulz",
        "normalized_methods",
        "optimal_schedule",
        "scheduled_descent",
        "sgd",
        "sgd_momentum",
        "sign_methods",
        "sign_sgd",
        "zipf",
    ),
    "simulate": ("adaptive", "lmo", "optimizers", "shampoo", "soap"),
}
# Parts of what is claimed, other forms of it, and checks of arguments.
PARTS = {
    "chebyshev_residual",
    "deterministic_decomposition",
    "expected_sign",
    "gd_asymptote_window",
    "inverse_fourth_root",
    "log_abs_one_minus",
    "memory_root",
    "normalized_gd_steps",
    "plateau_risk",
    "power_residual_squared",
    "scale_by_lmo",
    "sign_descent_error",
    "sign_residual",
    "square_zeros",
    "stability_sum",
    "step_moments",
    "stepped_sgd_momentum",
    "zipf_gd_integral",
    "zipf_gd_steps",
    "zipf_sign",
    "zipf_sign_steps",
}
OBJECTS = (LmoMethod, Shampoo, Soap)


def public_names(found):
    for name, value in vars(found).items():
        own = getattr(value, "__module__", None) == found.__name__
        method = isinstance(value, OBJECTS) or inspect.isfunction(inspect.unwrap(value))
        if own and method and not name.startswith(("_", "check_")):
            yield name


def test_every_method_has_a_claim():
    sources = "".join(path.read_text() for path in Path(claims.__path__[0]).glob("*.py"))
    names = {
        name
        for package, modules in METHODS.items()
        for stem in modules
        for name in public_names(importlib.import_module(f"{package}.{stem}"))
    }
    assert names >= PARTS
    assert [name for name in sorted(names - PARTS) if not re.search(rf"\b{name}\b", sources)] == []


def failing(rows):
    return [verdict.claim for verdict in rows() if not verdict.passed]


@pytest.mark.parametrize(
    ("rows", "name", "factor", "word"),
    [
        (norm_steps.budget_rows, "norm_limit", 0.999, "the norm stays in its budget"),
        pytest.param(
            norm_steps.budget_rows, "norm_limit", 1.001, "the first step", marks=pytest.mark.slow
        ),
        (norm_steps.budget_rows, "settled_norm", 1.1, "the norm settles at"),
        (norm_steps.noiseless_rows, "ball_loss", 1.001, "reach the least loss of the ball"),
        (norm_steps.noiseless_rows, "distance_rate", 1.05, "the tuned rate is"),
    ],
)
def test_a_norm_or_rate_that_is_off_fails_its_rows(rows, name, factor, word, monkeypatch):
    assert failing(rows) == []
    monkeypatch.setattr(norm_steps, name, off(getattr(norm_steps, name), factor))
    found = failing(rows)
    assert found
    assert all(word in claim for claim in found)
