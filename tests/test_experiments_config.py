"""Configurations: the canonical text and the key that names a record."""

import dataclasses
import json
from dataclasses import dataclass

import pytest

from experiments.config import KEY_LENGTH, canonical, config_key, quick_config
from experiments.studies import STUDIES


@dataclass(frozen=True)
class Toy:
    rate: float = 0.1
    steps: tuple[int, ...] = (1, 2)
    name: str = "x"


@dataclass(frozen=True)
class Reordered:
    name: str = "x"
    steps: tuple[int, ...] = (1, 2)
    rate: float = 0.1


def test_canonical_text_is_sorted_json_with_exact_floats():
    assert canonical(Toy()) == '{"name":"x","rate":0.1,"steps":[1,2]}'
    third = 1 / 3
    assert json.loads(canonical(Toy(rate=third)))["rate"] == third


def test_order_of_fields_and_lists_for_tuples_do_not_change_the_key():
    assert config_key("s", 1, Toy()) == config_key("s", 1, Reordered())
    assert config_key("s", 1, Toy()) == config_key("s", 1, Toy(steps=[1, 2]))


def test_key_is_the_same_in_every_release():
    # sha256 of "s\n1\n" + canonical text, from the coreutils program of that name.
    assert config_key("s", 1, Toy()) == "bd0c69aa0df7"
    assert len(config_key("s", 1, Toy())) == KEY_LENGTH


def changed(config):
    """The configuration with one field changed, for every field, those of nested ones included."""
    longer = {str: lambda text: text + "x", tuple: lambda values: values[:-1]}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            others = changed(value)
        else:
            others = [longer.get(type(value), lambda number: number + 1)(value)]
        for other in others:
            yield dataclasses.replace(config, **{field.name: other})


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_field_of_every_study_changes_its_key(name):
    config = STUDIES[name].config()
    configs = [config, *changed(config)]
    assert len({config_key(name, 1, one) for one in configs}) == len(configs)
    assert len(configs) > len(dataclasses.fields(config))


def test_study_name_and_version_change_the_key():
    assert len({config_key(s, v, Toy()) for s in ("s", "t") for v in (1, 2)}) == 4


def test_quick_preset_falls_back_to_the_defaults():
    assert quick_config(Toy) == Toy()
    for study in STUDIES.values():
        assert quick_config(study.config) != study.config()


@pytest.mark.parametrize("config", [Toy, {"rate": 1.0}, 3])
def test_a_configuration_must_be_a_dataclass_instance(config):
    with pytest.raises(TypeError, match="`config` must be a dataclass instance"):
        canonical(config)
