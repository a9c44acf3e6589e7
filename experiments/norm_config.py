"""Which language models a norm-transfer study trains, and at which learning rates.

A (method, width, batch size) is a cell. Its rates lie on the lattice 2^(j/2), in a window around
where the optima of its token budgets are expected; a cell does not run every rate of the lattice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from experiments.stated_text import digest_of, stated
from simulate.grouped import GroupedMethod, layered_adamw, layered_signum, muon_adamw, scion
from simulate.language import read_bytes
from theory.checks import check_choice, check_real, check_whole

REFERENCE_WIDTH = 32  # where the windows of rates were placed
LEAST_STEPS = 8  # shorter budgets are left out


@dataclass(frozen=True)
class Recipe:
    """A method with its fixed numbers and where its optimal rates are expected.

    Attributes:
        method: optimizer factory.
        centre: expected log2 of the optimal rate at batch size one, one token and the reference
            width, and its slopes in the log2 of the three.
        highest: no optimum is expected above this log2 rate: few steps cannot use it.
        numbers: fixed hyperparameters.
        output_over_width: whether the output's rate is divided by the width: a step of AdamW of
            rate eta has norm d eta there.
    """

    method: GroupedMethod
    centre: tuple[float, float, float, float]
    highest: float
    numbers: dict[str, float] = field(default_factory=dict)
    output_over_width: bool = False

    def hyperparameters(self, width: int) -> dict[str, float]:
        """The fixed numbers at a width."""
        return self.numbers | ({"output_ratio": 1 / width} if self.output_over_width else {})


_ADAM = {"momentum": 0.9, "second_momentum": 0.95}
# Centres read off wide scans on the standard library's sources (128 tokens, width 32 and 64).
RECIPES = {
    "scion": Recipe(scion, (2.2, 1.1, -0.9, 0.0), 0.5),
    "scion_constrained": Recipe(scion, (2.2, 1.0, -0.9, 0.0), 0.0),
    "muon": Recipe(muon_adamw, (2.9, 0.5, -0.5, 0.0), 1.0, _ADAM, output_over_width=True),
    "adamw": Recipe(layered_adamw, (-1.9, 0.25, -0.35, -1.0), -3.5, _ADAM),
    "signsgd": Recipe(layered_signum, (-4.4, 0.95, -0.75, -1.0), -4.5),
}


@dataclass(frozen=True)
class NormRunsConfig:
    """Next-token models on a text: embedding, hidden layers, output; RMS normalisation between."""

    text: str = ""
    """File or folder; empty: the standard library of the running Python."""
    text_digest: str = ""
    """Hash of the text read; filled in by itself, so that another text is another record."""
    max_bytes: int = 1_000_000
    """Text read."""
    vocabulary: int = 128
    """Tokens: the distinct bytes of the text, then frequent pairs."""
    context: int = 4
    """Tokens the next one is predicted from."""
    depth: int = 1
    """Hidden layers."""
    methods: tuple[str, ...] = ("scion", "scion_constrained", "muon", "adamw", "signsgd")
    """Methods; the first also runs at the batches between."""
    width: int = 32
    """Width at which all methods run."""
    widths: tuple[int, ...] = (16, 64)
    """Other widths."""
    width_methods: tuple[str, ...] = ("scion", "adamw")
    """Methods that run at the other widths."""
    batches: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096, 8192)
    """Batch sizes of the first method at `width`; elsewhere every second one."""
    tokens: tuple[int, ...] = (2**12, 2**13, 2**14, 2**15, 2**16, 2**17, 2**18)
    """Token budgets, multiples of the batch sizes; those below eight steps are left out."""
    margin: float = 1.5
    """Octaves of rate on both sides of where optima are expected."""
    weight_decay: float = 0.05
    """Of constrained Scion: inverse radius of the ball."""
    seeds: int = 2
    """Repetitions, each with its own initial weights and batches."""
    evaluation: int = 4096
    """Held-out windows the loss is measured on."""
    variant_batches: tuple[int, ...] = (128, 512, 2048)
    """Batch sizes of the variants of Scion."""
    variant_tokens: tuple[int, ...] = (2**12, 2**14, 2**16)
    """Token budgets of the variants; those with decay of the rate see the last one only."""
    variant_seeds: int = 1
    """Repetitions of the variants."""

    @classmethod
    def quick(cls) -> "NormRunsConfig":
        """Narrow networks, fewer methods and budgets."""
        return cls(
            max_bytes=300_000,
            methods=("scion", "scion_constrained", "adamw"),
            width=16,
            widths=(32,),
            width_methods=("scion",),
            batches=(64, 256, 1024),
            tokens=(2**12, 2**13, 2**14, 2**15),
            evaluation=2048,
            variant_batches=(256,),
            variant_tokens=(2**13, 2**15),
        )


def resolve_text(config: NormRunsConfig) -> NormRunsConfig:
    """The configuration with the hash of its text.

    Raises:
        ValueError: if another hash was asked for than that of the text now there.
    """
    text = stated(read_bytes, config.text, config.max_bytes, config.text_digest)
    return replace(config, text_digest=digest_of(text))


@dataclass(frozen=True)
class Cell:
    """What one compiled sweep runs."""

    method: str
    width: int
    batch: int


def cells(config: NormRunsConfig) -> list[Cell]:
    """All cells, longest first: the first method on all batches, the others on every second."""
    found = []
    for width in (config.width, *config.widths):
        for method in config.methods if width == config.width else config.width_methods:
            whole = (method, width) == (config.methods[0], config.width)
            for batch in config.batches[:: 1 if whole else 2]:
                found.append(Cell(method, width, batch))
    return sorted(found, key=lambda cell: -cell.width)


def usable(tokens: Sequence[int], batch: int) -> np.ndarray:
    """Which budgets have enough steps, [D]."""
    return np.array(tokens) >= LEAST_STEPS * batch


def rate_window(cell: Cell, tokens: Sequence[int] | np.ndarray, margin: float) -> np.ndarray:
    """Rates to run, as whole numbers j of 2^(j/2).

    Args:
        cell: method, width and batch size.
        tokens: budgets, all usable.
        margin: octaves on both sides of the expected optima.

    Returns:
        Ascending whole numbers.
    """
    recipe = RECIPES[cell.method]
    constant, *slopes = recipe.centre
    budgets = np.log2(np.array(tokens, float))
    places = np.log2(cell.batch), budgets, np.log2(cell.width / REFERENCE_WIDTH)
    centre = constant + sum(slope * place for slope, place in zip(slopes, places, strict=True))
    centre = np.minimum(centre, recipe.highest)
    low, high = np.min(centre) - margin, np.max(centre) + margin
    return np.arange(np.floor(2 * low), np.ceil(2 * high) + 1).astype(int)


def check_config(config: NormRunsConfig) -> None:
    """Refuses what no run can use.

    Raises:
        ValueError: naming the option.
    """
    for name in ("methods", "width_methods"):
        for method in getattr(config, name):
            check_choice(name, method, tuple(RECIPES))
    if not config.methods or not set(config.width_methods) <= set(config.methods):
        raise ValueError(
            f"`width_methods` must be among `methods`, got {config.width_methods} and "
            f"{config.methods}."
        )
    if len({config.width, *config.widths}) <= len(config.widths):
        raise ValueError(f"`widths` must differ from each other and from {config.width}.")
    for name in ("vocabulary", "context", "depth", "width", "evaluation", "seeds", "variant_seeds"):
        check_whole(name, getattr(config, name), at_least=1)
    check_whole("widths", config.widths, at_least=1)
    check_real("seeds", config.seeds, at_least=2)
    check_real("margin", config.margin, at_least=0.5)
    check_real("weight_decay", config.weight_decay, above=0.0)
    for prefix in ("", "variant_"):
        _check_grid(prefix, *(getattr(config, prefix + name) for name in ("batches", "tokens")))


def _check_grid(prefix: str, batches: Sequence[int], tokens: Sequence[int]) -> None:
    for values in (batches, tokens):
        if not values or np.any(np.diff(values) <= 0):
            raise ValueError(f"`{prefix}batches` and `{prefix}tokens` must increase, got {values}.")
    check_real(f"{prefix}batches", batches, at_least=1, at_most=max(tokens) / LEAST_STEPS)
    for batch in batches:
        odd = [budget for budget in tokens if budget >= LEAST_STEPS * batch and budget % batch]
        if odd:
            raise ValueError(
                f"`{prefix}tokens` must be multiples of `{prefix}batches`, "
                f"got {odd[0]} and {batch}."
            )
