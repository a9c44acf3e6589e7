"""One law for several optimizers: shared exponents, each optimizer rescales N and D. Float64.

L_o(N, D) = E + A (rho_N,o N)^-alpha + B (rho_D,o D)^-beta, with rho = 1 for a named reference.
Seen by itself each optimizer follows a Chinchilla law, so that allocation and contours are those.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_choice, check_real
from theory.laws import Allocation, Chinchilla, chinchilla, compute_optimal, isoloss_tokens


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "irreducible",
        "size_coefficient",
        "tokens_coefficient",
        "size_exponent",
        "tokens_exponent",
        "size_rescaling",
        "tokens_rescaling",
    ],
    meta_fields=["optimizers", "reference"],
)
@dataclass(frozen=True)
class SharedLaw:
    """L_o = E + A (rho_N N)^-alpha + B (rho_D D)^-beta; build it with `shared_law`.

    Attributes:
        irreducible: E, loss units.
        size_coefficient: A of the reference, loss times parameters^alpha.
        tokens_coefficient: B of the reference, loss times tokens^beta.
        size_exponent: alpha.
        tokens_exponent: beta.
        size_rescaling: rho_N by optimizer, [..., m]; larger is better.
        tokens_rescaling: rho_D by optimizer, [..., m]; larger is better.
        optimizers: names, m of them.
        reference: the optimizer with rho_N = rho_D = 1.
    """

    irreducible: Real
    size_coefficient: Real
    tokens_coefficient: Real
    size_exponent: Real
    tokens_exponent: Real
    size_rescaling: Real
    tokens_rescaling: Real
    optimizers: tuple[str, ...]
    reference: str

    def of(self, optimizer: str) -> Chinchilla:
        """The Chinchilla law of one optimizer, in the same fields' shapes."""
        check_choice("optimizer", optimizer, self.optimizers)
        place = self.optimizers.index(optimizer)
        rho_size = jnp.asarray(self.size_rescaling)[..., place]
        rho_tokens = jnp.asarray(self.tokens_rescaling)[..., place]
        alpha, beta = jnp.asarray(self.size_exponent), jnp.asarray(self.tokens_exponent)
        return Chinchilla(
            self.irreducible,
            self.size_coefficient * rho_size**-alpha,
            self.tokens_coefficient * rho_tokens**-beta,
            alpha,
            beta,
        )

    def loss(self, index: jax.Array | np.ndarray | int, size: Real, tokens: Real) -> jax.Array:
        """Loss of the optimizers at positions `index`, broadcast against N and D."""
        rho_size = jnp.asarray(self.size_rescaling)[..., index]
        rho_tokens = jnp.asarray(self.tokens_rescaling)[..., index]
        by_size = self.size_coefficient * (rho_size * size) ** -jnp.asarray(self.size_exponent)
        by_tokens = self.tokens_coefficient * (rho_tokens * tokens) ** -jnp.asarray(
            self.tokens_exponent
        )
        return jnp.asarray(self.irreducible + by_size + by_tokens)


def shared_law(
    law: Chinchilla, rescalings: Mapping[str, tuple[float, float]], reference: str
) -> SharedLaw:
    """A checked shared-exponent law.

    Args:
        law: the reference optimizer's law, scalar fields.
        rescalings: (rho_N, rho_D) by optimizer, positive; the reference may be left out.
        reference: name of the reference optimizer.

    Returns:
        A `SharedLaw`, the reference first where it was left out.

    Raises:
        ValueError: if a field of the law or a rescaling is outside its domain, or the reference is
            given a rescaling other than 1.

    Kind: definition.
    Valid: E >= 0, all else positive.
    Source: Volkova et al. (arXiv 2602.07712).
    """
    chinchilla(*(float(value) for value in vars(law).values()))
    pairs = dict(rescalings) if reference in rescalings else {reference: (1.0, 1.0), **rescalings}
    for name, pair in pairs.items():
        check_real(f"rescalings[{name!r}]", pair, above=0.0)
    if tuple(pairs[reference]) != (1.0, 1.0):
        raise ValueError(f"`rescalings` of the reference must be 1, got {pairs[reference]}.")
    rho = np.array(list(pairs.values()), dtype=float)
    return SharedLaw(
        **vars(law),
        size_rescaling=rho[:, 0],
        tokens_rescaling=rho[:, 1],
        optimizers=tuple(pairs),
        reference=reference,
    )


