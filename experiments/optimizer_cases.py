"""Cases of a study of shared exponents: optimizers on one quadratic, and the cells of a design."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from experiments.optimizer_runs import (
    Cells,
    Optimizer,
    bent_cells,
    edge_cells,
    exact_losses,
    preconditioned,
    rescaled_optimizers,
)
from theory.problem import power_law

# Of the bent grid: steps from a tenth of what the last mode needs.
RATIOS, SHARE = (1.0, 2.0, 4.0, 8.0), 0.1


@dataclass(frozen=True)
class Case:
    """What the exact losses of a case depend on.

    Attributes:
        capacity: a.
        source: b.
        noise_variance: sigma^2.
        rate: learning rate of all optimizers but one.
        slow_rate: of that one.
        momentum: of heavy ball.
        nesterov_momentum: of Nesterov's method.
        cells: of an optimizer.
        span: largest over smallest size.
        bent: a grid where size and steps both matter, instead of the two edges.
        exponent: p of the preconditioned optimizer; 0 makes it the reference again.
    """

    capacity: float
    source: float
    noise_variance: float
    rate: float
    slow_rate: float
    momentum: float
    nesterov_momentum: float
    cells: int
    span: float
    bent: bool
    exponent: float

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """By name, the reference first."""
        same = rescaled_optimizers(self.rate, self.slow_rate, self.momentum, self.nesterov_momentum)
        return same | {"preconditioned": preconditioned(self.rate, self.exponent)}

    @property
    def design(self) -> tuple[Cells, np.ndarray]:
        """The cells, and for each whether it is of the far end, held out."""
        if self.bent:
            rows = max(self.cells // len(RATIOS), 3)
            sizes = np.geomspace(100.0, 100.0 * self.span, rows)
            cells = bent_cells(self.capacity, sizes, np.array(RATIOS), SHARE)
            return cells, cells.size == cells.size.max()
        cells = edge_cells(self.capacity, self.cells, self.span)
        half = self.cells // 2
        last = max(half // 4, 1)
        place = np.arange(self.cells)
        return cells, ((place >= half - last) & (place < half)) | (place >= self.cells - last)


@lru_cache(maxsize=1)  # the chunks of a case follow each other
def exact_losses_of(case: Case) -> np.ndarray:
    """Losses without noise, [optimizers, cells]."""
    problem = partial(power_law, case.capacity, case.source, noise_variance=case.noise_variance)
    return exact_losses(problem, case.optimizers, case.design[0])
