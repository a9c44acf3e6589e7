"""How much of the gradient a step along an LMO keeps where noise fills it.

Let the gradient have independent Gaussian noise of standard deviation s in each of its d entries,
g its mean, small beside s. By Stein's lemma, and because the norms here treat all entries alike
that turn or swap into each other,

    E lmo(g + noise) = -gamma g/s + O(g^2),     gamma = E |Z|_* / d,   Z standard normal.

A step of rate eta is then one of SGD with rate h = eta gamma/s and noise of variance eta^2 q in
each entry, q = |lmo|_F^2 / d. SGD of that rate has h^2 s^2 = eta^2 gamma^2 there: less by the
factor e = gamma^2/q <= 1, the efficiency of the method.
"""

import numpy as np
from scipy.special import gammaln

from theory.norms import find_norm

QUADRATURE = 400


def noise_gain(norm: str, shape: tuple[int, ...]) -> float:
    """Mean dual norm of standard normal noise over the number of entries, gamma = E |Z|_* / d.

    Args:
        norm: key of `theory.norms.NORMS`.
        shape: of the weights; [d_out, d_in] for matrix norms.

    Returns:
        (2/pi)^(1/2) for max; with c_k = 2^(1/2) Gamma((k+1)/2) / Gamma(k/2), the mean length of a
        normal vector: c_d / d (euclidean), c_m / m^(1/2) (one_to_rms), c_n / n^(3/2) (rms_to_inf);
        for the spectral norms the mean nuclear norm over m n (times (m/n)^(1/2) for rms_to_rms).

    Raises:
        ValueError: see `theory.norms.find_norm`.

    Kind: exact, but for the spectral norms: asymptotic, relative error about 0.15 / min(m, n)^2
        for square matrices (measured at 2, 4, 8), less for long ones.
    Valid: as the module.
    Source: derived; E <lmo(Z), Z> = -E |Z|_* and integration by parts. Nuclear norm: Marchenko and
        Pastur's law with the first correction for real matrices, Bai and Silverstein 2004.
    """
    entry = find_norm(norm, shape)
    entries = float(np.prod(shape))
    if norm == "max":
        return float(np.sqrt(2.0 / np.pi))
    if norm == "euclidean":
        return _mean_length(entries) / entries
    rows, columns = shape
    if norm == "one_to_rms":
        return _mean_length(rows) / rows**0.5
    if norm == "rms_to_inf":
        return _mean_length(columns) / columns**1.5
    scale = (rows / columns) ** 0.5 if entry.name == "rms_to_rms" else 1.0
    return scale * _mean_nuclear(rows, columns) / entries


def _mean_length(count: float) -> float:
    """E |Z|_2 for `count` entries."""
    return float(np.sqrt(2.0) * np.exp(gammaln((count + 1) / 2) - gammaln(count / 2)))


def _mean_nuclear(rows: int, columns: int) -> float:
    """E sum of singular values of a standard normal matrix; both integrals in the angle."""
    short, long = min(rows, columns), max(rows, columns)
    ratio = short / long
    angle = (np.arange(QUADRATURE) + 0.5) * np.pi / QUADRATURE
    square = 1.0 + ratio + 2.0 * np.sqrt(ratio) * np.cos(angle)
    root, low, high = np.sqrt(square), 1.0 - np.sqrt(ratio), 1.0 + np.sqrt(ratio)
    density = 2.0 * np.sin(angle) ** 2 / np.pi / square
    bulk = short * np.sum(density * root) * np.pi / QUADRATURE
    correction = (low + high) / 4.0 - np.mean(root) / 2.0
    return float(np.sqrt(long) * (bulk + correction))


def step_square(norm: str, shape: tuple[int, ...]) -> float:
    """|lmo|_F^2 of a gradient without zeros, of full rank.

    Args:
        norm: key of `theory.norms.NORMS`.
        shape: of the weights; [d_out, d_in] for matrix norms.

    Returns:
        d (max), 1 (euclidean), min(m, n) (spectral), m n (one_to_rms), min(m, n) m/n (rms_to_rms),
        m/n (rms_to_inf).

    Raises:
        ValueError: see `theory.norms.find_norm`.

    Kind: exact.
    Valid: no zero entry, column or row, full rank.
    Source: derived from the duality maps.
    """
    find_norm(norm, shape)
    if norm in ("max", "euclidean"):
        return float(np.prod(shape)) if norm == "max" else 1.0
    rows, columns = shape
    rank = min(rows, columns)
    return {
        "spectral": float(rank),
        "one_to_rms": float(rows * columns),
        "rms_to_rms": rank * rows / columns,
        "rms_to_inf": rows / columns,
    }[norm]


def noise_efficiency(norm: str, shape: tuple[int, ...]) -> float:
    """Efficiency e = gamma^2 d / |lmo|_F^2: SGD needs e times the samples for the same noise.

    Args:
        norm: key of `theory.norms.NORMS`.
        shape: of the weights; [d_out, d_in] for matrix norms.

    Returns:
        A number in (0, 1]: 2/pi for sign steps, near (8/(3 pi))^2 = 0.72 for the polar factor of
        large square matrices, near 1 for normalised rows, columns or wholes.

    Raises:
        ValueError: see `theory.norms.find_norm`.

    Kind: exact, but for the spectral norms as `noise_gain` is.
    Valid: as the module.
    Source: derived; at most one by Cauchy-Schwarz, <lmo(Z), Z>^2 <= |lmo|_F^2 |Z|_F^2.
    """
    return noise_gain(norm, shape) ** 2 * float(np.prod(shape)) / step_square(norm, shape)