def equal_loss_speedup(
    law: SharedLaw, optimizer: str, baseline: str, size: Real, loss: Real
) -> jax.Array:
    """How many times fewer tokens an optimizer needs than a baseline, at equal size and loss.

    Where both have the same rho_N this is the ratio of their rho_D at every loss; else it depends
    on the loss, without bound as the loss nears the floor of the worse one.

    Args:
        law: a shared law.
        optimizer: the one whose speed-up is asked.
        baseline: the one compared with.
        size: N > 0, parameters.
        loss: L > 0.

    Returns:
        D_baseline / D_optimizer: infinite where only the optimizer reaches the loss, 0 where only
        the baseline does, NaN where neither does.

    Raises:
        ValueError: if a name is unknown, or `size` or `loss` is not positive.

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: derived from `isoloss_tokens`.
    """
    needed = isoloss_tokens(law.of(optimizer), loss, size)
    return isoloss_tokens(law.of(baseline), loss, size) / needed


def tokens_saved(
    law: SharedLaw, optimizer: str, baseline: str, size: Real, tokens: Real
) -> jax.Array:
    """Share of the baseline's tokens that an optimizer spares at the baseline's loss.

    Args:
        law: a shared law.
        optimizer: the one whose saving is asked.
        baseline: the one that trains on `tokens`.
        size: N > 0, parameters.
        tokens: D > 0 of the baseline.

    Returns:
        1 - D_optimizer / D: negative where it needs more, -infinity where it never gets there.

    Raises:
        ValueError: if a name is unknown, or `size` or `tokens` is not positive.

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: derived from `equal_loss_speedup`.
    """
    check_real("tokens", tokens, above=0.0)
    reached = law.of(baseline).loss(size, tokens)
    return 1.0 - isoloss_tokens(law.of(optimizer), reached, size) / tokens


def compute_loss(
    law: SharedLaw,
    optimizer: str,
    size: Real,
    flops: Real,
    relative_cost: Real = 1.0,
    flops_per_parameter_token: float = 6.0,
) -> jax.Array:
    """Loss at a compute budget, where a token costs kappa times the reference's.

    L = E + A (rho_N N)^-alpha + B (rho_C C / (k N))^-beta with rho_C = rho_D / kappa.

    Args:
        law: a shared law.
        optimizer: its name.
        size: N > 0, parameters.
        flops: C > 0, FLOP of the reference or, where kappa is a ratio of wall time, time in the
            reference's FLOP.
        relative_cost: kappa > 0, measured cost of a token over the reference's.
        flops_per_parameter_token: k > 0.

    Returns:
        The loss, broadcast.

    Raises:
        ValueError: naming the argument outside its domain.

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: derived; D = C / (kappa k N) in the shared law of arXiv 2602.07712.
    """
    for name, value in (("size", size), ("flops", flops), ("relative_cost", relative_cost)):
        check_real(name, value, above=0.0)
    check_real("flops_per_parameter_token", flops_per_parameter_token, above=0.0)
    return law.of(optimizer).loss(size, flops / (relative_cost * flops_per_parameter_token * size))


def shared_compute_optimal(
    law: SharedLaw,
    optimizer: str,
    flops: Real,
    relative_cost: float = 1.0,
    flops_per_parameter_token: float = 6.0,
) -> Allocation:
    """Size and tokens of least loss for one optimizer on a budget C = kappa k N D.

    A saving of tokens is best spent partly on a larger model: N* grows as
    rho_N^(-alpha/(alpha+beta)) rho_C^(beta/(alpha+beta)).

    Args:
        law: a shared law.
        optimizer: its name.
        flops: C > 0, any shape.
        relative_cost: kappa > 0, measured cost of a token over the reference's.
        flops_per_parameter_token: k > 0.

    Returns:
        An `Allocation` shaped like `flops`.

    Raises:
        ValueError: naming the argument outside its domain.

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: derived; `compute_optimal` of the optimizer's own law at cost kappa k.
    """
    check_real("relative_cost", relative_cost, above=0.0)
    check_real("flops_per_parameter_token", flops_per_parameter_token, above=0.0)
    return compute_optimal(law.of(optimizer), flops, relative_cost * flops_per_parameter_token)
