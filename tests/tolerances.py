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

# The same float32 run in blocks of modes: sums of a few thousand losses in another order, 2^-24
# times the square root of their number, and steps fused otherwise.
FLOAT32_BLOCKS = 2e-6

# A rotated problem of some hundred modes in float64: dense products of that length, every step.
ROTATION = 1e-10

# Singular value and eigenvalue routes of small float64 matrices: eps times the condition number of
# what they share, at most a few thousand in the tests.
SPECTRAL_ROUTE = 1e-11

# A table printed to five decimals: half a unit of the last one.
PRINTED = 5.1e-6

# Eight instead of sixteen quadrature points a block (the dense propagator of momentum): truncation
# of the rule, measured 2e-12 to 4e-12.
EIGHT_POINTS = 1e-11

# A number printed with a given count of significant digits is a formula's to half a unit of the
# last one; tests multiply this by the power of ten of that digit.
LAST_DIGIT = 0.51
