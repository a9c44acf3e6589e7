"""All studies by name."""

from experiments.studies import bigram, decomposition, emergence, exponents, spectral
from experiments.study import Study

STUDIES: dict[str, Study] = {
    study.STUDY.name: study.STUDY
    for study in (decomposition, emergence, bigram, exponents, spectral)
}
