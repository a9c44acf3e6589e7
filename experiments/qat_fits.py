"""Laws fitted to runs with rounded weights: rho with two kinds of intervals, and its tests.

Two forms, per optimizer, with a coefficient A of its own for each format:

    one-term   L = E + A (rho N)^-alpha at one ratio D / N, as in Vlassis et al. 2025;
    quantized  L = E + A (rho N)^-alpha + B D^-beta on all runs.

Whether there is a rho at all is asked of the excess over full precision at fixed D / N: the law
wants it to fall like N^-alpha, a floor stays. Local rho solve the law for one size alone.

A cell whose best rate is the first or last tried is left out, `fitted_cells`; where that would
leave a format fewer than three sizes at a budget, all of them are kept.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr
from scipy.special import stdtrit

from theory.fit_resampling import bootstrap_form
from theory.fit_uncertainty import percentile_intervals
from theory.grouped_runs import GroupedRuns, grouped_runs
from theory.law_forms import ONE_TERM, QUANTIZED, LawForm, positions
from theory.robust_fit import lowest, refit_from
from theory.shared_fitting import FormFit, fit_form

FORMS: dict[str, LawForm] = {form.name: form for form in (ONE_TERM, QUANTIZED)}
SYMBOLS = QUANTIZED.symbols
LEVEL = 0.95
LEAST_SIZES = 3  # of a format at one budget; a slope with an interval needs as many


@dataclass(frozen=True)
class Settings:
    """How laws are fitted.

    Attributes:
        delta: Huber threshold on log loss.
        starts: random starts of a fit.
        draws: bootstrap refits.
        seed: of both.
    """

    delta: float
    starts: int
    draws: int
    seed: int = 0


@dataclass(frozen=True)
class Efficiencies:
    """One form fitted to the runs of one optimizer.

    Attributes:
        rho: low, middle and high, [bits, 3].
        left_out: least and largest without one of the sizes, [bits, 2]; NaN if not asked for.
        law: by `SYMBOLS`, the coefficient A of the reference; NaN for what the form lacks.
        misfit: root mean square residual of log loss.
    """

    rho: np.ndarray
    left_out: np.ndarray
    law: np.ndarray
    misfit: float


def rescalings(form: LawForm, parameters: np.ndarray, data: GroupedRuns) -> np.ndarray:
    """The rho of each group against the first, (A / A_first)^(-1/alpha).

    Args:
        form: the law.
        parameters: centred, [..., p].
        data: the runs they are centred on.

    Returns:
        Array [..., groups], between e^-50 and e^50: where alpha is as good as zero, rho is open.
    """
    places = positions(form, len(data.groups))
    log_size = parameters[..., places["A"]]
    alpha = parameters[..., places["alpha"]]
    alpha = np.where(alpha == 0, np.finfo(float).tiny, alpha)
    with np.errstate(over="ignore"):
        return np.exp(np.clip((log_size[..., :1] - log_size) / alpha, -50.0, 50.0))


def efficiencies(
    form: LawForm,
    bits: np.ndarray,
    size: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    settings: Settings,
    left_out: bool = False,
) -> Efficiencies:
    """Fits a form to the runs of one optimizer in several formats.

    Args:
        form: `ONE_TERM` or `QUANTIZED`.
        bits: of the formats, the reference first, [b].
        size: N, [places].
        tokens: D, [places, shares].
        loss: [b, places, shares, seeds]; runs that are not finite are left out.
        settings: of the fit.
        left_out: whether to fit without each size, too.

    Returns:
        An `Efficiencies`.

    Raises:
        ValueError: if the runs cannot identify the law.
    """
    shape = loss.shape
    place = np.broadcast_to(np.arange(shape[1])[:, None, None], shape)
    run = np.broadcast_to(np.arange(np.prod(shape[1:])).reshape(shape[1:]), shape)
    keep = np.isfinite(loss)
    flat = lambda values: np.broadcast_to(values, shape)[keep]
    data = grouped_runs(
        flat(size[:, None, None]),
        flat(tokens[..., None]),
        loss[keep],
        flat(bits.astype(str)[:, None, None, None]),
        least_cells=LEAST_SIZES,
    )
    key = jax.random.key(settings.seed)
    fit = fit_form(data, form, delta=settings.delta, starts=settings.starts, key=key)
    resampled = bootstrap_form(fit, settings.draws, key, run[keep])
    middle = rescalings(form, fit.parameters, data)
    ends = percentile_intervals(rescalings(form, resampled.parameters, data))
    symbols = fit.symbols
    law = [float(symbols[name][0]) if name in symbols else np.nan for name in SYMBOLS]
    return Efficiencies(
        np.stack([ends[0], middle, ends[1]], axis=-1),
        _left_out(fit, place[keep], middle) if left_out else np.full((middle.size, 2), np.nan),
        np.array(law),
        float(np.sqrt(np.mean(fit.residuals**2))),
    )


def _left_out(fit: FormFit, place: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Least and largest rho of the fit and of those without one size, [groups, 2]."""
    masks = np.stack([place != number for number in np.unique(place)]).astype(float)
    start = np.broadcast_to(fit.parameters, (1, 1, fit.parameters.size))
    ends, values, slopes = refit_from(
        jax.numpy.asarray(start), fit.terms, fit.log_loss, jax.numpy.asarray(masks), fit.chosen
    )
    best = ends[np.arange(len(ends)), lowest(values, slopes)]
    found = np.vstack([rescalings(fit.form, best, fit.data), middle])
    return np.stack([found.min(axis=0), found.max(axis=0)], axis=-1)


