"""Shared by tests and doctests: double precision, strict promotion, no implicit rank promotion."""

import os

import jax
import matplotlib as mpl
import pytest

# XLA's newer code generator makes loops faster and takes half as long again to compile, which is
# most of what short tests do. Slow tests, those of several devices and the engine's own once more
# (see the Makefile) run on the default, as users do.
FAST_COMPILING = "--xla_cpu_use_fusion_emitters=false"

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
mpl.use("Agg")


def pytest_configure(config: pytest.Config) -> None:
    """Sets XLA's flags before it is first used; processes of tests inherit or replace them."""
    flags = os.environ.get("XLA_FLAGS", "")
    if config.getoption("markexpr") == "not slow" and "fusion_emitters" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FAST_COMPILING}".strip()
