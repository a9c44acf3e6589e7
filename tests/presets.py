"""Presets smaller than the quick ones, for tests that need a whole record of a long study."""

from dataclasses import replace
from typing import Any

from experiments.config import quick_config
from experiments.studies.exponents import ExponentsConfig
from experiments.studies.schedules import SchedulesConfig
from experiments.studies.spectral import SpectralConfig

TINY: dict[type, Any] = {
    ExponentsConfig: replace(
        ExponentsConfig.quick(),
        capacities=(1.5, 0.9),
        sources=(2.2, 1.9),
        methods=("gd", "preconditioned", "sign", "rotated sign"),
    ),
    SchedulesConfig: SchedulesConfig(
        capacities=(1.5,),
        sources=(1.8,),
        methods=("sgd", "sign"),
        schedules=("constant", "linear"),
        optimal=False,
        horizons=4,
        check_size=128,
        seeds=64,
    ),
    SpectralConfig: SpectralConfig(
        sizes=(3, 6, 12),
        horizons=(3, 5, 9, 17),
        max_bytes=200_000,
        vocabularies=(16, 32),
        text_horizons=(3, 9),
    ),
}


def tiny_config(kind: type) -> Any:
    """The preset of a configuration class: tiny if there is one, else quick."""
    return TINY.get(kind) or quick_config(kind)
