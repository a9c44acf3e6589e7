"""What a careful reader would want to be told about a fit, in words. Float64."""

import numpy as np

from theory.fit_conditioning import Conditioning
from theory.fit_resampling import FormBootstrap
from theory.shared_fitting import FormFit

FLOOR_SHARE = 1e-3  # of the lowest loss, below which a constant term is nothing
LARGEST_EXPONENT = 3.0
TOGETHER = 0.999  # correlation of log N and log D that leaves a single direction
ILL_CONDITIONED = 1e8
# Twelve runs with 0.3 % noise do not determine a law: E comes out between 0 and 1.9 of 1.69.
FEW_RUNS, MUCH_NOISE = 12, 0.002
AGREEING = 0.5


def bounds_hit(fit: FormFit) -> tuple[str, ...]:
    """Parameters that ended on an end of their range: amounts at zero, exponents at or below it.

    Args:
        fit: the fit.

    Returns:
        Their labels, as of `fit.labels`.

    Kind: definition.
    Valid: always.
    Source: derived; an amount counts as zero below a thousandth of the lowest loss, at the
        geometric means of the data, and an exponent above 3 as a jump rather than a power.
    """
    floor = np.log(FLOOR_SHARE) + float(np.min(fit.log_loss))
    amounts = np.asarray(fit.terms.coefficients)
    values = np.asarray(fit.parameters)
    hit = np.where(amounts, values < floor, ~((values > 0) & (values <= LARGEST_EXPONENT)))
    return tuple(label for label, on in zip(fit.labels, hit, strict=True) if on)


def form_warnings(
    fit: FormFit, conditions: Conditioning, draws: FormBootstrap | None = None
) -> list[str]:
    """Everything doubtful about a fit, one sentence each.

    Args:
        fit: the fit.
        conditions: its conditioning.
        draws: its bootstrap, if there is one.

    Returns:
        Sentences, empty if nothing is wrong.

    Kind: definition.
    Valid: always.
    Source: failure modes seen in published fits.
    """
    said = [*_about_bounds(fit), *_about_data(fit)]
    if fit.agreement < AGREEING and fit.starts > 1:
        said.append(
            f"only {fit.agreement:.0%} of {fit.starts} starts agree on the optimum: distrust it."
        )
    said += _about_errors(fit, conditions)
    if not conditions.centred < ILL_CONDITIONED:
        said.append(
            f"the fit is ill-conditioned even after centring ({conditions.centred:.1e}): several "
            "laws describe these runs equally well."
        )
    if draws is not None and draws.converged < 0.99:
        said.append(f"only {draws.converged:.1%} of the bootstrap refits converged.")
    return said


def claim_warnings(draws: FormBootstrap, reference: str, level: float = 0.95) -> list[str]:
    """Optimizers whose token efficiency these runs cannot tell from the reference's.

    Args:
        draws: refits of a `SHARED` law.
        reference: the reference optimizer.
        level: of the interval.

    Returns:
        A sentence, or none.

    Raises:
        ValueError: if the form is another one or the reference is not among the groups.

    Kind: fit.
    Valid: as the bootstrap.
    Source: an interval that contains 1 is wider than the claim that the optimizers differ.
    """
    law = draws.law(reference)
    tail = 50 * (1 - level)
    samples = np.asarray(law.tokens_rescaling)
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    unclear = [
        name
        for name, below, above in zip(law.optimizers, low, high, strict=True)
        if name != reference and below <= 1.0 <= above
    ]
    if not unclear:
        return []
    return [
        f"the {level:.0%} interval of rho_D contains 1 for {', '.join(unclear)}: these runs cannot "
        f"tell their token efficiency from {reference}'s."
    ]


def _about_bounds(fit: FormFit) -> list[str]:
    said = []
    powers = {term.coefficient: term.powers for term in fit.form.terms}
    for label in bounds_hit(fit):
        value = float(fit.parameters[fit.labels.index(label)])
        name = label.removeprefix("log ")
        if not label.startswith("log "):
            why = "is not positive: the loss does not fall" if value <= 0 else "is no power law"
            said.append(f"{label} = {value:.3g} {why}.")
        elif powers[name.split("[")[0].rstrip("'")]:
            said.append(f"{name} is not identifiable: it ran to zero; its term does nothing.")
        else:
            said.append(f"{name} is not identifiable: it ran to zero; the data show no floor.")
    return said


def _about_data(fit: FormFit) -> list[str]:
    data, said = fit.data, []
    x, y = (np.asarray(values) for values in (data.runs.log_size, data.runs.log_tokens))
    together = float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0
    both = {variable for term in fit.form.terms for variable, _ in term.powers} == {"N", "D"}
    if both and abs(together) > TOGETHER:
        said.append(
            f"N and D vary together (correlation of their logs {together:.5f}): the two terms are "
            "not identifiable apart."
        )
    left = fit.log_loss.size - fit.parameters.size
    # Of normal errors; a robust fit passes through as many runs as it has parameters.
    scale = float(np.sum(np.abs(fit.residuals))) * np.sqrt(np.pi / 2) / max(left, 1)
    runs = np.bincount(data.group)
    least = int(runs.min()) if fit.form.separate else int(runs.sum())
    if least <= FEW_RUNS and scale > MUCH_NOISE:
        said.append(
            f"{least} runs with noise of {scale:.1%} are too few to determine a law with "
            f"{len(fit.form.symbols)} parameters."
        )
    if fit.parameters.size >= fit.log_loss.size:
        said.append(
            f"{fit.parameters.size} parameters for {fit.log_loss.size} runs: the fit passes "
            "through the runs and has no error to show."
        )
    return said


def _about_errors(fit: FormFit, conditions: Conditioning) -> list[str]:
    amounts = np.asarray(fit.terms.coefficients)
    hit, said = bounds_hit(fit), []
    relative = conditions.standard_errors / np.where(amounts, 1.0, np.abs(fit.parameters))
    for label, error in zip(fit.labels, relative, strict=True):
        # What ran to a bound has been told.
        if label not in hit and not error < 1.0:
            name = label.removeprefix("log ")
            said.append(f"{name} is not identifiable: its standard error exceeds its value.")
    return said
