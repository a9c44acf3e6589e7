"""The distance budget: steps of norm one cover at most eta K, and the optimum is |W*| away.

    W <- (1 - eta lambda) W + eta lmo(m),   |lmo(m)| <= 1,   K steps of one rate eta.

Whatever the gradients are, |W_K| <= |W_0| + eta K (lambda = 0), or at most 1/lambda in the end. A
run whose budget is below the norm of the target pays the loss of the ball it can reach; one far
above it pays for the length of its last steps. Where every direction moves at full speed until it
arrives (sign steps on a diagonal problem, spectral steps on an aligned one, exact gradients) the
best rate is R/K to leading order, R = |W*|: the norm at the optimum is that of the target whatever
the budget. So much is norm transfer on a quadratic without noise, and eta* ~ 1/K = B/D. Noise
changes the rate, see `theory.small_batch_steps`.
"""

import jax
import jax.numpy as jnp

from theory.checks import Real, check_choice, check_real

ALIGNED = ("max", "spectral", "one_to_rms", "rms_to_rms", "rms_to_inf")
# Coordinates this near to the farthest, relatively, are equally far: rounding of singular values.
TIED = 1e-9


def norm_limit(
    learning_rate: Real, steps: Real, start_norm: Real = 0.0, weight_decay: Real = 0.0
) -> jax.Array:
    """Largest norm after K steps: (1 - eta lambda)^K |W_0| + (1 - (1 - eta lambda)^K) / lambda.

    For lambda = 0 it is |W_0| + eta K.

    Args:
        learning_rate: eta >= 0, norm of a step.
        steps: K >= 0.
        start_norm: |W_0| >= 0.
        weight_decay: lambda >= 0, with eta lambda <= 1.

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound, reached where all steps point the same way as W_0.
    Valid: any gradients, any momentum; eta lambda <= 1.
    Source: derived; triangle inequality and a geometric sum.
    """
    named = {"learning_rate": learning_rate, "steps": steps}
    named |= {"start_norm": start_norm, "weight_decay": weight_decay}
    for name, value in named.items():
        check_real(name, value, at_least=0.0)
    eta, count, start, decay = (jnp.asarray(value, float) for value in named.values())
    pull = eta * decay
    check_real("learning_rate * weight_decay", pull, at_most=1.0)
    # (1 - p)^K through log1p; p = 1 forgets everything in one step.
    inside = jnp.where(pull < 1.0, pull, 0.0)
    log_kept = count * jnp.where(pull < 1.0, jnp.log1p(-inside), -jnp.inf)
    log_kept = jnp.where(count == 0.0, 0.0, log_kept)
    moving = pull > 0.0
    reach = jnp.where(moving, -jnp.expm1(log_kept) / jnp.where(moving, pull, 1.0), count)
    return jnp.exp(log_kept) * start + eta * reach


def settled_norm(target_norm: Real, weight_decay: Real) -> jax.Array:
    """Where the norm of a long run settles as eta -> 0: min(|W*|, 1/lambda).

    Args:
        target_norm: |W*| >= 0; infinite where the loss has no minimum, as for separable classes.
        weight_decay: lambda > 0.

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: exact limit for the problems of the module; for others an upper bound by 1/lambda.
    Valid: exact gradients, eta -> 0 and eta lambda K -> infinity.
    Source: derived. A direction whose target is inside the ball is held there: its step averages
        lambda w, which has norm below one. One whose target is outside is pulled at full speed.
    """
    check_real("weight_decay", weight_decay, above=0.0)
    target = jnp.asarray(target_norm, float)
    check_real("target_norm", jnp.where(target == jnp.inf, 0.0, target), at_least=0.0)
    return jnp.minimum(target, 1.0 / jnp.asarray(weight_decay, float))


