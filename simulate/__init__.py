"""Runs gradient methods on the proxy problems."""

from simulate.adaptive import (
    adam,
    adamw,
    lion,
    optax_muon,
)
from simulate.bigram import (
    Bigram,
    ExponentEstimate,
    SampledBigram,
    bigram,
    bigram_spectrum,
    measure_exponents,
)
from simulate.dana import dana
from simulate.devices import configuration_mesh, join_hosts, mode_mesh
from simulate.grouped import (
    GroupedMethod,
    layered_adamw,
    layered_signum,
    muon_adamw,
    scion,
)
from simulate.language import Tokenizer, learn_tokens, read_bytes
from simulate.least_squares import (
    DataLeastSquares,
    LeastSquares,
    least_squares,
)
from simulate.lmo import (
    LmoMethod,
    muon,
    normalized_sgd,
    scale_by_lmo,
    scion_hidden,
    scion_input,
    scion_output,
    signum,
    spectral_descent,
)
from simulate.matrix_problems import (
    MatrixLeastSquares,
    MatrixQuadratic,
    matrix_least_squares,
    matrix_quadratic,
)
from simulate.network_problems import NextToken, Regression, next_token, regression
from simulate.networks import Network, deep_linear, language_model, two_layer
from simulate.optimizers import nesterov, sgd
from simulate.problems import (
    DiagonalQuadratic,
    Problem,
    RotatedQuadratic,
    diagonal_quadratic,
    rotated_quadratic,
)
from simulate.quantize import (
    QuantizedProblem,
    Quantizer,
    post_training,
    quantization_aware,
    quantize_network,
)
from simulate.quantized_states import QuantizedMethod, quantized_state, quantized_weights
from simulate.random_features import RandomFeatures, random_features
from simulate.schedules import Scheduled
from simulate.shampoo import Shampoo, shampoo
from simulate.sharded_modes import shard_modes
from simulate.sketched_matrix import SketchedMatrix, sketched_matrix
from simulate.soap import Soap, soap
from simulate.sweep import (
    Ensemble,
    ensemble,
    sweep,
)
from simulate.text import (
    BigramCounts,
    count_bigrams,
    read_text,
)
from simulate.trajectory import (
    NEVER,
    Trajectory,
    record_steps,
    simulate,
)
from simulate.tuning import Tuned, tune_learning_rate

__all__ = [
    "NEVER",
    "Bigram",
    "BigramCounts",
    "DataLeastSquares",
    "DiagonalQuadratic",
    "Ensemble",
    "ExponentEstimate",
    "GroupedMethod",
    "LeastSquares",
    "LmoMethod",
    "MatrixLeastSquares",
    "MatrixQuadratic",
    "Network",
    "NextToken",
    "Problem",
    "QuantizedMethod",
    "QuantizedProblem",
    "Quantizer",
    "RandomFeatures",
    "Regression",
    "RotatedQuadratic",
    "SampledBigram",
    "Scheduled",
    "Shampoo",
    "SketchedMatrix",
    "Soap",
    "Tokenizer",
    "Trajectory",
    "Tuned",
    "adam",
    "adamw",
    "bigram",
    "bigram_spectrum",
    "configuration_mesh",
    "count_bigrams",
    "dana",
    "deep_linear",
    "diagonal_quadratic",
    "ensemble",
    "join_hosts",
    "language_model",
    "layered_adamw",
    "layered_signum",
    "learn_tokens",
    "least_squares",
    "lion",
    "matrix_least_squares",
    "matrix_quadratic",
    "measure_exponents",
    "mode_mesh",
    "muon",
    "muon_adamw",
    "nesterov",
    "next_token",
    "normalized_sgd",
    "optax_muon",
    "post_training",
    "quantization_aware",
    "quantize_network",
    "quantized_state",
    "quantized_weights",
    "random_features",
    "read_bytes",
    "read_text",
    "record_steps",
    "regression",
    "rotated_quadratic",
    "scale_by_lmo",
    "scion",
    "scion_hidden",
    "scion_input",
    "scion_output",
    "sgd",
    "shampoo",
    "shard_modes",
    "signum",
    "simulate",
    "sketched_matrix",
    "soap",
    "spectral_descent",
    "sweep",
    "tune_learning_rate",
    "two_layer",
]
