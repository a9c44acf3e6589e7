"""Shared by tests and doctests: double precision, strict promotion, no implicit rank promotion."""

import jax
import matplotlib as mpl

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
mpl.use("Agg")
