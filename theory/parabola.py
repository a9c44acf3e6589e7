"""Where a tuned loss is smallest: weighted parabolas through the points around the best one.

    loss = a (x - x_0)^2 + b (x - x_0) + c,   minimum at x_0 - b/(2 a), of value c - b^2/(4 a),

x a logarithm (of the learning rate, of a norm, of the batch size). The source of norm transfer
(Filatov et al. 2025, arXiv 2510.03871) fits the plain loss, and pins c to the loss of the start at
log2 norm 0, where its output layer starts. The choices of such a fit, how many points and which
weights, move the optimum by as much as the noise does: they are varied, and the spread is part of
the error.
"""

from dataclasses import dataclass

import numpy as np

from theory.checks import check_choice, check_real

WINDOWS = (5, 7, 9)
WEIGHTINGS = ("equal", "near")
LOW, INSIDE, HIGH = -1, 0, 1


@dataclass(frozen=True)
class Vertex:
    """A minimum; not-a-number, and infinite errors, where there is none.

    Attributes:
        place: x of the minimum.
        place_error: standard error from the residuals (or the given errors) of the loss.
        value: loss there.
        value_error: its standard error.
        curvature: second derivative 2 a.
    """

    place: float
    place_error: float
    value: float
    value_error: float
    curvature: float


@dataclass(frozen=True)
class Optimum:
    """The minimum over a grid, by several parabolas.

    Attributes:
        edge: `LOW` or `HIGH` if the grid ends before the minimum is bracketed, else `INSIDE`.
        place: mean over variants of the minimum's x; NaN unless inside.
        fit_error: mean standard error of one fit; zero where no fit has points to spare.
        spread: standard deviation over variants, n - 1 in the denominator.
        value: mean fitted minimum of the loss; NaN unless inside.
        value_error: error of that, from both again.
        variants: number of fits that found a minimum.
    """

    edge: int
    place: float
    fit_error: float
    spread: float
    value: float
    value_error: float
    variants: int

    @property
    def error(self) -> float:
        """Both errors of the place together."""
        return float(np.hypot(self.fit_error, self.spread))


NO_VERTEX = Vertex(np.nan, np.inf, np.nan, np.inf, np.nan)


def fit_vertex(
    places: np.ndarray,
    losses: np.ndarray,
    weights: np.ndarray | None = None,
    errors: np.ndarray | None = None,
    pinned: tuple[float, float] | None = None,
) -> Vertex:
    """Minimum of one weighted least-squares parabola, with standard errors.

    Args:
        places: x, [n], n at least 3, or 2 where pinned.
        losses: at these, [n], finite.
        weights: of the squared residuals, [n], positive; default equal.
        errors: standard errors of the losses, [n], positive; they then make the errors of the
            result, otherwise the residuals do (zero with no points to spare), with weights taken
            for inverse variances.
        pinned: a point (x, loss) that the parabola goes through exactly.

    Returns:
        A `Vertex`; `NO_VERTEX` where the parabola does not open upwards.

    Raises:
        ValueError: if there are too few points or a number is outside its domain.

    Kind: fit; errors to first order.
    Valid: residuals independent; a place far outside the points is extrapolation.
    Source: weighted least squares with the sandwich covariance; delta method for -b/(2 a) and
        c - b^2/(4 a). A pinned parabola has no c to fit.
    """
    x, y, scale = _points(places, losses, weights, pinned)
    # Centred, so that the coefficients are nearly uncorrelated.
    centre = float(np.mean(x)) if pinned is None else pinned[0]
    level = 0.0 if pinned is None else pinned[1]
    powers = 3 if pinned is None else 2
    design = np.stack([(x - centre) ** (2 - k) for k in range(powers)], axis=1)
    solve = np.linalg.pinv(design * np.sqrt(scale)[:, None]) * np.sqrt(scale)
    found = solve @ (y - level)
    a, b = found[:2]
    if not a > 1e-13 * np.max(np.abs(y)) / np.ptp(x) ** 2:
        return NO_VERTEX
    spare = x.size - powers
    if errors is not None:
        check_real("errors", errors, above=0.0)
        variances = np.broadcast_to(np.asarray(errors, float) ** 2, x.shape)
    else:
        square = np.sum(scale * (y - level - design @ found) ** 2) / max(spare, 1)
        variances = (square if spare > 0 else 0.0) / scale
    covariance = (solve * variances) @ solve.T
    shift = -b / (2 * a)
    slopes = np.array([[-shift / a, -1 / (2 * a), 0.0], [shift**2, shift, 1.0]])[:, :powers]
    place_error, value_error = np.sqrt(np.einsum("ki,ij,kj->k", slopes, covariance, slopes))
    lowest = level + (found[2] if pinned is None else 0.0) - b**2 / (4 * a)
    return Vertex(centre + shift, place_error, lowest, value_error, 2 * a)


