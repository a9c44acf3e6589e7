"""Claims about rounding: errors split exactly, floors on a grid, laws and published tables."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compare import (
    Verdict,
    agree_within,
    bound_holds,
    bound_tight,
    relative_within,
    z_score,
)
from experiments.ptq_runs import ABSMAX
from simulate.networks import Linear, Network, language_model
from simulate.quantize import quantize_network
from theory.laws import chinchilla
from theory.linear_gain import linear_gain
from theory.precision import unit_roundoff
from theory.published_quantization import ACCURACY, QAT_ACCURACY, QAT_DROP
from theory.quantization import relative_errors, split_errors
from theory.quantized_law import fused_rescaling, quantized_law
from theory.rounding import round_float, round_grid
from theory.rounding_floor import (
    cell_position,
    nearest_stall_risk,
    stochastic_rounding_floor,
    stochastic_rounding_risk,
)

PRODUCTS = (0.3, 0.1, 0.03, 0.01)  # eta lam
WIDTHS = (8, 6, 4, 3, 2)
IN_POINTS = ("1.5B", "muon")  # a drop that is printed as a difference, not relative
EXACT = 1e-12


def rounded_weights(quick: bool) -> list[Verdict]:
    """Identities of quantized stacks, floors of weights on a grid, laws and published tables."""
    chains = 20_000 if quick else 200_000
    return [
        *_identities(),
        *_stochastic_floors(chains),
        *_nearest_stalls(),
        *_roundoffs(),
        *_published_numbers(),
    ]


def _identities() -> list[Verdict]:
    network = language_model(jax.random.key(3), 30, 12, 2, 1, "gelu")
    inputs = jax.random.randint(jax.random.key(4), (64, 2), 0, 30)
    split = jax.jit(lambda bits: _split(network, inputs, bits))
    found = [split(float(bits)) for bits in WIDTHS]
    total, error, product, alone, gain = (np.array(parts) for parts in zip(*found, strict=True))
    apart = f"{len(WIDTHS)} widths, every stage"
    return [
        # Nothing is rounded before the first linear layer: zero equals zero there.
        agree_within(
            f"A + B + C = R of a rounded network, {apart}",
            total,
            error,
            EXACT * np.maximum(error, EXACT),
            "rounding, 1e-12 relative",
        ),
        relative_within(f"G_1 G_2 = G of its products, {apart}", product, alone, EXACT, "rounding"),
        relative_within(
            f"gain of its products is A over the R before, {apart}", alone, gain, EXACT, "rounding"
        ),
    ]


def _split(network: Network, inputs: jax.Array, bits: jax.Array) -> tuple[jax.Array, ...]:
    """A + B + C and R in both averages; G_1 G_2, G and A over the R before, of the products."""
    low = quantize_network(network, ABSMAX, bits, ABSMAX)
    parts = split_errors(network.stages, low.stages, inputs)
    both = [relative_errors(parts, average) for average in ("sums", "rows")]
    full, rounded, places = [], [], []
    for stage, quantized in zip(network.stages, low.stages, strict=True):
        if isinstance(stage, Linear):
            full += [lambda h: h, stage]
            rounded += [lambda h: ABSMAX(h, bits), Linear(quantized.weight)]
            places.append(len(full) - 1)
        else:
            full.append(stage)
            rounded.append(quantized)
    apart, gains = relative_errors(split_errors(full, rounded, inputs)).gain, []
    exact = moved = inputs
    for stage, quantized in zip(full, rounded, strict=True):
        if isinstance(stage, Linear):
            gains.append(linear_gain(stage.weight, quantized.weight, exact, moved - exact))
        exact, moved = stage(exact), quantized(moved)
    return (
        jnp.stack([one.carried + one.new + one.cross for one in both]),
        jnp.stack([one.relative for one in both]),
        jnp.stack([gain.spectral * gain.alignment for gain in gains]),
        jnp.stack([gain.gain for gain in gains]),
        apart[jnp.array(places)],
    )


def _stochastic_floors(chains: int) -> list[Verdict]:
    target_key, key = jax.random.split(jax.random.key(17))
    lam, spacing = 0.7, 0.05
    target = jax.random.uniform(target_key, (chains,)) * 8 * spacing
    fixed = spacing * jnp.repeat(jnp.arange(8.0) + jnp.linspace(0.05, 0.95, 8), chains // 8)
    means, errors, at, at_errors = [], [], [], []
    for product in PRODUCTS:
        steps = int(10 / product)  # the start is forgotten to e^-10
        losses = lam * (_walk(target, spacing, product, steps, key) - target) ** 2 / 2
        means.append(jnp.mean(losses))
        errors.append(jnp.std(losses) / chains**0.5)
        losses = lam * (_walk(fixed, spacing, product, steps, key) - fixed) ** 2 / 2
        at.append(jnp.mean(losses.reshape(8, -1), axis=1))
        at_errors.append(jnp.std(losses.reshape(8, -1), axis=1) / (chains // 8) ** 0.5)
    places = cell_position(fixed[:: chains // 8], spacing)
    risks = [stochastic_rounding_risk(lam, place * spacing, spacing) for place in places]
    return [
        z_score(
            "stochastic rounding: floor lam u^2/12 at eta lam = 0.3, 0.1, 0.03, 0.01",
            stochastic_rounding_floor(lam, spacing),
            means,
            errors,
            3.0,
        ),
        z_score(
            "stochastic rounding: loss lam u^2 f (1 - f)/2 at 8 targets, the same steps",
            np.array(risks)[None],
            at,
            at_errors,
        ),
    ]


@jax.jit
def _walk(
    target: jax.Array, spacing: float, product: float, steps: int, key: jax.Array
) -> jax.Array:
    """Weights after so many steps x <- round(x - eta lam (x - x*)), from the point below x*."""

    def step(count: jax.Array, weight: jax.Array) -> jax.Array:
        moved = weight - product * (weight - target)
        return round_grid(moved, spacing, key=jax.random.fold_in(key, count))

    return jax.lax.fori_loop(0, steps, step, spacing * jnp.floor(target / spacing))


def _nearest_stalls() -> list[Verdict]:
    lam, spacing = jnp.geomspace(1.0, 0.05, 30), 2.0**-10
    target = jnp.sin(jnp.arange(1.0, 31.0))
    start = jnp.round(3.0 * jnp.cos(jnp.arange(1.0, 31.0)) / spacing) * spacing
    rates, bounds, losses = (0.3, 0.1, 0.03, 0.01), [], []
    for rate in rates:

        def step(_: jax.Array, weight: jax.Array, rate: float = rate) -> jax.Array:
            return round_grid(weight - rate * lam * (weight - target), spacing)

        end = jax.lax.fori_loop(0, 40_000, step, start)
        bounds.append(nearest_stall_risk(lam, start - target, spacing, rate))
        losses.append(jnp.sum(lam * (end - target) ** 2) / 2)
    name = "nearest rounding: loss where it stalls, eta ="
    # The last step moves by one spacing, from outside the radius u/(2 eta lam) to inside.
    return [
        bound_holds(f"{name} {rates[0]:g} to {rates[-1]:g}", bounds, losses),
        # At the largest rate a step is too long for the radius to be typical.
        bound_tight(
            f"{name} {rates[1]:g} to {rates[-1]:g}, within a factor", bounds[1:], losses[1:], 1.5
        ),
    ]


def _roundoffs() -> list[Verdict]:
    values = jnp.asarray(np.random.default_rng(8).uniform(1, 2, 20_000))
    bits = np.array([2, 3, 7, 10])
    rounded = jax.vmap(lambda m: round_float(values, m, 8))(jnp.asarray(bits))
    error = jnp.max(jnp.abs(rounded / values - 1), axis=1)
    name = "relative error of rounding to 2, 3, 7 and 10 mantissa bits"
    # |error| <= u/(1 + u), attained just above one.
    bound = unit_roundoff(bits) / (1 + unit_roundoff(bits))
    return [bound_holds(name, bound, error), bound_tight(f"{name}, attained", bound, error, 1.1)]


def _published_numbers() -> list[Verdict]:
    law, ratio, size = chinchilla(1.7, 60.0, 300.0, 0.25, 0.25), 20.0, np.geomspace(1e7, 1e10, 4)
    rows = [
        (printed, 100 * (QAT_ACCURACY[scale][name] / ACCURACY[scale][name] - 1))
        for scale, drops in QAT_DROP.items()
        for name, printed in drops.items()
        if scale in ACCURACY and (scale, name) != IN_POINTS
    ]
    printed, relative = zip(*rows, strict=True)
    verdicts = [
        agree_within(
            f"drops of accuracy in the published table are relative ({len(rows)} rows; muon at "
            "1.5B is a difference)",
            printed,
            relative,
            0.022,
            "last digit of drop and accuracies",
        )
    ]
    for rho in (0.3, 0.8):
        low = quantized_law(law, {"q": rho}, "full").of("q").loss(size, ratio * size)
        acted = float(fused_rescaling(law, rho, ratio)) * size
        verdicts.append(
            relative_within(
                f"rho of a one-term fit at D = 20 N is the size of equal loss, true rho {rho:g}",
                law.loss(acted, ratio * acted),
                low,
                EXACT,
                "rounding",
            )
        )
    return verdicts
