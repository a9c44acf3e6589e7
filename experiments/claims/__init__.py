"""Claims that `quadlaw validate` checks: a name and a function `quick -> verdicts` each."""

from collections.abc import Callable

from experiments.claims import bigram, curves, emergence, methods, stochastic
from experiments.compare import Verdict

CLAIMS: dict[str, Callable[[bool], list[Verdict]]] = {
    "gd": curves.gradient_descent,
    "sgd": curves.sgd_recursion,
    "sgd-monte-carlo": stochastic.sgd_monte_carlo,
    "momentum": methods.momentum_methods,
    "directions": methods.direction_methods,
    "sgd-momentum": methods.sgd_with_momentum,
    "emergence": emergence.exponents,
    "bigram": bigram.real_text,
}
