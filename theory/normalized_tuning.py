"""The constant learning rate of normalized gradient descent, tuned for its horizon.

Normalized descent is gradient descent in the time tau = sum_t h_t, h = eta/|g|. With s = (b - 1)/a
and |g|^2 ~ K^2 tau^-(1 + s), K^2 = Gamma(1 + s) 2^-(1 + s) / a, a constant rate gives for s < 1

    tau^((1 - s)/2) = (1 - s) eta t / (2 K),   h_t = 2 tau / ((1 - s) t) ~ t^p,

with p = (1 + s)/(1 - s).

Step h > 2 makes mode 1 grow, but early steps h < 2 have made it as small as exp(-const T): it is
back only when the *mean* of log |1 - h_t| returns to zero, at a last step H with

    0 = int_0^1 log |1 - H u^p| du = log H - p + pi cot(pi/p) H^(-1/p) + sum_k H^-k / (k (k p - 1)).

From then on |g| stays pinned at eta/2, so h at 2 and mode 1 at a loss of some eta^2/8. Hence

    overshoot, r = (1 - s) H / 2 > 2 (s < 0.405): mode 1 is back just at T: h_T = H, tau = r T;
    edge, r < 2 (0.405 < s < 1): h = 2 for most of the time. tau = 2 T - (2 - r) t_1, where mode 1
        is back at t_1 ~ eta^(-2/(1 + s)); the rate balances that lost time against eta^2/8;
    s > 1: the same, but h blows up within t_1 ~ 1/eta.

All three keep the loss exponent s of gradient descent; only the rate's own exponent changes.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gamma

from theory.checks import Real, check_real
from theory.linear_methods import gd_asymptote, loss_exponents
from theory.problem import PowerLawQuadratic

# Both bracket the roots for every 0 < s < 1: H(0) = 4.6, H(1) = exp(pi sqrt(2/3)) = 13.0.
OVERSHOOT_BRACKET = (2.5, 14.0)
CROSSOVER_BRACKET = (0.3, 0.6)
TERMS = 60
BISECTIONS = 60


@lru_cache(maxsize=256)
def normalized_gd_overshoot(slope: float) -> float:
    """Last step H in units of 1/lam_1 at which mode 1 is back: int_0^1 log |1 - H u^p| du = 0.

    Args:
        slope: s = (b - 1)/a in (0, 1); p = (1 + s)/(1 - s).

    Returns:
        H, a number above 2.

    Raises:
        ValueError: if `slope` is outside (0, 1).

    Kind: exact (root of a convergent series).
    Valid: 0 < s < 1; s within 1e-4 of an end of the range loses digits to cancellation.
    Source: derived, module docstring; int_0^inf log |1 - v^-p| dv = pi cot(pi/p).
    """
    check_real("slope", slope, above=0.0, below=1.0)
    power = (1.0 + slope) / (1.0 - slope)
    k = np.arange(1.0, TERMS)

    def mean_log(last: float) -> float:
        series = np.sum(last**-k / (k * (k * power - 1.0)))
        cotangent = np.pi / np.tan(np.pi / power)
        return float(np.log(last) - power + cotangent * last ** (-1.0 / power) + series)

    low, high = OVERSHOOT_BRACKET
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_log(middle) < 0 else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=1)
def normalized_gd_crossover() -> float:
    """Slope s_c = 0.405 at which overshooting and the edge of stability are equally fast.

    Returns:
        s_c, the root of (1 - s) H(s) = 4.

    Kind: exact.
    Valid: always.
    Source: derived; times tau = (1 - s) H T / 2 and 2 T.
    """
    low, high = CROSSOVER_BRACKET
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        faster = (1.0 - middle) * normalized_gd_overshoot(middle) > 4.0
        low, high = (middle, high) if faster else (low, middle)
    return (low + high) / 2


def normalized_gd_rate_exponent(problem: PowerLawQuadratic) -> float:
    """Exponent x of the tuned constant rate eta* ~ T^-x of normalized gradient descent.

    x = (1 + s)/2 for s < 0.405, (1 + s)^2 / (2 (2 + s)) up to s = 1, (1 + s)/3 beyond, with
    s = (b - 1)/a; (1 + s)/2 = (a + b - 1)/(2 a).

    Args:
        problem: the quadratic; exponents not traced.

    Returns:
        x, a positive number.

    Kind: asymptotic; around s = 0.405 both regimes compete for many decades of T (the local
        exponent at a = 1.5, b = 1.8 falls from 0.66 at T = 100 towards 0.464).
    Valid: 1 << T << N^a; exact arithmetic for s < 0.405: with coordinates of relative precision
        eps mode 1 is back some log(1/eps) steps after h = 2, which is the edge regime at long T.
    Source: derived, module docstring.
    """
    slope = _slope(problem)
    if slope >= 1.0:
        return (1.0 + slope) / 3.0
    if slope < normalized_gd_crossover():
        return (1.0 + slope) / 2.0
    return (1.0 + slope) ** 2 / (2.0 * (2.0 + slope))


def normalized_gd_tuned_rate(problem: PowerLawQuadratic, steps: Real) -> jax.Array:
    """Tuned constant rate of normalized gradient descent for a horizon, with its constant.

    Overshoot: H K (r T)^-((1+s)/2). Edge: the minimum over eta of
    s C (4 T)^-s (2 - r) t_1(eta) / (2 T) + eta^2/8 with C = Gamma(s)/(2 a).

    Args:
        problem: the quadratic with s = (b - 1)/a in (0, 1); exponents not traced.
        steps: T > 0, any shape.

    Returns:
        Array shaped like `steps`.

    Raises:
        ValueError: if `steps` is not positive or s is 1 or more.

    Kind: asymptotic. Corrections in the edge regime fall as slowly as a small power of T, and the
        loss is flat around the optimum.
    Valid: as `normalized_gd_rate_exponent`, 0 < s < 1.
    Source: derived, module docstring.
    """
    check_real("steps", steps, above=0.0)
    slope = _slope(problem)
    check_real("slope (b - 1)/a", slope, below=1.0)
    capacity, horizon = float(np.asarray(problem.capacity_exponent)), jnp.asarray(steps, float)
    last = normalized_gd_overshoot(slope)
    reach = (1.0 - slope) * last / 2.0
    size = np.sqrt(gamma(1.0 + slope) / capacity * 2.0 ** -(1.0 + slope))
    back = last * size * reach ** (-(1.0 + slope) / 2.0)
    if reach >= 2.0:
        return back * horizon ** (-(1.0 + slope) / 2.0)
    power = 2.0 / (1.0 + slope)
    lost = slope * gd_asymptote(problem, 2.0, horizon) * (2.0 - reach) / (2.0 * horizon)
    return (4.0 * power * lost * back**power) ** (1.0 / (2.0 + power))


def normalized_gd_tuned_loss(problem: PowerLawQuadratic, steps: Real) -> jax.Array:
    """Leading loss at the tuned constant rate: gradient descent with the mean step max(r, 2).

    Args:
        problem: the quadratic with s = (b - 1)/a in (0, 1); exponents not traced.
        steps: T > 0, any shape.

    Returns:
        Array shaped like `steps`: bias alone, modes beyond the size counted as in
        `theory.linear_methods.gd_asymptote`.

    Raises:
        ValueError: if `steps` is not positive or s is 1 or more.

    Kind: asymptotic.
    Valid: as `normalized_gd_rate_exponent`, 0 < s < 1.
    Source: derived, module docstring.
    """
    slope = _slope(problem)
    check_real("slope (b - 1)/a", slope, below=1.0)
    reach = (1.0 - slope) * normalized_gd_overshoot(slope) / 2.0
    return gd_asymptote(problem, max(reach, 2.0), steps)


def _slope(problem: PowerLawQuadratic) -> float:
    return float(loss_exponents(problem)[1])
