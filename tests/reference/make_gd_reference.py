"""Writes gd.csv: the loss of gradient descent at 20 points, in 40-digit arithmetic.

Run from the repository root: `python tests/reference/make_gd_reference.py`.
The first 2,000 modes are summed one by one, the rest by Euler-Maclaurin: an integral in log i by
mpmath's quadrature plus end-point derivatives. Nothing here is shared with `theory.spectrum`.
"""

import csv
from pathlib import Path

import mpmath as mp

mp.mp.dps = 40
DIRECT = 2000
CORRECTIONS = 12

POINTS = [
    # a, b, learning rate, size, steps
    (1.1, 1.2, "0.3", 10**12, 10**8),
    (1.1, 1.2, "0.9", 10**6, 10**3),
    (1.2, 1.6, "0.3", 10**12, 10**6),
    (1.2, 1.6, "1.5", 10**9, 10**12),
    (1.5, 1.8, "0.3", 10**12, 10**12),
    (1.5, 1.8, "0.3", 10**12, 10**9),
    (1.5, 1.8, "0.5", 10**6, 10**4),
    (1.5, 1.8, "1.0", 10**3, 0),
    (1.5, 1.8, "1.0", 10**3, 10**2),
    (1.5, 1.8, "1.9", 10**5, 16),
    (1.5, 1.8, "1.0", 12345, 10**7),
    (2.0, 1.3, "0.3", 10**12, 10**12),
    (2.0, 1.3, "0.7", 10**4, 10**5),
    (2.0, 3.0, "0.1", 10**8, 10**10),
    (3.0, 4.0, "0.9", 10**12, 10**6),
    (3.0, 1.2, "1.0", 10**9, 10**3),
    (0.5, 1.5, "0.4", 10**12, 10**5),
    (0.8, 2.5, "0.6", 10**10, 10**3),
    (1.0, 1.01, "1.0", 10**12, 10**11),
    (1.7, 2.2, "0.05", 33, 50),
]


def summand(mode, a, b, rate, steps):
    contraction = 1 - rate * mode**-a
    if steps == 0:
        return mode**-b
    return mode**-b * abs(contraction) ** (2 * steps) if contraction else mp.mpf(0)


def mode_sum(a, b, rate, size, steps):
    def term(mode):
        return summand(mode, a, b, rate, steps)

    direct = mp.fsum(term(mp.mpf(i)) for i in range(1, min(size, DIRECT) + 1))
    if size <= DIRECT:
        return direct
    low, high = mp.mpf(DIRECT), mp.mpf(size)
    edges = mp.linspace(mp.log(low), mp.log(high), 60)
    integral = mp.quad(lambda u: term(mp.exp(u)) * mp.exp(u), edges)
    # sum_{i=K+1}^{N} = integral + (f(N) - f(K))/2 + sum_k B_2k/(2k)! (f^(2k-1)(N) - f^(2k-1)(K))
    total = integral + (term(high) - term(low)) / 2
    with mp.workdps(120):
        at_low = mp.taylor(term, low, 2 * CORRECTIONS)
        at_high = mp.taylor(term, high, 2 * CORRECTIONS)
    for k in range(1, CORRECTIONS + 1):
        order = 2 * k - 1
        # Taylor coefficients hold f^(order) / order!.
        total += mp.bernoulli(2 * k) / (2 * k) * (at_high[order] - at_low[order])
    return direct + total


def main() -> None:
    with (Path(__file__).parent / "gd.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "learning_rate", "size", "steps", "bias", "approximation"])
        for a, b, rate, size, steps in POINTS:
            # The double nearest to the decimal is what the tested code receives.
            exact = [mp.mpf(float(value)) for value in (a, b, rate)]
            bias = mode_sum(*exact, size, steps) / 2
            approximation = mp.zeta(exact[1], mp.mpf(size + 1)) / 2
            row = [a, b, rate, size, steps, mp.nstr(bias, 25), mp.nstr(approximation, 25)]
            writer.writerow(row)
            print(row)


if __name__ == "__main__":
    main()
