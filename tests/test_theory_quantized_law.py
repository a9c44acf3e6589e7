"""Quantized laws: a format acts like a smaller model, and what a one-term fit then sees."""

import numpy as np
import pytest
from scipy.optimize import brentq

from theory.laws import chinchilla
from theory.quantized_law import fused_rescaling, one_term, quantized_law

from .tolerances import SAME_MATHS

LAW = (1.7, 60.0, 300.0, 0.25, 0.25)


def test_a_format_acts_like_a_model_of_another_size():
    law = quantized_law(chinchilla(*LAW), {"int4": 0.69, "int1": 0.02}, "bf16")
    assert law.optimizers == ("bf16", "int4", "int1")
    for name, rho in (("bf16", 1.0), ("int4", 0.69), ("int1", 0.02)):
        expected = chinchilla(*LAW).loss(rho * 1e9, 2e10)
        assert float(law.of(name).loss(1e9, 2e10)) == pytest.approx(float(expected), rel=SAME_MATHS)
    np.testing.assert_array_equal(law.tokens_rescaling, 1.0)


def test_one_term_is_the_law_along_a_fixed_ratio():
    law, size = chinchilla(*LAW), np.geomspace(1e7, 1e11, 5)
    fused = one_term(law, 20.0)
    assert float(fused.tokens_coefficient) == 0.0
    expected = law.loss(size, 20.0 * size)
    np.testing.assert_allclose(fused.loss(size, 1e10), expected, rtol=SAME_MATHS)


@pytest.mark.parametrize("rho", [0.05, 0.69, 1.0, 1.3])
def test_the_one_term_rescaling_is_the_size_ratio_at_equal_loss(rho):
    law, ratio = chinchilla(*LAW), 20.0
    found = float(fused_rescaling(law, rho, ratio))
    quantized = quantized_law(law, {"q": rho}, "bf16").of("q")
    target = float(quantized.loss(1e9, ratio * 1e9))
    root = brentq(lambda x: float(law.loss(np.exp(x), ratio * np.exp(x))) - target, 5, 40)
    assert found == pytest.approx(np.exp(root) / 1e9, rel=1e-9)
    assert abs(np.log(found)) <= abs(np.log(rho))


def test_without_a_tokens_term_both_rescalings_agree():
    law = chinchilla(1.7, 60.0, 1e-12, 0.25, 0.25)
    assert float(fused_rescaling(law, 0.3, 20.0)) == pytest.approx(0.3, rel=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda law: quantized_law(law, {"q": -1.0}, "bf16"), r"`size_rescalings\['q'\]`"),
        (lambda law: one_term(law, 0.0), "`tokens_per_parameter` must be"),
        (lambda _: one_term(chinchilla(1, 1, 1, 0.2, 0.3), 20.0), "must have equal exponents"),
        (lambda law: fused_rescaling(law, 0.0, 20.0), "`rescaling` must be"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(chinchilla(*LAW))
