"""When does a tuned loss have the Chinchilla form? A criterion on measured numbers alone.

L(N, T) = E + approximation(N) + optimization(T) asks two things of the optimization error: that it
has a limit as the size N grows, and that this limit is a power of the steps T. Both are judged from
losses at three sizes in a constant ratio q, at increasing horizons:

1. The last two differences o3 - o2 and o2 - o1 must shrink by at least `SHRINKS`, as a finite-size
   correction N^-x does; their geometric series is then summed, o = o3 + d r / (1 - r). A horizon
   counts if that correction is at most `MAX_CORRECTION` of o3, or if o3 and o2 differ by less than
   `SAME`. The longest run of counting horizons is the window.
2. In the last `FITTED` horizons of the window log o is fitted by a line in log T. Its residuals
   must stay below `MAX_SCATTER` (steps of fixed length leave the leading coordinates anywhere in
   their last two-cycle, which moves the loss by up to a factor 1.5), and its slope must agree with
   the derived exponent to `MAX_GAP` of it or twice its standard error. A slope that misses is left
   undecided if its later half is nearer than its earlier one, by the factor `CLOSING` or more.

Without a window the sizes say why: if log o3/o2 is not smaller than log o2/o1 the error grows like
a power of N (or its logarithm) and no larger model can help. Otherwise the sizes are too small.
"""

from dataclasses import dataclass

import numpy as np

SHRINKS = 0.8
MAX_CORRECTION = 0.25
SAME = 0.03
FITTED = 5
SHORTEST = 4
MAX_SCATTER = 0.4
MAX_GAP = 0.1
CLOSING = 0.7
COUPLED = 0.75
LEAST_GROWTH = 0.03


@dataclass(frozen=True)
class Judgement:
    """What the criterion found.

    Attributes:
        holds: `holds`, `in a window`, `observed` (a power law, none derived), `fails`, or
            `undecided` where sizes or horizons are too small to tell.
        reason: one clause, in words.
        exponent: fitted slope -d log o / d log T; NaN without a window.
        error: its standard error.
        window: first and last horizon of the window; NaN without one.
        correction: largest finite-size correction in the fitted horizons, relative.
        growth: exponent of N in the optimization error between the two larger sizes, mean over
            horizons.
    """

    holds: str
    reason: str
    exponent: float = np.nan
    error: float = np.nan
    window: tuple[float, float] = (np.nan, np.nan)
    correction: float = np.nan
    growth: float = np.nan

    @property
    def sentence(self) -> str:
        """The verdict and its reason."""
        return self.holds if not self.reason else f"{self.holds}: {self.reason}"


def judge(
    sizes: np.ndarray, steps: np.ndarray, optimization: np.ndarray, derived: float
) -> Judgement:
    """Applies the criterion of this module.

    Args:
        sizes: N, three in a constant ratio, increasing.
        steps: T, [P], increasing.
        optimization: tuned optimization errors, [3, P], nonnegative; infinite where all diverged.
        derived: exponent predicted; NaN if none is.

    Raises:
        ValueError: if the shapes or the ratio of the sizes are wrong.
    """
    ratio = _ratio(sizes, steps, optimization)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.diff(np.log(optimization), axis=0) / np.log(ratio)
        limit, correction = _limits(optimization)
    known = np.isfinite(limit) & (limit > 0)
    first, last = _longest_run(known)
    finite = np.isfinite(growth).all(axis=0)
    mean_growth = growth[:, finite].mean(axis=1) if finite.any() else np.full(2, np.nan)
    if last - first < SHORTEST:
        return _without_window(optimization, mean_growth)
    fitted = slice(max(first, last - FITTED), last)
    slope, error, scatter = power_law_fit(steps[fitted], limit[fitted])
    window = float(steps[first]), float(steps[last - 1])
    holds, reason = _verdict(steps[fitted], limit[fitted], (slope, error, scatter), derived)
    if holds in ("holds", "observed") and last < len(steps):
        holds = "in a window" if holds == "holds" else holds
        reason = f"T <= {window[1]:g} at N = {sizes[-1]:g}" + (reason and f"; {reason}")
    largest = float(np.abs(correction[fitted]).max())
    return Judgement(holds, reason, slope, error, window, largest, float(mean_growth[1]))


