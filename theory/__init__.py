"""Exact curves, asymptotics, bounds and laws of gradient methods on power-law quadratics."""

from theory.accelerated import (
    accelerated_exponent,
    heavy_ball,
    momentum_asymptote,
    nesterov,
)
from theory.acceleration_schedules import (
    jacobi_constant,
    jacobi_heavy_ball,
    nesterov_growing,
    nesterov_growing_asymptote,
)
from theory.chebyshev import (
    chebyshev,
    chebyshev_asymptote,
    chebyshev_edge,
)
from theory.conjugate_gradients import conjugate_gradients, conjugate_gradients_exponent
from theory.dana import dana, dana_exponents
from theory.decomposition import Decomposition
from theory.fit_uncertainty import (
    bootstrap,
    conditioning,
    percentile_intervals,
    warnings_of,
)
from theory.fitting import (
    Fit,
    Runs,
    fit_chinchilla,
    runs,
)
from theory.laws import (
    Chinchilla,
    chinchilla,
    compute_exponents,
    compute_optimal,
)
from theory.linear_methods import (
    gd,
    gd_asymptote,
    gd_asymptote_window,
    loss_exponents,
    preconditioned_gd,
)
from theory.matrix_methods import (
    aligned_problem,
    aligned_spectrum,
    kronecker_spectrum,
    spectral_descent,
)
from theory.momentum_noise import (
    momentum_noise_floor,
    momentum_stability_sum,
    stationary_loss,
)
from theory.newton_schulz import newton_schulz, reached_range
from theory.normalized_methods import (
    normalized_gd,
    normalized_gd_floor,
    normalized_gd_steps,
    normalized_sgd,
    normalized_sgd_plateau,
)
from theory.normalized_tuning import (
    normalized_gd_crossover,
    normalized_gd_overshoot,
    normalized_gd_rate_exponent,
    normalized_gd_tuned_loss,
    normalized_gd_tuned_rate,
)
from theory.norms import (
    NORMS,
    dual_norm,
    lmo,
    norm,
    polar_factor,
)
from theory.optimal_schedule import optimal_schedule
from theory.phases import (
    from_random_features,
    phase,
    random_feature_floor,
    random_feature_resolution,
    to_random_features,
)
from theory.problem import PowerLawQuadratic, power_law
from theory.schedule_bounds import convex_bound_terms, tuned_convex_bound
from theory.scheduled_descent import scheduled_gd, scheduled_sgd
from theory.schedules import schedule_rates, tuned_sgd_exponents
from theory.segmented_descent import segmented_sgd
from theory.sgd import (
    critical_learning_rate,
    propagator,
    sgd,
    stability_sum,
)
from theory.sgd_batch import gd_curves, sgd_curves
from theory.sgd_momentum import sgd_momentum, stepped_sgd_momentum
from theory.sign_methods import (
    SignExponents,
    scheduled_sign_descent,
    sign_descent,
    sign_descent_error,
    sign_descent_exponents,
    sign_floor,
)
from theory.sign_sgd import (
    expected_sign,
    one_pass_sign_plateau,
    one_pass_sign_sgd,
    sign_sgd,
    sign_sgd_plateau,
)
from theory.smooth_schedules import constant_pieces, smooth_sgd
from theory.spectrum import (
    Spectrum,
    approximation_error,
    compress,
    explicit_spectrum,
)
from theory.zipf import (
    SignDescent,
    zipf_gd,
    zipf_gd_constant,
    zipf_gd_harmonic,
    zipf_gd_integral,
    zipf_gd_limit,
    zipf_gd_steps,
    zipf_sign,
    zipf_sign_limit,
    zipf_sign_steps,
    zipf_sign_tuned,
)

__all__ = [
    "NORMS",
    "Chinchilla",
    "Decomposition",
    "Fit",
    "PowerLawQuadratic",
    "Runs",
    "SignDescent",
    "SignExponents",
    "Spectrum",
    "accelerated_exponent",
    "aligned_problem",
    "aligned_spectrum",
    "approximation_error",
    "bootstrap",
    "chebyshev",
    "chebyshev_asymptote",
    "chebyshev_edge",
    "chinchilla",
    "compress",
    "compute_exponents",
    "compute_optimal",
    "conditioning",
    "conjugate_gradients",
    "conjugate_gradients_exponent",
    "constant_pieces",
    "convex_bound_terms",
    "critical_learning_rate",
    "dana",
    "dana_exponents",
    "dual_norm",
    "expected_sign",
    "explicit_spectrum",
    "fit_chinchilla",
    "from_random_features",
    "gd",
    "gd_asymptote",
    "gd_asymptote_window",
    "gd_curves",
    "heavy_ball",
    "jacobi_constant",
    "jacobi_heavy_ball",
    "kronecker_spectrum",
    "lmo",
    "loss_exponents",
    "momentum_asymptote",
    "momentum_noise_floor",
    "momentum_stability_sum",
    "nesterov",
    "nesterov_growing",
    "nesterov_growing_asymptote",
    "newton_schulz",
    "norm",
    "normalized_gd",
    "normalized_gd_crossover",
    "normalized_gd_floor",
    "normalized_gd_overshoot",
    "normalized_gd_rate_exponent",
    "normalized_gd_steps",
    "normalized_gd_tuned_loss",
    "normalized_gd_tuned_rate",
    "normalized_sgd",
    "normalized_sgd_plateau",
    "one_pass_sign_plateau",
    "one_pass_sign_sgd",
    "optimal_schedule",
    "percentile_intervals",
    "phase",
    "polar_factor",
    "power_law",
    "preconditioned_gd",
    "propagator",
    "random_feature_floor",
    "random_feature_resolution",
    "reached_range",
    "runs",
    "schedule_rates",
    "scheduled_gd",
    "scheduled_sgd",
    "scheduled_sign_descent",
    "segmented_sgd",
    "sgd",
    "sgd_curves",
    "sgd_momentum",
    "sign_descent",
    "sign_descent_error",
    "sign_descent_exponents",
    "sign_floor",
    "sign_sgd",
    "sign_sgd_plateau",
    "smooth_sgd",
    "spectral_descent",
    "stability_sum",
    "stationary_loss",
    "stepped_sgd_momentum",
    "to_random_features",
    "tuned_convex_bound",
    "tuned_sgd_exponents",
    "warnings_of",
    "zipf_gd",
    "zipf_gd_constant",
    "zipf_gd_harmonic",
    "zipf_gd_integral",
    "zipf_gd_limit",
    "zipf_gd_steps",
    "zipf_sign",
    "zipf_sign_limit",
    "zipf_sign_steps",
    "zipf_sign_tuned",
]
