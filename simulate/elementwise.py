"""Which optimizers move every entry of an array by that entry's own gradients alone.

Such a method, on a problem whose gradient is uncoupled too (see `Problem.block`), steps any part of
the parameters on its own. A factory says so itself, by an attribute `elementwise`; a factory that
says nothing is taken to couple its entries.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Factory = TypeVar("Factory", bound=Callable[..., Any])


def elementwise(factory: Factory) -> Factory:
    """Marks a factory whose methods couple no two entries, whatever the hyperparameters."""
    stated: Any = factory
    stated.elementwise = True
    return factory


def is_elementwise(factory: Any) -> bool:
    """True if the factory says that its methods couple no two entries."""
    return getattr(factory, "elementwise", False) is True
