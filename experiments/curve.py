"""`quadlaw curve`: an exact decomposed loss, in milliseconds."""

import time
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from rich.console import Console

from experiments.tables import Table, print_table
from theory.decomposition import Decomposition
from theory.linear_methods import preconditioned_gd
from theory.problem import power_law
from theory.sgd import sgd
from theory.spectrum import compress


@dataclass(frozen=True)
class CurveOptions:
    """The exact loss of a method on the power-law quadratic, split into its parts.

    Example: quadlaw curve sgd --capacity 1.5 --source 1.8 --size 1e12 --steps 1e6 1e9 1e12
    """

    method: Annotated[Literal["gd", "sgd"], tyro.conf.Positional] = "gd"
    """gd (exact gradients) or sgd (one-pass least squares)."""
    capacity: float = 1.5
    """Capacity exponent a: eigenvalue i^-a."""
    source: float = 1.8
    """Source exponent b: initial energy i^-b."""
    size: float = 1e6
    """Number of trained modes N, up to 1e15."""
    steps: tuple[float, ...] = (1e3, 1e6, 1e9)
    """Steps T, one or several."""
    learning_rate: float = 0.3
    """Learning rate; lam_1 is one."""
    batch_size: float = 4.0
    """Samples a step (sgd)."""
    noise_variance: float = 0.0
    """Label noise sigma^2; half of it is the irreducible loss."""
    preconditioner_exponent: float = 0.0
    """p of the preconditioner lam^-p (gd)."""


def curve_command(options: CurveOptions, console: Console) -> int:
    """Computes and prints the curve; returns the exit code.

    Raises:
        ValueError: naming the option outside its domain.
    """
    if not options.steps:
        raise ValueError("`steps` must be at least one number, got none.")
    problem = power_law(options.capacity, options.source, options.size, options.noise_variance)
    steps = np.asarray(options.steps, dtype=float)

    def compute() -> Decomposition:
        spectrum = compress(problem)
        if options.method == "sgd":
            curve = sgd(spectrum, options.learning_rate, options.batch_size, steps)
        else:
            curve = preconditioned_gd(
                spectrum, options.learning_rate, steps, options.preconditioner_exponent
            )
        return jax.block_until_ready(curve)

    curve = compute()
    start = time.perf_counter()
    compute()
    milliseconds = 1e3 * (time.perf_counter() - start)
    parts = (curve.total, curve.irreducible, curve.approximation, curve.bias, curve.noise)
    rows = tuple(
        (f"{step:g}", *(f"{float(part[i]):.9e}" for part in parts))
        for i, step in enumerate(options.steps)
    )
    columns = "steps", "loss", "irreducible", "approximation", "bias", "noise"
    nodes = compress(problem).eigenvalues.size
    note = (
        f"{options.size:g} modes on {nodes} nodes; computed in {milliseconds:.1f} ms once compiled"
    )
    print_table(Table(f"{options.method}, exact", columns, rows, note), console)
    return 0
