"""The options of `quadlaw fit`, and what is refused before a file is opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.errors import UserError
from theory.fit_losses import L1_DELTA, Kind, Objective, make_objective

Choice = Literal["huber", "l1", "mse-log", "mse", "envelope"]
_KINDS: dict[Choice, Kind] = {
    "huber": "huber",
    "l1": "huber",
    "mse-log": "mse_log",
    "mse": "mse",
    "envelope": "envelope",
}


@dataclass(frozen=True)
class FitOptions:
    """Fit a scaling law to a CSV or Parquet file of training runs.

    One row is one finished run. N counts parameters (say which: with or without embeddings, and
    keep to it), D counts training tokens, the loss is a mean negative log-likelihood in nats; raw
    numbers, not millions or billions.

    Examples:
    quadlaw fit runs.csv --n params --d tokens --loss final_loss --budgets 1e23 1e25
    quadlaw fit cells.csv --law shared --optimizer-column optimizer --reference adamw
    """

    file: Annotated[Path, tyro.conf.Positional]
    """CSV or Parquet file, one row a run."""
    n: str = "N"
    """Column of model sizes, in parameters."""
    d: str = "D"
    """Column of training tokens."""
    loss: str = "loss"
    """Column of final losses."""
    law: str = "chinchilla"
    """chinchilla, shared (one rescaling of N and of D an optimizer), quantized (of N only),
    one-term (for runs at one ratio D/N), separate (one law an optimizer), or a .toml file."""
    optimizer_column: str = ""
    """Column naming the optimizer, or the number format of a quantized law; several joined by "+"
    where they name it together, such as "w_quant+w_bits"."""
    reference: str = ""
    """The optimizer whose rescalings are 1; default: the first in the file."""
    keep: tuple[str, ...] = ()
    """Conditions a row must meet, such as "N<1e9" or "status=ok"; all of them."""
    holdout: str = ""
    """Condition on rows that are predicted and not fitted, such as "N>1e9"."""
    drop: str = ""
    """Column of flags; rows where it is true are left out."""
    max_loss: float = float("inf")
    """Runs that end above this, or without a number, diverged: left out and counted."""
    duplicates: Literal["refuse", "keep", "least", "mean"] = "refuse"
    """What to do with rows of one optimizer, N and D but different losses, such as seeds."""
    least_cells: int = 4
    """Distinct (N, D) every optimizer must have; two determine it, more show its noise."""
    group: str = ""
    """Column naming the training run of a row: the bootstrap then draws whole runs."""
    objective: Choice = "huber"
    """What is minimised: huber and l1 on log loss, squares on log loss (mse-log) or on the loss
    (mse), or envelope (Huber, runs below the law count --penalty times)."""
    delta: float = 1e-3
    """Huber threshold on log loss; 1e-6 and below is the L1 limit."""
    penalty: float = 10.0
    """Weight of runs below the law, for --objective envelope."""
    starts: int = 256
    """Random starts of the optimiser."""
    bootstrap: int = 1000
    """Refits on resampled runs, for the intervals."""
    basic: bool = False
    """Only fit, intervals and conditioning: no profiles, held-out fits, comparison, sensitivity."""
    seed: int = 0
    """Seed of starts and bootstrap."""
    predict: tuple[str, ...] = ()
    """Points to predict, each such as "N=70e9,D=1.4e12"."""
    relative_cost: tuple[str, ...] = ()
    """Measured cost of a token over the reference's, each such as "muon=1.04"; 1 if not given."""
    budgets: tuple[float, ...] = ()
    """Compute budgets in FLOP for the allocation table; default: the data's largest, x10, x100."""
    flops_per_parameter_token: float = 6.0
    """FLOP a parameter and token cost."""
    report: Path = Path("fit_report")
    """Folder for the HTML page, JSON record, LaTeX tables and figures; replaced when whole."""

    @property
    def chosen(self) -> Objective:
        """What is minimised."""
        delta = L1_DELTA if self.objective == "l1" else self.delta
        return make_objective(_KINDS[self.objective], delta, self.penalty)


def check_options(options: FitOptions) -> None:
    """Refuses options that no file could serve.

    Raises:
        UserError: naming the option, its value and what is allowed.
    """
    for name, low in (("starts", 1), ("bootstrap", 2), ("least_cells", 2)):
        value = getattr(options, name)
        if value < low:
            raise UserError(f"--{name.replace('_', '-')} must be at least {low}, got {value}.")
    for name in ("delta", "max_loss", "flops_per_parameter_token"):
        value = getattr(options, name)
        if not value > 0:
            raise UserError(f"--{name.replace('_', '-')} must be positive, got {value:g}.")
    if not options.penalty >= 1:
        raise UserError(f"--penalty must be at least 1, got {options.penalty:g}.")
    if any(not 0 < budget < float("inf") for budget in options.budgets):
        raise UserError(f"--budgets must be positive, got {options.budgets}.")
    if options.relative_cost and not options.optimizer_column:
        raise UserError("--relative-cost needs --optimizer-column.")
    if options.reference and not options.optimizer_column:
        raise UserError("--reference needs --optimizer-column.")
    _check_report(options.report)


def pairs(option: str, text: str) -> dict[str, float]:
    """Positive numbers by name from "name=number,name=number".

    Raises:
        UserError: naming the option and what cannot be read.
    """
    found = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not equals or not 0 < number < float("inf") or name.strip() in found:
            raise UserError(
                f"{option} {text!r}: {part.strip()!r} must be NAME=NUMBER with a positive number."
            )
        found[name.strip()] = number
    return found


def _check_report(report: Path) -> None:
    if (
        report.exists()
        and not (report / "fit.json").is_file()
        and any(report.iterdir() if report.is_dir() else [report])
    ):
        raise UserError(f"--report {report} exists and holds no earlier fit; it is left untouched.")
