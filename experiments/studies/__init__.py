"""All studies by name."""

from experiments.studies import bigram, decomposition, emergence, exponents, schedules, spectral
from experiments.study import Study

STUDIES: dict[str, Study] = {
    module.STUDY.name: module.STUDY
    for module in (decomposition, emergence, bigram, exponents, schedules, spectral)
}
