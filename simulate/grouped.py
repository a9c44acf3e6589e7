"""One method for each role of a network's weights, with rates in a fixed ratio.

`scion` steps every role along the LMO of its own norm: with equal ratios a step of rate eta has
norm eta in each layer. `muon_adamw` keeps the spectral step for hidden layers and gives the rest
to AdamW; `layered_adamw` and `layered_signum` use one method throughout. All take `weight_decay`:
given, Scion is the constrained method, whose norms end in the ball of radius 1/weight_decay.
"""

import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import optax

from simulate.adaptive import adamw
from simulate.lmo import scion_hidden, scion_input, scion_output, signum
from simulate.networks import roles
from simulate.optimizers import OptimizerFactory
from simulate.role_norms import ROLES
from theory.checks import check_real


@dataclass(frozen=True)
class GroupedMethod:
    """Factory `method(learning_rate, input_ratio, hidden_ratio, output_ratio, **others)`.

    Hashable by value: the engine compiles once for each choice of methods, never for a number.
    Parameters must be a `simulate.networks.Network`.

    Attributes:
        input: optimizer factory for weights of this role.
        hidden: the same for hidden weights.
        output: the same for output weights.
    """

    input: OptimizerFactory
    hidden: OptimizerFactory
    output: OptimizerFactory

    def check(
        self,
        learning_rate: Any = 0.0,
        input_ratio: Any = 1.0,
        hidden_ratio: Any = 1.0,
        output_ratio: Any = 1.0,
        steps: Any = None,
        **others: Any,
    ) -> None:
        """Refuses bad numbers before they are traced.

        Raises:
            ValueError: naming the argument, its value and its range, or an argument that no
                method takes.
        """
        del steps  # only schedules look at the recording grid
        for name, value in zip(ROLES, (input_ratio, hidden_ratio, output_ratio), strict=True):
            check_real(f"{name}_ratio", value, at_least=0.0)
        if not callable(learning_rate):
            check_real("learning_rate", learning_rate, at_least=0.0)
        taken = [_accepted(getattr(self, role), others) for role in ROLES]
        for name in others:
            if not any(name in own for own in taken):
                raise ValueError(f"`{name}` is no hyperparameter of this method.")
        for role, own in zip(ROLES, taken, strict=True):
            method = getattr(self, role)
            if hasattr(method, "check"):
                method.check(learning_rate, **own)
            else:
                method(learning_rate, **own)

    def __call__(
        self,
        learning_rate: Any,
        input_ratio: Any = 1.0,
        hidden_ratio: Any = 1.0,
        output_ratio: Any = 1.0,
        **others: Any,
    ) -> optax.GradientTransformation:
        """The transformation.

        Args:
            learning_rate: eta, a number or an optax schedule.
            input_ratio: rate of the input weights over eta, at least 0.
            hidden_ratio: rate of the hidden weights over eta, at least 0.
            output_ratio: rate of the output weights over eta, at least 0.
            others: hyperparameters by name, e.g. `momentum`; each goes to all methods that take it.

        Returns:
            An optax transformation; its `init` refuses what is no network.

        Raises:
            ValueError: see `check`.
        """
        self.check(learning_rate, input_ratio, hidden_ratio, output_ratio, **others)
        ratios = dict(zip(ROLES, (input_ratio, hidden_ratio, output_ratio), strict=True))
        methods: dict[Hashable, optax.GradientTransformation] = {
            role: getattr(self, role)(
                _scaled(learning_rate, ratio), **_accepted(getattr(self, role), others)
            )
            for role, ratio in ratios.items()
        }
        return optax.multi_transform(methods, roles)


def _accepted(method: Callable[..., Any], numbers: dict[str, Any]) -> dict[str, Any]:
    names = inspect.signature(method).parameters
    return {name: value for name, value in numbers.items() if name in names}


def _scaled(learning_rate: Any, ratio: Any) -> Any:
    if callable(learning_rate):
        return lambda count: learning_rate(count) * ratio
    return learning_rate * ratio


scion = GroupedMethod(scion_input, scion_hidden, scion_output)
muon_adamw = GroupedMethod(adamw, scion_hidden, adamw)
layered_adamw = GroupedMethod(adamw, adamw, adamw)
layered_signum = GroupedMethod(signum, signum, signum)
