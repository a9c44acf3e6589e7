"""Presets smaller than the quick ones, for tests that need a whole record of a long study."""

from dataclasses import replace
from typing import Any

from experiments.config import quick_config
from experiments.norm_config import NormRunsConfig
from experiments.norm_quadratic import QuadraticConfig
from experiments.studies.batch_size import BatchSizeConfig
from experiments.studies.bounds import BoundsConfig
from experiments.studies.conditioning import ConditioningConfig
from experiments.studies.exponents import ExponentsConfig
from experiments.studies.norm_transfer import NormTransferConfig
from experiments.studies.optimizers import OptimizersConfig
from experiments.studies.ptq import PtqConfig
from experiments.studies.qat import QatConfig
from experiments.studies.schedules import SchedulesConfig
from experiments.studies.spectral import SpectralConfig
from experiments.studies.tuning_laws import TuningLawsConfig

TINY: dict[type, Any] = {
    BatchSizeConfig: BatchSizeConfig(
        dimension=16, coupling=0.6, draws=200, rates=15, sign_tokens=256, sign_size=20, modes=200
    ),
    BoundsConfig: BoundsConfig(
        size=3,
        columns=4,
        rates=(0.02, 0.1),
        alphas=(1.0, 0.3),
        batches=(1.0, 64.0),
        horizons=(1, 4, 40),
        seeds=2,
    ),
    ConditioningConfig: ConditioningConfig(
        sources=("law",), cells=(12,), spans=(4.0,), repeats=3, starts=8, points=9
    ),
    NormTransferConfig: NormTransferConfig(
        QuadraticConfig(
            size=4, steps=("output",), batches=(16, 64), tokens=(2**8, 2**9, 2**10), seeds=2
        ),
        NormRunsConfig(
            max_bytes=20_000,
            context=2,
            methods=("scion",),
            width=4,
            widths=(),
            width_methods=(),
            batches=(32,),
            tokens=(2**8, 2**9),
            evaluation=64,
            variant_batches=(32,),
            variant_tokens=(2**8, 2**9),
        ),
        variants=False,
    ),
    QatConfig: QatConfig(
        systems=("diagonal",),
        bits=(16, 4),
        sides=(4, 6, 8, 10),
        modes=(8, 16, 32, 64),
        widths=(4, 6, 8, 10),
        rates=3,
        draws=40,
    ),
    PtqConfig: PtqConfig(
        methods=("adamw", "muon"),
        networks=("language",),
        max_bytes=100_000,
        width=8,
        depth=2,
        steps=80,
        every=20,
        rates=2,
        least_rates=1,
        seeds=2,
        bits=(8, 4),
        evaluation=256,
    ),
    # Fit and held-out refit have one shape with five starts, and share a compilation.
    OptimizersConfig: OptimizersConfig(
        preconditioners=(0.1,),
        cells=12,
        repeats=4,
        draws=50,
        starts=5,
        forms=("shared", "beta free"),
    ),
    ExponentsConfig: replace(
        ExponentsConfig.quick(),
        capacities=(1.5, 0.9),
        sources=(2.2, 1.9),
        methods=("gd", "preconditioned", "sign", "rotated gd", "rotated sign"),
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
    TuningLawsConfig: TuningLawsConfig(
        methods=("sign",), tokens=256, doublings=3, batches=(1, 2, 4, 8, 16), alphas=5, seeds=2
    ),
}


def tiny_config(kind: type) -> Any:
    """The preset of a configuration class: tiny if there is one, else quick."""
    return TINY.get(kind) or quick_config(kind)
