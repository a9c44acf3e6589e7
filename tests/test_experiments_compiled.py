"""Compiled programs are let go before they use up the memory maps of a process."""

import jax
import jax.numpy as jnp
import pytest

from experiments import chunks, study, validation
from experiments.compiled import MAPS, bound_compiled
from experiments.progress import Progress

from . import toy_study, toy_sweep

pytestmark = pytest.mark.skipif(not MAPS.is_file(), reason="memory maps are not listed here")


def maps():
    return len(MAPS.read_text().splitlines())


def test_programs_go_where_maps_are_many_and_are_compiled_again():
    @jax.jit
    def cumulated(values):
        return jnp.cumsum(values) / 3

    for size in range(2, 60):
        cumulated(jnp.zeros(size))
    many = maps()
    assert not bound_compiled(10 * many)
    assert cumulated._cache_size() == 58
    assert bound_compiled(many - 1)
    assert cumulated._cache_size() == 0
    # Each program has a map at least, of its code.
    assert maps() <= many - 58
    assert float(cumulated(jnp.full(3, 1.0))[-1]) == 1.0


def test_every_chunk_study_and_group_of_claims_begins_with_it(tmp_path, monkeypatch):
    calls = []
    for module in (chunks, study, validation):
        monkeypatch.setattr(module, "bound_compiled", lambda: calls.append(len(calls)))
    toy_sweep.Trouble.reset()
    config = toy_sweep.SweepConfig(count=3)
    study.run_study(toy_sweep.STUDY, config, tmp_path, Progress())
    assert len(calls) == 3
    toy_sweep.STUDY.compute(config, Progress())
    assert len(calls) == 6
    study.run_study(toy_study.Toy().study(), toy_study.ToyConfig(), tmp_path, Progress())
    assert len(calls) == 7
    monkeypatch.setattr(validation, "CLAIMS", {"one": lambda _: [], "two": lambda _: []})
    assert validation.validate((), True, Progress()) == []
    assert len(calls) == 9