def diagonal_norm(norm: str, shape: tuple[int, int]) -> float:
    """Norm of a matrix with one entry 1 on the diagonal, that is |W| / max_i |w_i| for diagonal W.

    Args:
        norm: `max`, `spectral`, `one_to_rms`, `rms_to_rms` or `rms_to_inf`.
        shape: [d_out, d_in].

    Returns:
        1, 1, d_out^(-1/2), (d_in/d_out)^(1/2) or d_in^(1/2).

    Raises:
        ValueError: if the norm is another one or a side is below 1.

    Kind: exact.
    Valid: diagonal matrices.
    Source: derived; one entry a row and column.
    """
    check_choice("norm", norm, ALIGNED)
    check_real("shape", shape, at_least=1)
    rows, columns = shape
    if norm in ("max", "spectral"):
        return 1.0
    square = {"one_to_rms": 1.0 / rows, "rms_to_rms": columns / rows, "rms_to_inf": columns}
    return float(square[norm]) ** 0.5


def ball_loss(eigenvalues: Real, target: Real, radius: Real) -> jax.Array:
    """Least loss within a distance of the start: 1/2 sum lam_i (|w*_i| - r)_+^2.

    After K steps of rate eta r is eta K over `diagonal_norm`.

    Args:
        eigenvalues: lam_i >= 0, [n].
        target: w*_i, [n]: coordinates of a diagonal problem, singular values of an aligned one.
        radius: r >= 0 of each coordinate, any shape.

    Returns:
        Array shaped like `radius`.

    Raises:
        ValueError: if shapes differ or a number is outside its domain.

    Kind: lower bound on the loss of any run from zero; exact minimum over the ball.
    Valid: diagonal problems in the max norm, aligned matrix quadratics in those of `ALIGNED`.
    Source: derived. Changing the sign of a row and of its column leaves an aligned problem as it
        is; the mean over all changes of a matrix is its diagonal, of smaller loss and norm.
    """
    lam, size = _diagonal(eigenvalues, target)
    check_real("radius", radius, at_least=0.0)
    reach = jnp.asarray(radius, float)[..., None]
    return jnp.sum(lam * jnp.maximum(size - reach, 0.0) ** 2, axis=-1) / 2


def distance_rate(eigenvalues: Real, target: Real, steps: Real) -> jax.Array:
    """Tuned constant rate without noise: (R/K) / (1 + (sum' lam_i) / (3 lam_R K^2)), R = max |w*|.

    The sum' leaves out the farthest coordinate, whose eigenvalue is lam_R; of several equally far
    ones lam_R is the sum. In a norm of `ALIGNED` it is times `diagonal_norm`.

    Args:
        eigenvalues: lam_i > 0, [n].
        target: w*_i, [n]; not all zero.
        steps: K >= 1, any shape.

    Returns:
        Array shaped like `steps`.

    Raises:
        ValueError: if shapes differ, a number is outside its domain or the target is zero.

    Kind: asymptotic, K -> infinity; the correction is the leading one.
    Valid: sign steps on diagonal problems, spectral steps on aligned ones, exact gradients; every
        coordinate at R or well inside, R - |w*_i| >> R/K.
    Source: derived. A coordinate that has arrived alternates between r and eta - r: its mean loss
        over phases is lam eta^2/6. Against it stands lam_R (R - eta K)^2 / 2.
    """
    lam, size = _diagonal(eigenvalues, target)
    check_real("eigenvalues", lam, above=0.0)
    check_real("steps", steps, at_least=1.0)
    farthest = jnp.max(size)
    check_real("target", farthest, above=0.0)
    count = jnp.asarray(steps, float)
    tied = size >= farthest * (1.0 - TIED)
    last, others = (jnp.sum(jnp.where(at, lam, 0.0)) for at in (tied, ~tied))
    return farthest / count / (1.0 + others / (3.0 * last * count**2))


def _diagonal(eigenvalues: Real, target: Real) -> tuple[jax.Array, jax.Array]:
    check_real("eigenvalues", eigenvalues, at_least=0.0)
    check_real("target", target)
    lam, size = jnp.asarray(eigenvalues, float), jnp.abs(jnp.asarray(target, float))
    if lam.ndim != 1 or lam.shape != size.shape or lam.size == 0:
        raise ValueError(
            f"`eigenvalues` and `target` must be vectors of one length, got shapes {lam.shape} "
            f"and {size.shape}."
        )
    return lam, size
