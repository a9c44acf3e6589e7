"""All studies by name."""

from experiments.studies import bigram, decomposition, emergence
from experiments.study import Study

STUDIES: dict[str, Study] = {
    study.name: study for study in (decomposition.STUDY, emergence.STUDY, bigram.STUDY)
}