def slope_of(size: np.ndarray, excess: np.ndarray) -> tuple[float, float]:
    """Slope of log excess in log N with half its 95 % interval; NaN if an excess is not positive.

    Args:
        size: N, [n], n >= 3.
        excess: [n].

    Returns:
        The slope of the least-squares line, and the interval by Student's t from its residuals.
    """
    if not np.all(np.isfinite(excess) & (excess > 0)):
        return np.nan, np.nan
    x, y = np.log(size), np.log(excess)
    x = x - x.mean()
    slope = np.sum(x * y) / np.sum(x**2)
    rest = y - y.mean() - slope * x
    deviation = np.sqrt(np.sum(rest**2) / (size.size - 2) / np.sum(x**2))
    return float(slope), float(stdtrit(size.size - 2, 0.5 + LEVEL / 2) * deviation)


def verdict(slope: float, error: float, alpha: float) -> str:
    """What the slope of the excess says of the law, in which it is -alpha.

    Args:
        slope: of log excess in log N.
        error: half its interval.
        alpha: of the law.

    Returns:
        `rho` if the interval holds -alpha but not 0; `floor` the other way round; `either` if it
        holds both; else `faster` than the law, `slower`, or `grows`; `no excess` without a slope.
    """
    if not np.isfinite(slope):
        return "no excess"
    law, floor = abs(slope + alpha) <= error, abs(slope) <= error
    if law or floor:
        return "either" if law and floor else "rho" if law else "floor"
    if slope > 0:
        return "grows"
    return "slower" if slope > -alpha else "faster"


