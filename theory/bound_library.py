"""Posynomial bounds by name, as data for `theory.tuning.derive`.

The sharper bound, mu-KL and star-convex bounds are no posynomials (square roots of alpha/(2-alpha),
powers (1-q)^K): `theory.numeric_tuning` treats them.
"""

from collections.abc import Mapping
from fractions import Fraction

from theory.bound_formula import BoundFormula, Range, bound_formula
from theory.checks import check_choice
from theory.lmo_bounds import KOVALEV, KOVALEV_V1, RELAXED, Coefficients

TIE = (
    "The tie in batch size is broken by the burn-in and smoothness terms, which are slack in the "
    "proof: a sharper bound breaks it the other way, toward no momentum and B ~ T^1/2."
)
_LMO = "Kovalev 2025 (arXiv 2503.12645) theorem 2, mini-batch form of arXiv 2603.15958"


def five_terms(name: str, coefficients: Coefficients, source: str = _LMO) -> BoundFormula:
    """The five-term bound of LMO methods with given coefficients, as data.

    Args:
        name: of the bound.
        coefficients: c_1..c_4; a zero drops its term.
        source: where they are from.

    Returns:
        The bound in Delta, L, rho, sigma, eta, alpha, B, K.

    Kind: upper bound.
    Valid: as `theory.lmo_bounds.kovalev_bound`.
    Source: Kovalev 2025 (arXiv 2503.12645) theorem 2.
    """
    weighted = {
        "initial_gap": (1.0, "Delta/(eta*K)"),
        "burn_in": (coefficients.burn_in, "rho*sigma/(alpha*sqrt(B)*K)"),
        "noise": (coefficients.noise, "rho*sigma*sqrt(alpha/B)"),
        "smoothness": (coefficients.smoothness, "L*eta"),
        "lag": (coefficients.lag, "L*eta/alpha"),
    }
    terms = {key: f"{float(c)!r}*{text}" for key, (c, text) in weighted.items() if c}
    return bound_formula(name, terms, source=source, caveat=TIE)


def sgd_power_law(
    capacity: Fraction | int | str, source: Fraction | int | str, schedule: str = "constant"
) -> BoundFormula:
    """Leading terms of SGD's loss on the power-law quadratic: bias and noise, constants one.

    beta = (b-1)/a: (eta K)^-beta + eta/B (constant), (eta K)^-beta + (eta/B) (eta K)^(1/a-1)
    (linear decay).

    Args:
        capacity: a > 1, rational.
        source: b > 1, rational; b > a for linear decay.
        schedule: `constant` or `linear` (decay to zero).

    Returns:
        The bound; eta <= 1.

    Raises:
        ValueError: if an exponent is outside its domain.

    Kind: asymptotic.
    Valid: 1 << eta K << N^a; label noise; b < 1 + 2 a.
    Source: derived; loss ~ D^(-beta/(1+beta)) with eta* ~ B D^(-beta/(1+beta)), and D^(-(b-1)/b)
        with eta* ~ B D^(-(b-a)/b), D = B K.
    """
    check_choice("schedule", schedule, ("constant", "linear"))
    a, b = Fraction(capacity), Fraction(source)
    if not (a > 1 and b > 1) or (schedule == "linear" and b <= a):
        needed = "1 < capacity < source" if schedule == "linear" else "capacity, source > 1"
        raise ValueError(f"{schedule} SGD needs {needed}, got `capacity` {a} and `source` {b}.")
    noise = "eta/B" if schedule == "constant" else f"eta/B*(eta*K)^({1 / a - 1})"
    return bound_formula(
        f"sgd_{schedule}",
        {"bias": f"(eta*K)^({-(b - 1) / a})", "noise": noise},
        ranges={"eta": Range(None, 1.0)},
        source="exact SGD on power-law quadratics, leading terms",
    )


def _library() -> dict[str, BoundFormula]:
    bounds = (
        five_terms("kovalev", KOVALEV),
        five_terms("kovalev_v1", KOVALEV_V1),
        five_terms("relaxed", RELAXED, "sharper bound, every factor replaced by a monomial"),
        bound_formula(
            "no_momentum",
            {
                "initial_gap": "Delta/(eta*K)",
                "burn_in": "2*rho*sigma/(sqrt(B)*K)",
                "noise": "2*rho*sigma/sqrt(B)",
                "smoothness": "L*eta/2",
            },
            source="sharper bound at alpha = 1, where it is a posynomial",
        ),
        bound_formula(
            "fixed_momentum",
            {"initial_gap": "a1/(eta*K)", "noise": "a2/sqrt(B)", "smoothness": "a3*eta"},
            source="reduced form at fixed momentum",
        ),
        bound_formula(
            "sgd",
            {"initial_gap": "2*Delta/(eta*K)", "noise": "L*eta*sigma^2/B"},
            at_most_one=["L*eta"],
            source="Ghadimi and Lan 2013 (arXiv 1309.5549); of the squared gradient norm",
        ),
        bound_formula(
            "sgd_convex",
            {"distance": "R^2/(2*eta*K)", "noise": "eta*sigma^2/(2*B)"},
            at_most_one=["L*eta"],
            source="textbook; of the loss above its minimum",
        ),
        bound_formula(
            "frank_wolfe",
            {
                "initial_gap": "Delta/(weight_decay*eta*K)",
                "burn_in": "2*rho*sigma/(weight_decay*alpha*sqrt(B)*K)",
                "noise": "2*rho*sigma/weight_decay*sqrt(alpha/B)",
                "lag": "4*L*eta/(weight_decay*alpha)",
            },
            at_most_one=["weight_decay*eta"],
            source="Frank-Wolfe gap with weight decay, every factor replaced by a monomial: "
            "1 + 2 (1-alpha)/alpha <= 2/alpha",
        ),
    )
    return {bound.name: bound for bound in bounds}


BOUNDS: Mapping[str, BoundFormula] = _library()
