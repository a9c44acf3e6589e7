"""Every tolerance of the test suite, named, with its reason."""

# The same mathematics by two float64 routes: rounding of a few thousand operations.
SAME_MATHS = 1e-12

# A float64 formula against extended-precision reference digits.
REFERENCE = 1e-13

# A Monte Carlo mean against theory at times fixed beforehand: 5 standard errors, 6e-7 by chance.
Z_SCORE = 5.0

# Automatic against central finite differences at the optimal step: eps^(2/3) = 4e-11, times the
# curvature.
FINITE_DIFFERENCE = 1e-6

# Losses of a float32 run of some 300 steps: roundings of 2^-24 add up like the square root of the
# steps, 1e-6, and twice in the squared distance. (Measured: 2e-7.)
FLOAT32_RUN = 2e-6

# A rotated problem of some hundred modes in float64: dense products of that length, every step.
ROTATION = 1e-10