def power_law_fit(steps: np.ndarray, values: np.ndarray) -> tuple[float, float, float]:
    """Line through log values against log steps.

    Args:
        steps: [P], P >= 3, positive.
        values: [P], positive.

    Returns:
        The exponent -d log value / d log step, its standard error from the residuals, and the
        residuals' standard deviation.
    """
    x, y = np.log(steps), np.log(values)
    slope, level = np.polyfit(x, y, 1)
    residual = y - (slope * x + level)
    scatter = float(np.sqrt(np.sum(residual**2) / (x.size - 2)))
    return -float(slope), scatter / float(np.sqrt(np.sum((x - x.mean()) ** 2))), scatter


def _ratio(sizes: np.ndarray, steps: np.ndarray, optimization: np.ndarray) -> float:
    if optimization.shape != (3, len(steps)) or len(sizes) != 3:
        raise ValueError(
            f"`optimization` must be [3 sizes, {len(steps)} steps], got {optimization.shape} for "
            f"{len(sizes)} sizes."
        )
    ratios = np.asarray(sizes[1:], float) / sizes[:-1]
    if not (ratios[0] > 1 and np.isclose(*ratios, rtol=1e-9)):
        raise ValueError(f"`sizes` must grow by a constant ratio above 1, got {list(sizes)}.")
    return float(ratios[0])


def _limits(optimization: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The limit in N at every horizon, NaN where there is none, and its relative correction."""
    before, now = np.diff(optimization, axis=0)
    shrink = now / before
    best = optimization[2]
    correction = np.where((shrink >= 0) & (shrink <= SHRINKS), shrink / (1 - shrink) * now, np.nan)
    correction = np.where(np.abs(now) <= SAME * best, np.nan_to_num(correction), correction)
    correction = correction / best
    known = np.abs(correction) <= MAX_CORRECTION
    return np.where(known, best * (1 + correction), np.nan), correction


def _longest_run(good: np.ndarray) -> tuple[int, int]:
    """Start and end of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(int), [0]])))
    runs = edges.reshape(-1, 2)
    if not runs.size:
        return 0, 0
    start, end = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return int(start), int(end)


def _without_window(optimization: np.ndarray, growth: np.ndarray) -> Judgement:
    if np.any(optimization <= 0):
        return Judgement("fails", "no power law, the error falls below the smallest number")
    small, large = growth
    if large > LEAST_GROWTH and large >= COUPLED * small:
        reason = f"N and T couple, the optimization error grows as N^{large:.2f}"
        return Judgement("fails", reason, growth=float(large))
    reason = "no window at these sizes, every horizon feels the last mode"
    return Judgement("undecided", reason, growth=float(large))


def _verdict(
    steps: np.ndarray, limit: np.ndarray, line: tuple[float, float, float], derived: float
) -> tuple[str, str]:
    slope, error, scatter = line
    local = -np.diff(np.log(limit)) / np.diff(np.log(steps))
    if scatter > MAX_SCATTER:
        return "fails", f"no power law, the local exponent goes {local[0]:.2f} to {local[-1]:.2f}"
    if not np.isfinite(derived):
        return "observed", ""
    if abs(slope - derived) <= max(MAX_GAP * abs(derived), 2 * error):
        return "holds", ""
    half = local.size // 2
    early, late = (abs(part.mean() - derived) for part in (local[:half], local[-half:]))
    if late < CLOSING * early:
        return "undecided", f"exponent {slope:.2f} and moving toward {derived:.2f}"
    return "fails", f"exponent {slope:.2f} instead of {derived:.2f}"
