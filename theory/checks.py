"""Argument checks: one clear line that names the argument, its value and what is allowed."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# What every formula accepts for a real argument.
Real: TypeAlias = jax.Array | np.ndarray | float


def is_traced(*values: Any) -> bool:
    """Whether any value is a JAX tracer, whose number is not known yet."""
    return any(isinstance(value, Tracer) for value in values)


def check_real(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Refuse a number (or array of numbers) outside its domain.

    Args:
        name: the argument as the caller typed it.
        value: scalar or array of any shape; traced values pass unchecked.
        above: every entry must be greater than this.
        below: every entry must be less than this.
        at_least: every entry must be at least this, if given.
        at_most: every entry must be at most this, if given.

    Raises:
        TypeError: if `value` is not numeric.
        ValueError: if an entry is outside the domain, infinite or NaN.
    """
    if is_traced(value):
        return
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{name}` must be a real number, got {value!r}.") from error
    # Written so that NaN fails every comparison.
    good = np.isfinite(array) & (array > above) & (array < below)
    if at_least is not None:
        good &= array >= at_least
    if at_most is not None:
        good &= array <= at_most
    if not np.all(good):
        worst = array[~good].flat[0] if array.ndim else float(array)
        allowed = _describe_range(above, below, at_least, at_most)
        raise ValueError(f"`{name}` must be {allowed}, got {worst:g}.")


def check_whole(name: str, value: Any, at_least: float = 0, at_most: float | None = None) -> None:
    """Refuse what is not a whole number (or array of them) of the range.

    Args:
        name: the argument as the caller typed it.
        value: scalar or array of any shape; of traced values the type alone is checked.
        at_least: every entry must be at least this.
        at_most: every entry must be at most this, if given.

    Raises:
        TypeError: if it is no number, naming the argument; neither truth values nor text are.
        ValueError: naming the argument, its value and its range.
    """
    check_real(name, value, at_least=at_least, at_most=at_most)
    array = value if is_traced(value) else np.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.integer) or jnp.issubdtype(array.dtype, jnp.floating)):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}.")
    if not is_traced(value) and np.any(array != np.round(array)):
        raise ValueError(f"`{name}` must be a whole number, got {value}.")


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse a value that is not one of `allowed`.

    Raises:
        ValueError: naming the argument, its value and the choices.
    """
    if value not in allowed:
        choices = ", ".join(str(choice) for choice in allowed)
        raise ValueError(f"`{name}` must be one of {choices}, got {value!r}.")


def check_float64() -> None:
    """Refuse to compute theory in single precision.

    Raises:
        RuntimeError: if JAX runs with 64-bit numbers disabled.
    """
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise RuntimeError(
            "theory needs float64: call jax.config.update('jax_enable_x64', True) first."
        )


def _describe_range(
    above: float, below: float, at_least: float | None, at_most: float | None
) -> str:
    parts = []
    if at_least is not None:
        parts.append(f"at least {at_least:g}")
    elif above > -math.inf:
        parts.append("positive" if above == 0 else f"greater than {above:g}")
    if at_most is not None:
        parts.append(f"at most {at_most:g}")
    elif below < math.inf:
        parts.append(f"less than {below:g}")
    return " and ".join(["a finite number", *parts]) if parts else "a finite number"
