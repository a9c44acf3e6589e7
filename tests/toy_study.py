"""A study of a few numbers, for tests of the machinery around studies."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.study import Study
from experiments.tables import Table


@dataclass(frozen=True)
class ToyConfig:
    """Powers of a base."""

    base: float = 2.0
    """What is raised."""
    count: int = 4
    """How many powers."""

    @classmethod
    def quick(cls):
        return cls(count=2)


class Toy:
    """Counts its computations; raises `failure` after half the work if there is one."""

    def __init__(self):
        self.computed = 0
        self.failure = None

    def compute(self, config, progress):
        self.computed += 1
        if config.count < 1:
            raise ValueError(f"`count` must be at least 1, got {config.count}.")
        with progress.task("toy", config.count):
            if self.failure is not None:
                raise self.failure
            progress.advance(config.count)
        power = np.arange(config.count)
        values = np.where(power == 1, np.nan, config.base**power)
        return xr.Dataset(
            {
                "value": (("power", "sign"), values[:, None] * np.array([1.0, -1.0])),
                "flag": ("power", power > 0),
            },
            coords={"power": power, "sign": ["plus", "minus and a longer name"]},
            attrs={"window": [1, 2]},
        )

    def study(self):
        def summary(dataset):
            pairs = zip(dataset.power, dataset.value[:, 0], strict=True)
            rows = tuple((int(power), float(value)) for power, value in pairs)
            return [Table("Powers", ("power", "value"), rows)]

        return Study("toy", "powers of a base", ToyConfig, self.compute, summary)
