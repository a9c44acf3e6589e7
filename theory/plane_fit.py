"""Power laws by lines and planes in logarithms, and whether a quantity is constant."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from theory.checks import check_real

SIGNIFICANCE = 0.05
NO_CHANGE = "no change seen"


@dataclass(frozen=True)
class PowerFit:
    """log2 value = level + sum_k exponent_k log2 variable_k.

    Attributes:
        exponents: by variable.
        errors: their standard errors; infinite with no points to spare and no errors given.
        level: log2 of the constant.
        level_error: its standard error.
        r_squared: share of the (weighted) variance of the logarithms that the law explains.
        points: number fitted.
    """

    exponents: dict[str, float]
    errors: dict[str, float]
    level: float
    level_error: float
    r_squared: float
    points: int


def fit_power(
    values: np.ndarray,
    variables: Mapping[str, np.ndarray],
    errors: np.ndarray | None = None,
) -> PowerFit:
    """Exponents of value = constant * product of variables^exponent, with standard errors.

    Args:
        values: [n], positive; n at least one more than there are variables.
        variables: [n] each, positive, by name.
        errors: standard errors of log2 value, [n], positive.

    Returns:
        A `PowerFit`. With `errors` points weigh 1/errors^2 and the standard errors grow by the
        root of chi^2 per degree of freedom where that exceeds one; without, residuals make them.

    Raises:
        ValueError: if there are too few points, a number is outside its domain, or the variables
            do not vary independently.

    Kind: fit.
    Valid: errors of the logarithms independent and Gaussian.
    Source: weighted least squares; scale factor as in the Review of Particle Physics, section 5.
    """
    check_real("values", values, above=0.0)
    y = np.log2(np.asarray(values, float))
    for name, given in variables.items():
        check_real(name, given, above=0.0)
    columns = [np.log2(np.asarray(given, float)) for given in variables.values()]
    return _plane(y, dict(zip(variables, columns, strict=True)), errors)


def _plane(y: np.ndarray, columns: Mapping[str, np.ndarray], errors: np.ndarray | None) -> PowerFit:
    design = np.stack([*columns.values(), np.ones_like(y)], axis=1)
    scale = np.ones_like(y) if errors is None else _checked_errors(errors, y)
    if np.linalg.matrix_rank(design / scale[:, None]) < design.shape[1]:
        raise ValueError(f"`{', '.join(columns)}` must vary independently over {y.size} points.")
    inverse = np.linalg.pinv(design / scale[:, None])
    found = inverse @ (y / scale)
    square, spare = float(np.sum(((y - design @ found) / scale) ** 2)), y.size - found.size
    factor = np.sqrt(square / spare) if spare > 0 else np.inf
    if errors is not None:
        factor = max(1.0, factor) if spare > 0 else 1.0
    bars = factor * np.sqrt(np.sum(inverse**2, axis=1))
    whole = float(np.sum(((y - np.average(y, weights=scale**-2)) / scale) ** 2))
    return PowerFit(
        dict(zip(columns, map(float, found[:-1]), strict=True)),
        dict(zip(columns, map(float, bars[:-1]), strict=True)),
        float(found[-1]),
        float(bars[-1]),
        1.0 - square / whole if whole > 0 else np.nan,
        y.size,
    )


@dataclass(frozen=True)
class Constancy:
    """Whether values scatter about one number by no more than their errors.

    Attributes:
        mean: weighted.
        error: its standard error, times the scale factor where chi^2 is large.
        scatter: standard deviation of the values, n - 1 in the denominator.
        chi_square: sum of ((value - mean)/error)^2.
        p_value: probability of a larger chi^2 if they are constant.
        slope: of a line through them against `along`.
        slope_error: its standard error, with the scale factor.
        points: number of values.
    """

    mean: float
    error: float
    scatter: float
    chi_square: float
    p_value: float
    slope: float
    slope_error: float
    points: int

    @property
    def slope_limit(self) -> float:
        """Largest size of a slope within 2 errors of the fitted one."""
        return abs(self.slope) + 2 * self.slope_error

    @property
    def verdict(self) -> str:
        """`rises`, `falls` (slope beyond 2 errors), `scatters` (chi^2), else `no change seen`.

        The slope comes first: over many values chi^2 passes a slope that is clearly there. Both
        tests together reject 6 to 9 % of what is constant. What they do not see may still be there,
        up to `slope_limit`.
        """
        if abs(self.slope) > 2 * self.slope_error:
            return "rises" if self.slope > 0 else "falls"
        return "scatters" if self.p_value < SIGNIFICANCE else NO_CHANGE


def constancy(values: np.ndarray, errors: np.ndarray, along: np.ndarray) -> Constancy:
    """Chi-square test of one common value, and a line against something that varies.

    Args:
        values: [n], n >= 3.
        errors: their standard errors, [n], positive.
        along: x, [n], not all equal; e.g. log2 of the tokens.

    Returns:
        A `Constancy`.

    Raises:
        ValueError: if there are fewer than three values or a number is outside its domain.

    Kind: exact for independent Gaussian errors of known size.
    Valid: as that; errors that are shared between values make chi^2 too small.
    Source: Pearson's chi^2 with n - 1 degrees of freedom, survival function Q((n - 1)/2, chi^2/2).
    """
    check_real("values", values)
    y, x = np.asarray(values, float), np.asarray(along, float)
    if y.ndim != 1 or y.size < 3 or x.shape != y.shape or np.ptp(x) == 0:
        raise ValueError(
            f"`values` must be three or more along something that varies, got shape {y.shape}."
        )
    scale = _checked_errors(errors, y)
    mean = float(np.average(y, weights=scale**-2))
    square = float(np.sum(((y - mean) / scale) ** 2))
    line = _plane(y, {"along": x}, scale)
    return Constancy(
        mean,
        float(np.sum(scale**-2) ** -0.5 * max(1.0, np.sqrt(square / (y.size - 1)))),
        float(np.std(y, ddof=1)),
        square,
        float(gammaincc((y.size - 1) / 2, square / 2)),
        line.exponents["along"],
        line.errors["along"],
        y.size,
    )


def _checked_errors(errors: np.ndarray, values: np.ndarray) -> np.ndarray:
    check_real("errors", errors, above=0.0)
    scale = np.asarray(errors, float)
    if scale.shape != values.shape:
        raise ValueError(f"`errors` must have shape {values.shape}, got {scale.shape}.")
    return scale
