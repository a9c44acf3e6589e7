"""Plans of the studies that are cut into chunks: names, keys, and what a changed field computes."""

import pickle
from dataclasses import replace
from functools import cache

import pytest

from experiments.ptq_plan import tasks_of
from experiments.spectral_text import counted
from experiments.studies import (
    STUDIES,
    conditioning,
    exponents,
    norm_transfer,
    optimizers,
    ptq,
    qat,
    schedules,
    spectral,
    tuning_laws,
)
from simulate.language import read_bytes

from .presets import tiny_config

CUT = {name: study for name, study in STUDIES.items() if study.plan is not None}


@cache
def chunks(config):
    (study,) = (study for study in CUT.values() if study.config is type(config))
    return study.plan(config, None).chunks


def keys(config):
    return {chunk.key for chunk in chunks(config)}


@pytest.mark.parametrize("name", CUT)
def test_chunks_can_be_sent_named_and_told_apart(name):
    for config in (tiny_config(CUT[name].config), CUT[name].config()):
        found = chunks(config)
        assert len({chunk.name for chunk in found}) == len(found) > 1
        assert len({chunk.key for chunk in found}) == len(found)
        for chunk in found:
            again = pickle.loads(pickle.dumps(chunk))
            assert again.identity == chunk.identity
            assert again.function is chunk.function
            assert chunk.memory > 0
            assert chunk.work > 0


# What a finished chunk does not depend on is computed no second time.
@pytest.mark.parametrize(
    ("config", "change"),
    [
        (exponents.ExponentsConfig(methods=("gd",)), {"methods": ("gd", "sign")}),
        (schedules.SchedulesConfig(methods=("gd",)), {"methods": ("gd", "sgd")}),
        (tuning_laws.TuningLawsConfig(noises=("skewed",)), {"noises": ("skewed", "normal")}),
        (qat.QatConfig(systems=("clipped",)), {"systems": ("clipped", "network")}),
        (qat.QatConfig(systems=("clipped",)), {"draws": 10, "starts": 3, "delta": 0.1}),
        (tiny_config(norm_transfer.NormTransferConfig), {"variants": True}),
        (ptq.PtqConfig(methods=("adamw", "muon")), {"methods": ("soap", "muon", "adamw")}),
        (ptq.PtqConfig(networks=("linear",)), {"networks": ptq.NETWORKS, "bits": (4, 3)}),
        (ptq.PtqConfig(networks=("linear",)), {"width": 16, "max_bytes": 1000, "least_rates": 2}),
        (spectral.SpectralConfig(vocabularies=(128,)), {"vocabularies": (128, 512)}),
        (conditioning.ConditioningConfig(sources=("edges",)), {"sources": ("law", "edges")}),
        (conditioning.ConditioningConfig(cells=(12, 20)), {"cells": (12, 20, 28)}),
        (optimizers.OptimizersConfig(preconditioners=(0.1,)), {"preconditioners": (0.2, 0.1)}),
        (optimizers.OptimizersConfig(), {"repeats": 15, "level": 0.1}),
    ],
)
def test_more_of_a_grid_or_another_fit_keeps_the_chunks(config, change):
    assert keys(config) <= keys(replace(config, **change))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("exponents", {"seed": 1}),
        ("schedules", {"seed": 1}),
        ("tuning_laws", {"seed": 1}),
        ("qat", {"seeds": 3}),
        ("bounds", {"seed": 1}),
        ("ptq", {"seed": 1}),
        ("conditioning", {"delta": 0.1}),
        ("optimizers", {"seed": 1}),
    ],
)
def test_other_runs_are_other_chunks(name, change):
    config = tiny_config(CUT[name].config)
    assert not keys(config) & keys(replace(config, **change))


def reading(name, path):
    """A study of the text at a path, resolved."""
    config = CUT[name].config
    stated = tiny_config(config)
    if name == "norm_transfer":
        stated = replace(stated, networks=replace(stated.networks, text=str(path)))
    else:
        stated = replace(stated, text=str(path))
    return CUT[name].resolve(stated)


@pytest.mark.parametrize(
    ("name", "chunk"),
    [
        ("ptq", "language, muon"),
        ("spectral", "text, 16 words"),
        ("norm_transfer", "scion, width 4"),
    ],
)
def test_another_text_is_another_chunk_and_not_read_for_this_one(name, chunk, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(read_bytes(None, 200_000))
    config = reading(name, path)
    (first,) = (found for found in chunks(config) if found.name == chunk)
    path.write_bytes(path.read_bytes()[::-1])
    (second,) = (found for found in chunks(reading(name, path)) if found.name == chunk)
    assert first.key != second.key
    # What planning has read is not known to the process that computes.
    tasks_of.cache_clear()
    counted.cache_clear()
    with pytest.raises(ValueError, match=r"`text_digest` must be .*, that of the text now"):
        first.compute()


def test_another_seed_of_the_quadratic_leaves_the_networks():
    config = tiny_config(norm_transfer.NormTransferConfig)
    other = replace(config, quadratic=replace(config.quadratic, seed=1))
    same = keys(config) & keys(other)
    assert len(same) == len(keys(config)) - len(config.quadratic.steps)


def test_another_seed_of_the_bases_leaves_what_has_none():
    config = tiny_config(spectral.SpectralConfig)
    other = chunks(replace(config, seed=1))
    changed = {chunk.name for chunk in other if chunk.key not in keys(config)}
    drawn = ("turned", "crossed", "entries")
    assert changed == {chunk.name for chunk in other if chunk.name.endswith(drawn)}


@pytest.mark.parametrize(
    ("name", "change", "ends"),
    [
        ("conditioning", {"points": 11}, (", profiles",)),
        ("conditioning", {"seed": 1}, (", profiles", "span 4")),
        ("optimizers", {"noise": 0.01}, ("draws from 0", "intervals")),
        ("optimizers", {"forms": ("shared", "separate")}, ("draws from 0", ", exact")),
        ("optimizers", {"draws": 10}, ("intervals",)),
    ],
)
def test_a_field_changes_the_chunks_that_depend_on_it(name, change, ends):
    config = tiny_config(CUT[name].config)
    other = chunks(replace(config, **change))
    changed = {chunk.name for chunk in other if chunk.key not in keys(config)}
    assert changed == {chunk.name for chunk in other if chunk.name.endswith(ends)}
