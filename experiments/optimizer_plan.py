"""A study of shared exponents cut into chunks: a case without noise, some of its draws, intervals.

Cases with as many runs share compiled fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
import xarray as xr

from experiments.chunks import Chunk
from experiments.optimizer_cases import Case, exact_losses_of
from experiments.optimizer_runs import REFERENCE, fit_bytes, noisy_runs
from theory.fit_comparison import judged, nested_test
from theory.fit_held_out import held_out
from theory.fit_resampling import bootstrap_form
from theory.fit_uncertainty import percentile_intervals
from theory.grouped_runs import GroupedRuns
from theory.law_forms import SEPARATE, SHARED, freed
from theory.shared_fitting import FormFit, fit_form, shared_law_of

FORMS = {
    "shared": SHARED,
    "alpha free": freed(SHARED, ["alpha"]),
    "beta free": freed(SHARED, ["beta"]),
    "separate": SEPARATE,
}
LAW = ("irreducible", "size_coefficient", "size_exponent", "tokens_coefficient", "tokens_exponent")
DRAWS_A_CHUNK = 5
# Cost of a fit in those of the bent grid: on the edges the slowest start takes more steps.
DEARER = 4.0


@dataclass(frozen=True)
class Fitting:
    """A case and how its runs are fitted.

    Attributes:
        case: optimizers and cells.
        forms: laws, by their names in `FORMS`, `shared` among them.
        delta: Huber threshold.
        starts: random starts of a fit.
        seed: of noise, starts and resampling.
    """

    case: Case
    forms: tuple[str, ...]
    delta: float
    starts: int
    seed: int

    def runs(self, noise: float, draw: int) -> GroupedRuns:
        """The runs of one draw; exact for no noise."""
        key = jax.random.fold_in(jax.random.key(self.seed), draw)
        names, cells = tuple(self.case.optimizers), self.case.design[0]
        return noisy_runs(names, cells, exact_losses_of(self.case), noise, key)

    def fits(self, data: GroupedRuns) -> dict[str, FormFit]:
        """All forms fitted to the same runs."""
        key = jax.random.key(self.seed)
        return {
            name: fit_form(data, FORMS[name], delta=self.delta, starts=self.starts, key=key)
            for name in self.forms
        }


def _memory(fitting: Fitting) -> int:
    """Of one fit."""
    return fit_bytes(fitting.starts, len(fitting.case.optimizers) * fitting.case.cells)


def _work(fitting: Fitting) -> float:
    """Of all forms fitted once."""
    fits = len(fitting.forms) * fitting.starts * fitting.case.cells
    return float(fits if fitting.case.bent else DEARER * fits)


def exact_chunk(name: str, fitting: Fitting) -> Chunk:
    """A case without noise."""
    optimizers = (len(fitting.case.optimizers),)
    return Chunk(
        f"{name}, exact",
        exact,
        {"fitting": fitting},
        {
            "misfit": (len(fitting.forms),),
            "law": (len(LAW),),
            "tokens_rescaling": optimizers,
            "size_rescaling": optimizers,
            "speed": optimizers,
        },
        _memory(fitting),
        _work(fitting),
    )


def exact(*, fitting: Fitting) -> xr.Dataset:
    """Misfits of all forms, the reference's shared law, and the rescalings of all optimizers."""
    fits = fitting.fits(fitting.runs(0.0, 0))
    law = shared_law_of(fits["shared"], REFERENCE)
    of_reference = law.of(REFERENCE)
    speeds = [found.speed for found in fitting.case.optimizers.values()]
    return xr.Dataset(
        {
            "misfit": ("form", [float(np.std(fit.residuals)) for fit in fits.values()]),
            "law": ("parameter", [float(getattr(of_reference, name)) for name in LAW]),
            "tokens_rescaling": ("optimizer", np.asarray(law.tokens_rescaling)),
            "size_rescaling": ("optimizer", np.asarray(law.size_rescaling)),
            "speed": ("optimizer", speeds),
        }
    )


CRITERIA = ("held_out", "aic", "bic", "p_value", "agreement")


def noisy_chunks(name: str, fitting: Fitting, noise: float, repeats: int) -> list[Chunk]:
    """The draws of a case, a few a chunk, so that more of them leave these as they are."""
    chunks = []
    for first in range(0, repeats, DRAWS_A_CHUNK):
        draws = tuple(range(first, min(first + DRAWS_A_CHUNK, repeats)))
        chunks.append(
            Chunk(
                f"{name}, draws from {first}",
                noisy,
                {"fitting": fitting, "noise": noise, "draws": draws},
                dict.fromkeys(CRITERIA, (len(draws), len(fitting.forms))),
                _memory(fitting),
                len(draws) * _work(fitting),
            )
        )
    return chunks


def noisy(*, fitting: Fitting, noise: float, draws: tuple[int, ...]) -> xr.Dataset:
    """Criteria of some draws, [repeat, form] each."""
    far = np.tile(fitting.case.design[1], len(fitting.case.optimizers))
    found = [_judged(fitting.fits(fitting.runs(noise, draw)), far) for draw in draws]
    return xr.Dataset(
        {name: (("repeat", "form"), np.array([one[name] for one in found])) for name in CRITERIA}
    )


def _judged(fits: dict[str, FormFit], far: np.ndarray) -> dict[str, list[float]]:
    """Criteria of one draw: of every form, and of every form against the shared one."""
    narrow = fits["shared"]
    found = [judged(fit, None, held_out(fit, far[None], ("far end",))) for fit in fits.values()]
    tests = [nested_test(narrow, fit).p_value for name, fit in fits.items() if name != "shared"]
    return {
        "held_out": [candidate.largest_rmse for candidate in found],
        "aic": [candidate.aic for candidate in found],
        "bic": [candidate.bic for candidate in found],
        "p_value": [np.nan, *tests],
        "agreement": [fit.agreement for fit in fits.values()],
    }


INTERVALS = ("size_rescaling", "tokens_rescaling")


def intervals_chunk(fitting: Fitting, noise: float, draws: int) -> Chunk:
    """Intervals of the rescalings of a case; of its forms only the shared one matters."""
    shared = replace(fitting, forms=("shared",))
    shape = 3, len(fitting.case.optimizers)
    return Chunk(
        "intervals",
        intervals,
        {"fitting": shared, "noise": noise, "draws": draws},
        {f"{name}_interval": shape for name in INTERVALS},
        _memory(shared),
        _work(shared) + draws * fitting.case.cells,  # a refit has one start, near its end
    )


def intervals(*, fitting: Fitting, noise: float, draws: int) -> xr.Dataset:
    """Rescalings of the first noisy draw between the ends of their bootstrap intervals."""
    fit = fitting.fits(fitting.runs(noise, 0))["shared"]
    resampled = bootstrap_form(fit, draws, jax.random.key(fitting.seed)).law(REFERENCE)
    law, found = shared_law_of(fit, REFERENCE), {}
    for name in INTERVALS:
        ends = percentile_intervals(np.asarray(getattr(resampled, name)))
        rows = np.stack([ends[0], np.asarray(getattr(law, name)), ends[1]])
        found[f"{name}_interval"] = (("end", "optimizer"), rows)
    return xr.Dataset(found)


def of_case(results: Sequence[xr.Dataset]) -> xr.Dataset:
    """What the chunks of one case found, that without noise first, as one Dataset."""
    without, *draws = results
    return xr.concat(draws, "repeat").assign(without.data_vars)
