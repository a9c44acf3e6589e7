"""Fixtures that several files share."""

import matplotlib.pyplot as plt
import pytest

from experiments.compiled import bound_compiled


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """One folder of records for all workers of a run: who comes second finds it computed."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if base.name.startswith("popen-") else base
    return folder / "records"


@pytest.fixture(autouse=True)
def _closed_figures():
    """A drawing left open by one test must not be seen by another on the same worker."""
    yield
    plt.close("all")


@pytest.fixture(autouse=True, scope="module")
def _bounded_maps():
    """Compiled programs of earlier files are let go before they are too many for one process."""
    bound_compiled()
