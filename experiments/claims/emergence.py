"""Claims about the Chinchilla form: exponents, frontier, and the additivity gap."""

import numpy as np

from experiments.compare import Verdict, agree_within, bound_holds, bound_tight
from experiments.progress import Progress
from experiments.studies.emergence import EmergenceConfig, exact_grid, slopes


def exponents(quick: bool) -> list[Verdict]:
    """Derived exponents against slopes of the exact grid; the sum of parts as an upper bound."""
    config = EmergenceConfig.quick() if quick else EmergenceConfig()
    dataset = exact_grid(config, Progress())
    measured = slopes(dataset)
    # alpha: zeta(b, N+1) deviates by (b - 1)/(2N) a decade. beta: the tail's share of the bias.
    # Frontier: next order N^-1 and T^-1 at the smallest budgets, and the parabola's grid.
    allowed = {
        "alpha": 1e-7,
        "beta": 1e-3,
        "N* against compute": 5e-3,
        "loss against compute": 5e-3,
    }
    verdicts = [
        agree_within(f"GD: exponent of {name}", *pair, allowed[name], "finite-size correction")
        for name, pair in measured.items()
    ]
    excess = dataset.loss.values - dataset.attrs["irreducible"]
    unlimited = dataset.additivity_gap.values + dataset.bias.values
    parts = dataset.approximation.values + unlimited
    larger = np.maximum(dataset.approximation.values, dataset.bias.values)
    verdicts += [
        bound_holds("L - E <= approximation(N) + optimization(inf, T)", parts, excess),
        bound_holds("max(approximation, optimization) <= L - E", excess, larger),
        bound_tight("sum of parts <= 1.65 (L - E)", parts, excess, 1.65),
    ]
    return verdicts
