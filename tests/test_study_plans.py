"""Plans of the studies that are cut into chunks: names, keys, and what a changed field computes."""

import pickle
from dataclasses import replace
from functools import cache

import pytest

from experiments.studies import (
    bounds,
    exponents,
    norm_transfer,
    qat,
    schedules,
    tuning_laws,
)

from .presets import tiny_config

CUT = {
    module.STUDY.name: module
    for module in (bounds, exponents, norm_transfer, qat, schedules, tuning_laws)
}


@cache
def chunks(config):
    (module,) = (m for m in CUT.values() if m.STUDY.config is type(config))
    return module.plan(config).chunks


def keys(config):
    return {chunk.key for chunk in chunks(config)}


@pytest.mark.parametrize("name", CUT)
def test_chunks_can_be_sent_named_and_told_apart(name):
    for config in (tiny_config(CUT[name].STUDY.config), CUT[name].STUDY.config()):
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
    ],
)
def test_other_runs_are_other_chunks(name, change):
    config = tiny_config(CUT[name].STUDY.config)
    assert not keys(config) & keys(replace(config, **change))


def test_another_seed_of_the_quadratic_leaves_the_networks():
    config = tiny_config(norm_transfer.NormTransferConfig)
    other = replace(config, quadratic=replace(config.quadratic, seed=1))
    same = keys(config) & keys(other)
    assert len(same) == len(keys(config)) - len(config.quadratic.steps)