def local_rescalings(
    loss: np.ndarray, reference: np.ndarray, irreducible: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """The rho that each size has alone, ((L_q - E) / (L - E))^(-1/alpha).

    Args:
        loss: of the format, any shape.
        reference: of the reference format, the same shape.
        irreducible: E, broadcast; where a loss is not above it, the result is NaN.
        alpha: of the law, broadcast.

    Returns:
        The same shape.
    """
    above = np.minimum(loss, reference) > irreducible
    ratio = np.where(above, loss - irreducible, 1.0) / np.where(above, reference - irreducible, 1.0)
    return np.where(above, ratio ** (-1.0 / alpha), np.nan)


def fitted_cells(at_edge: np.ndarray, axis: int) -> np.ndarray:
    """Cells that enter the fits: not those at the edge, unless too few sizes remain.

    Args:
        at_edge: whether the best rate of a cell is the first or last tried, any shape.
        axis: along which the sizes lie.

    Returns:
        The same shape.
    """
    enough = np.sum(~at_edge, axis=axis, keepdims=True) >= LEAST_SIZES
    return ~at_edge | ~enough


def with_laws(runs: xr.Dataset, settings: Settings) -> xr.Dataset:
    """The runs of one system with the laws of each method, and what tests them.

    Args:
        runs: `loss`, `at_edge`, `size`, `tokens` and `irreducible` of the layout in
            `experiments.qat_runs`.
        settings: of the fits.

    Returns:
        The runs with the other variables of that layout, and `in_fits`, shaped like `at_edge`.
    """
    runs = runs.assign(in_fits=runs.at_edge.copy(data=fitted_cells(runs.at_edge.values, 2)))
    coords = {
        "form": list(FORMS),
        "end": ["low", "middle", "high"],
        "extreme": ["least", "largest"],
        "symbol": list(SYMBOLS),
    }
    methods, bits = runs.method.size, runs.bits.size
    fitted = {
        "rho": (("form", "method", "bits", "end"), np.full((len(FORMS), methods, bits, 3), np.nan)),
        "rho_left_out": (("method", "bits", "extreme"), np.full((methods, bits, 2), np.nan)),
        "law": (("form", "method", "symbol"), np.full((len(FORMS), methods, len(SYMBOLS)), np.nan)),
        "misfit": (("form", "method"), np.full((len(FORMS), methods), np.nan)),
    }
    for row in range(methods):
        if not np.isfinite(runs.loss[row]).any():
            continue
        for number, form in enumerate(FORMS.values()):
            # One term: the runs of one ratio D / N alone.
            share = slice(-1, None) if form is ONE_TERM else slice(None)
            seen = runs.isel(method=row, share=share)
            cells = seen.bits.values, seen["size"].values, seen.tokens.values
            loss = seen.loss.where(seen.in_fits).values
            found = efficiencies(form, *cells, loss, settings, form is ONE_TERM)
            fitted["rho"][1][number, row] = found.rho
            fitted["law"][1][number, row] = found.law
            fitted["misfit"][1][number, row] = found.misfit
            if form is ONE_TERM:
                fitted["rho_left_out"][1][row] = found.left_out
    return _tested(runs.assign(fitted).assign_coords(coords))


def _tested(fitted: xr.Dataset) -> xr.Dataset:
    """The slopes of the excess and the local rho, at the last share."""
    loss = fitted.loss.isel(share=-1).mean("seed")
    reference = loss.isel(bits=0)
    excess = (loss - reference).where(np.isfinite(loss))
    edge = ~fitted.in_fits.isel(share=-1)
    used = fitted_cells((edge | edge.isel(bits=0)).values, 2)
    size, slopes = fitted["size"].values, np.empty((*excess.shape[:2], 2))
    for pair in np.ndindex(*excess.shape[:2]):
        slopes[pair] = slope_of(size[used[pair]], excess.values[pair][used[pair]])
    symbols = fitted.law.sel(form=ONE_TERM.name)
    irreducible, alpha = symbols.sel(symbol="E"), symbols.sel(symbol="alpha")
    full = np.broadcast_to(reference.values[:, None], loss.shape)
    local = local_rescalings(
        loss.values, full, irreducible.values[:, None, None], alpha.values[:, None, None]
    )
    pairs = ("method", "bits")
    return fitted.assign(
        excess=((*pairs, "place"), excess.values),
        excess_slope=(pairs, slopes[..., 0]),
        slope_error=(pairs, slopes[..., 1]),
        local_rho=((*pairs, "place"), local),
    )
