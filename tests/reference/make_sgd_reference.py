"""Writes sgd.csv: the loss of one-pass SGD at T up to 1e12, in 80-digit arithmetic.

Run from the repository root: `python tests/reference/make_sgd_reference.py`.
The second-moment map of a small weighted spectrum is built as a dense matrix, with the constant
forcing as an extra coordinate, and raised to the power T by repeated squaring. No eigenvalues are
computed, so nothing is shared with `theory.secular`.
"""

import csv
from pathlib import Path

import mpmath as mp

mp.mp.dps = 80
NODES = 20

POINTS = [
    # a, b, learning rate, batch, noise variance
    (1.5, 1.8, 0.3, 4, 0.0),
    (1.5, 1.8, 0.3, 4, 0.25),
    (1.2, 1.6, 0.25, 1, 0.0),
    (2.0, 1.3, 0.9, 16, 1e-6),
]
STEPS = (10**3, 10**6, 10**9, 10**12)


def spectrum(a, b):
    """Octaves 2^0, 2^2, .., each standing for as many modes as its number: smooth and wide."""
    modes = [mp.mpf(4) ** k for k in range(NODES)]
    weights = modes
    return [m ** -mp.mpf(a) for m in modes], [m ** -mp.mpf(b) for m in modes], weights


def moment_map(lam, weights, rate, batch, noise):
    size = len(lam)
    matrix = mp.zeros(size + 1)
    for i in range(size):
        for j in range(size):
            matrix[i, j] = rate**2 / batch * lam[i] * weights[j] * lam[j]
        matrix[i, i] += 1 - 2 * rate * lam[i] + rate**2 * lam[i] ** 2 * (1 + 1 / batch)
        matrix[i, size] = rate**2 * noise * lam[i] / batch
    matrix[size, size] = mp.mpf(1)
    return matrix


def power_times(matrix, vector, power):
    result = vector
    while power:
        if power & 1:
            result = matrix * result
        power >>= 1
        if power:
            matrix = matrix * matrix
    return result


def main() -> None:
    with (Path(__file__).parent / "sgd.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["a", "b", "learning_rate", "batch_size", "noise_variance", "steps", "loss"]
        )
        for a, b, rate, batch, noise in POINTS:
            lam, energy, weights = spectrum(a, b)
            # The tested code receives doubles.
            lam, energy = ([mp.mpf(float(x)) for x in values] for values in (lam, energy))
            matrix = moment_map(lam, weights, mp.mpf(rate), mp.mpf(batch), mp.mpf(noise))
            start = mp.matrix([e / x for e, x in zip(energy, lam, strict=True)] + [1])
            for steps in STEPS:
                end = power_times(matrix, start, steps)
                loss = mp.fsum(weights[i] * lam[i] * end[i] for i in range(NODES)) / 2
                row = [a, b, rate, batch, noise, steps, mp.nstr(loss, 25)]
                writer.writerow(row)
                print(row)


if __name__ == "__main__":
    main()
