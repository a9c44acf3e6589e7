"""Fixtures that several files share."""

import pytest


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """One folder of records for all workers of a run: who comes second finds it computed."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if base.name.startswith("popen-") else base
    return folder / "records"