def _points(
    places: np.ndarray,
    losses: np.ndarray,
    weights: np.ndarray | None,
    pinned: tuple[float, float] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = np.asarray(places, float), np.asarray(losses, float)
    check_real("places", x)
    check_real("losses", y)
    least = 3 if pinned is None else 2
    if x.ndim != 1 or x.shape != y.shape or np.unique(x).size < least:
        raise ValueError(
            f"`places` must be {least} or more different points and `losses` as many, "
            f"got shapes {x.shape} and {y.shape}."
        )
    if pinned is not None:
        check_real("pinned", np.asarray(pinned))
    scale = np.ones_like(x) if weights is None else np.broadcast_to(weights, x.shape)
    check_real("weights", scale, above=0.0)
    return x, y, np.asarray(scale, float)


def find_optimum(
    places: np.ndarray,
    losses: np.ndarray,
    errors: np.ndarray | None = None,
    pinned: tuple[float, float] | None = None,
    windows: tuple[int, ...] = WINDOWS,
) -> Optimum:
    """The minimum of a loss over a grid, averaged over six parabolas.

    The windows are the best point and up to (w - 1)/2 finite neighbours on either side; `near`
    weighs the k-th neighbour by 1/(1 + k).

    Args:
        places: x, [n], increasing.
        losses: [n]; infinite where a run diverged.
        errors: standard errors of the losses, [n], positive.
        pinned: see `fit_vertex`.
        windows: odd numbers of points, at least 3.

    Returns:
        An `Optimum`. The optimum is on the edge if the best finite loss is the first or last
        finite one: the grid does not show the other side. It is also taken to lie there if no
        variant finds a minimum between the neighbours of the points it went through.

    Raises:
        ValueError: if fewer than three losses are finite, or an argument is outside its domain.

    Kind: fit.
    Valid: one minimum, smooth over the window.
    Source: procedure of Filatov et al. 2025 (arXiv 2510.03871) section 3; the variants here are
        ours, theirs are not listed.
    """
    x, y = np.asarray(places, float), np.asarray(losses, float)
    check_real("places", x)
    finite = np.flatnonzero(np.isfinite(y))
    if x.shape != y.shape or finite.size < 3 or np.any(np.diff(x) <= 0):
        raise ValueError("`losses` must be finite at three or more of increasing `places`.")
    for width in windows:
        check_choice("windows % 2", width % 2, (1,))
        check_real("windows", width, at_least=3)
    x, y = x[finite], y[finite]
    bars = None if errors is None else np.asarray(errors, float)[finite]
    best = int(np.argmin(y))
    if best in (0, x.size - 1):
        return _on_edge(LOW if best == 0 else HIGH)
    found = []
    for width in windows:
        kept = slice(max(best - width // 2, 0), best + width // 2 + 1)
        steps = np.abs(np.arange(x.size)[kept] - best)
        for weighting in WEIGHTINGS:
            weights = 1.0 / (1.0 + steps * float(weighting == "near"))
            own = None if bars is None else bars[kept]
            vertex = fit_vertex(x[kept], y[kept], weights, own, pinned)
            if x[kept][0] <= vertex.place <= x[kept][-1]:
                found.append(vertex)
    return _averaged(found) if found else _on_edge(LOW if best < x.size / 2 else HIGH)


def _averaged(found: list[Vertex]) -> Optimum:
    places, values = (np.array([getattr(v, name) for v in found]) for name in ("place", "value"))
    spread, value_spread = (
        float(np.std(p, ddof=1)) if len(found) > 1 else 0.0 for p in (places, values)
    )
    fit, value_fit = (
        float(np.mean([getattr(v, name) for v in found])) for name in ("place_error", "value_error")
    )
    return Optimum(
        INSIDE,
        float(places.mean()),
        fit,
        spread,
        float(values.mean()),
        float(np.hypot(value_fit, value_spread)),
        len(found),
    )


def _on_edge(side: int) -> Optimum:
    return Optimum(side, np.nan, np.inf, np.inf, np.nan, np.inf, 0)


def read_at(places: np.ndarray, values: np.ndarray, place: float) -> float:
    """A smooth quantity at a place between grid points: the parabola through the nearest three.

    Args:
        places: x, [n], n >= 3, increasing.
        values: at these, [n]; non-finite ones are left out.
        place: where, inside the finite range.

    Returns:
        The value; NaN for a NaN place or one outside the finite range.

    Raises:
        ValueError: if fewer than three values are finite.

    Kind: exact for parabolas.
    Valid: smooth over three grid steps.
    Source: Lagrange interpolation.
    """
    x, y = np.asarray(places, float), np.asarray(values, float)
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if x.size < 3:
        raise ValueError("`values` must be finite at three or more places.")
    if not x[0] <= place <= x[-1]:
        return np.nan
    near = np.sort(np.argsort(np.abs(x - place), kind="stable")[:3])
    return float(np.polyval(np.polyfit(x[near] - place, y[near], 2), 0.0))
