"""All studies by name."""

from experiments.studies import (
    batch_size,
    bigram,
    bounds,
    conditioning,
    decomposition,
    emergence,
    exponents,
    norm_transfer,
    optimizers,
    ptq,
    qat,
    schedules,
    spectral,
    tuning_laws,
)
from experiments.study import Study

STUDIES: dict[str, Study] = {
    module.STUDY.name: module.STUDY
    for module in (
        decomposition,
        emergence,
        bigram,
        exponents,
        schedules,
        spectral,
        bounds,
        tuning_laws,
        batch_size,
        optimizers,
        conditioning,
        norm_transfer,
        ptq,
        qat,
    )
}
