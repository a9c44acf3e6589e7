"""The distance budget and the limit of small batches: against walks, sampling and sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from theory.noise_gain import noise_efficiency, noise_gain, step_square
from theory.norm_transfer import (
    ALIGNED,
    ball_loss,
    diagonal_norm,
    distance_rate,
    norm_limit,
    settled_norm,
)
from theory.norms import NORMS, lmo, norm
from theory.problem import power_law
from theory.small_batch_steps import (
    small_batch_optimum,
    small_batch_weights,
    transfer_exponents,
)

from .tolerances import SAME_MATHS, Z_SCORE

SHAPE = (3, 5)


def numpy_lmo(name, g):
    """Minus the duality maps, on the last two axes."""
    rows, columns = g.shape[-2:]
    length = lambda axis: np.sqrt(np.sum(g**2, axis=axis, keepdims=True))
    if name in ("spectral", "rms_to_rms"):
        left, _, right = np.linalg.svd(g, full_matrices=False)
        return -(left @ right) * ((rows / columns) ** 0.5 if name == "rms_to_rms" else 1.0)
    return -{
        "max": lambda: np.sign(g),
        "euclidean": lambda: g / length((-2, -1)),
        "one_to_rms": lambda: g / length(-2) * rows**0.5,
        "rms_to_inf": lambda: g / length(-1) / columns**0.5,
    }[name]()


@pytest.mark.parametrize("decay", [0.0, 0.4, 5.0])
def test_no_run_leaves_its_budget_and_one_straight_ahead_uses_it(decay):
    eta, start = 0.2, 0.7
    rng = np.random.default_rng(1)
    straight, wild = np.full(4, start), rng.choice([-start, start], 4)
    for count in range(6):
        limit = float(norm_limit(eta, float(count), start, decay))
        assert np.abs(straight).max() == pytest.approx(limit, rel=SAME_MATHS)
        assert np.abs(wild).max() <= limit * (1 + SAME_MATHS)
        straight = (1 - eta * decay) * straight + eta
        wild = (1 - eta * decay) * wild + eta * rng.choice([-1.0, 1.0], 4)


def test_the_budget_of_small_decay_is_continuous_and_of_long_runs_the_inverse_decay():
    assert float(norm_limit(0.1, 50.0, 2.0, 1e-14)) == pytest.approx(7.0, rel=1e-11)
    assert float(norm_limit(0.1, 1e6, 2.0, 0.5)) == pytest.approx(2.0, rel=SAME_MATHS)
    assert np.all(np.diff(norm_limit(0.1, np.arange(9.0), 0.0, 0.5)) > 0)


@pytest.mark.parametrize("decay", [0.3, 2.0])
def test_the_norm_settles_at_the_target_or_at_the_inverse_decay(decay):
    lam, target = np.array([1.0, 0.5, 0.2]), np.array([0.3, -0.9, 1.7])
    eta, w = 1e-3, np.zeros(3)
    for _ in range(round(20 / (eta * decay))):
        w = (1 - eta * decay) * w - eta * np.sign(lam * (w - target))
    expected = [float(settled_norm(abs(x), decay)) for x in target]
    # One step of eta, and of eta times the decay, to either side.
    np.testing.assert_allclose(np.abs(w), expected, atol=eta * (1 + decay))
    assert float(settled_norm(np.inf, decay)) == pytest.approx(1 / decay, rel=SAME_MATHS)
    assert np.abs(w).max() == pytest.approx(float(settled_norm(1.7, decay)), abs=2 * eta)


@pytest.mark.parametrize("name", ALIGNED)
def test_the_norm_of_a_diagonal_matrix(name):
    matrix = np.zeros((4, 6))
    np.fill_diagonal(matrix, [0.3, -2.0, 0.7, 1.1])
    found = float(norm(name, jnp.asarray(matrix)))
    assert 2.0 * diagonal_norm(name, (4, 6)) == pytest.approx(found, rel=SAME_MATHS)


@pytest.mark.parametrize("name", ["max", "spectral", "rms_to_rms"])
def test_no_point_of_the_ball_has_a_smaller_loss(name):
    rng = np.random.default_rng(2)
    left, right = np.array([1.0, 0.6, 0.3]), np.array([1.0, 0.7, 0.5, 0.1])
    size, lam = np.array([1.0, 0.8, 0.4]), left * right[:3]
    target, radius = np.zeros((3, 4)), 0.6
    np.fill_diagonal(target, size)
    allowed = radius / diagonal_norm(name, (3, 4))
    bound = float(ball_loss(lam, size, allowed))
    loss = lambda w: np.sum(left[:, None] * right * (w - target) ** 2) / 2
    closest = np.zeros((3, 4))
    np.fill_diagonal(closest, np.minimum(size, allowed))
    assert loss(closest) == pytest.approx(bound, rel=SAME_MATHS)
    assert float(norm(name, jnp.asarray(closest))) == pytest.approx(radius, rel=SAME_MATHS)
    # Frank-Wolfe finds the minimum over the ball without knowing where it is.
    w = np.zeros((3, 4))
    for count in range(3000):
        gradient = left[:, None] * right * (w - target)
        gap = np.sum(gradient * (w - radius * numpy_lmo(name, gradient)))
        w += 2 / (count + 2) * (radius * numpy_lmo(name, gradient) - w)
    # Its gap bounds how far it is from the minimum.
    assert bound <= loss(w) * (1 + SAME_MATHS)
    assert loss(w) - bound <= gap + 1e-3 * bound
    near = closest + 1e-2 * rng.normal(size=(200, 3, 4))
    for point in near:
        point *= min(1.0, radius / float(norm(name, jnp.asarray(point))))
        assert loss(point) >= bound * (1 - SAME_MATHS)


def phase_averaged_loss(lam, target, eta, steps, phases=400):
    """Sign descent from all starts within a step, mean of the last two losses."""
    error = target + eta * (np.arange(phases)[:, None] + 0.5) / phases * np.sign(target)
    before = error
    for _ in range(steps):
        before, error = error, error - eta * np.sign(error)
    return np.mean(np.sum(lam * (error**2 + before**2), axis=1)) / 4


def tuned_by_search(lam, target, steps):
    """The farthest coordinate alone starts at zero, and does not quite arrive."""
    far = int(np.argmax(np.abs(target)))
    others = np.delete(lam, far), np.delete(target, far)

    def loss(eta):
        left = max(target[far] - eta * steps, 0.0)
        return phase_averaged_loss(*others, eta, steps) + lam[far] * left**2 / 2

    top = target[far] / steps
    return minimize_scalar(
        loss, bounds=(0.8 * top, 1.05 * top), method="bounded", options={"xatol": 1e-9}
    ).x


def test_the_tuned_rate_without_noise_is_the_distance_over_the_steps():
    lam, target = np.array([1.0, 0.5, 0.2, 0.1]), np.array([0.4, -0.5, 1.5, 0.1])
    gaps, corrected = [], []
    for steps in (12, 24, 48):
        found = tuned_by_search(lam, target, steps)
        gaps.append(1 - found * steps / 1.5)
        corrected.append(abs(float(distance_rate(lam, target, float(steps))) / found - 1))
    # The rate comes to R/K from below, as K^-2, and the stated correction takes most of the gap.
    assert np.all(np.array(gaps) > 0)
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]
    assert np.all(np.array(corrected) < 0.05 * np.array(gaps))


def tied_by_search(lam, target, steps, tied):
    """As `tuned_by_search`, with several coordinates that all start at zero equally far away."""
    far = np.abs(target) >= np.abs(target).max() * (1 - 1e-12)
    assert far.sum() == tied
    top = np.abs(target).max() / steps

    def loss(eta):
        left = max((top - eta) * steps, 0.0)
        near = phase_averaged_loss(lam[~far], target[~far], eta, steps)
        return near + sum(lam[far]) * left**2 / 2

    return minimize_scalar(
        loss, bounds=(0.8 * top, 1.05 * top), method="bounded", options={"xatol": 1e-9}
    ).x


def test_coordinates_that_are_equally_far_pull_together():
    lam, target = np.array([1.0, 0.2, 0.5, 0.3]), np.array([0.4, -1.5, 1.5, 1.5 * (1 - 1e-14)])
    for steps in (12, 24):
        found = tied_by_search(lam, target, steps, 3)
        gap = 1 - found * steps / 1.5
        assert gap > 0
        rate = float(distance_rate(lam, target, float(steps)))
        assert abs(rate / found - 1) < 0.05 * gap
        # The order does not matter, nor which of them comes first.
        turned = float(distance_rate(lam[::-1].copy(), target[::-1].copy(), float(steps)))
        assert turned == pytest.approx(rate, rel=SAME_MATHS)
    # With nobody else on the way the rate is the distance over the steps.
    assert float(distance_rate(lam, np.ones(4), 8.0)) == pytest.approx(1 / 8, rel=SAME_MATHS)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(3, 5), (6, 6)])
def test_the_gain_is_the_mean_step_of_a_faint_gradient(name, shape):
    rng = np.random.default_rng(6)
    g = 0.1 * rng.normal(size=shape)
    noise = rng.normal(size=(20_000, *shape))
    # The same noise with either sign of the gradient: only what the gradient does is left.
    moved = (numpy_lmo(name, noise + g) - numpy_lmo(name, noise - g)) / 2
    along = np.sum(moved * g, axis=(1, 2)) / np.sum(g**2)
    error = np.std(along) / np.sqrt(along.size)
    # Third order in the gradient, and what is stated for the nuclear norm.
    slack = np.mean(g**2) + (0.15 / 9 if name in ("spectral", "rms_to_rms") else 0.0)
    gain = noise_gain(name, shape)
    assert -along.mean() == pytest.approx(gain, abs=Z_SCORE * error + gain * slack)
    assert Z_SCORE * error + gain * slack < 0.06 * gain
    # The mean step has no other direction.
    rest = moved.mean(axis=0) + gain * g
    spread = np.std(moved, axis=0) / np.sqrt(len(moved))
    assert np.all(np.abs(rest) < Z_SCORE * spread + 0.03 * gain * np.abs(g).max())


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_the_square_of_a_step(name, shape):
    g = np.random.default_rng(3).normal(size=shape)
    step = np.asarray(lmo(name, jnp.asarray(g)))
    assert step_square(name, shape) == pytest.approx(np.sum(step**2), rel=1e-10)


def test_efficiencies_have_their_limits():
    large = (400, 400)
    assert noise_efficiency("max", large) == pytest.approx(2 / np.pi, rel=SAME_MATHS)
    assert noise_efficiency("spectral", large) == pytest.approx((8 / (3 * np.pi)) ** 2, rel=5e-3)
    for name in ("euclidean", "one_to_rms", "rms_to_inf"):
        assert 0.998 < noise_efficiency(name, large) < 1.0
    # A very long matrix of noise has equal singular values: its polar factor is all signal.
    assert noise_efficiency("spectral", (2, 4000)) == pytest.approx(1.0, abs=2e-3)
    for name in NORMS:
        assert noise_efficiency(name, (3, 5)) <= 1.0
    assert noise_gain("max", (7,)) == pytest.approx(np.sqrt(2 / np.pi), rel=SAME_MATHS)
    with pytest.raises(ValueError, match="matrix"):
        noise_gain("spectral", (7,))


@pytest.mark.parametrize("name", ["max", "rms_to_inf", "rms_to_rms"])
def test_small_batches_give_the_predicted_weights(name):
    rng = np.random.default_rng(12)
    lam = np.broadcast_to(np.array([1.0, 0.5, 0.3, 0.2]), (4, 4))
    target = 0.02 * rng.normal(size=(4, 4))
    eta, noise, batch, steps, seeds = 2e-3, 3.0, 4.0, 400, 600
    if name == "rms_to_inf":
        eta *= 4
    w = np.zeros((seeds, 4, 4))
    for _ in range(steps):
        gradient = lam * (w - target) + noise / np.sqrt(batch) * rng.normal(size=w.shape)
        w += eta * numpy_lmo(name, gradient)
    found = small_batch_weights(name, lam, target, noise, eta, batch, float(steps))
    mean_error = w.std(axis=0) / np.sqrt(seeds)
    assert np.all(np.abs(w.mean(axis=0) - found.mean) < Z_SCORE * mean_error)
    # One common variance along a column, from 4 rows of independent entries, nearly Gaussian.
    variances = w.var(axis=0).mean(axis=0)
    allowed = Z_SCORE * np.sqrt(2 / (4 * seeds)) + 0.02
    np.testing.assert_allclose(variances / found.variance[0], 1.0, atol=allowed)
    losses = np.sum(lam * (w - target) ** 2, axis=(1, 2)) / 2
    error = losses.std() / np.sqrt(seeds)
    assert float(found.loss(lam, target)) == pytest.approx(
        losses.mean(), abs=Z_SCORE * error + 0.02 * losses.mean()
    )
    np.testing.assert_allclose(found.square, found.mean**2 + found.variance, rtol=SAME_MATHS)


def test_small_batch_weights_have_their_limits():
    lam, target = jnp.asarray([[0.0, 1.0]]), jnp.asarray([[2.0, 3.0]])
    start = small_batch_weights("max", lam, target, 1.0, 0.1, 1.0, 0.0)
    assert np.all(np.asarray(start.square) == 0)
    # A flat direction is a random walk; one of rate h lam >= 1 arrives in one step.
    walk = small_batch_weights("max", lam, target, 1.0, 0.1, 1e6, 9.0)
    np.testing.assert_allclose(walk.variance, [[9 * 0.01, 0.01]], rtol=SAME_MATHS)
    np.testing.assert_allclose(walk.mean, [[0.0, 3.0]], rtol=SAME_MATHS)
    assert np.isfinite(
        jax.grad(
            lambda eta: small_batch_weights("max", lam, target, 1.0, eta, 1e6, 9.0).square.sum()
        )(0.1)
    )


def exact_optimum(capacity, source, noise_square, tokens, batch, modes=200_000):
    """Loss of `small_batch_weights` summed mode by mode, minimised over x = h/B."""
    lam = np.arange(1.0, modes + 1) ** -capacity
    energy = np.arange(1.0, modes + 1) ** -source
    # Beyond, nothing is learned, and weights walk: sums of energies and eigenvalues.
    energies, eigenvalues = ((modes + 0.5) ** (1 - p) / (p - 1) for p in (source, capacity))

    def loss(log_x):
        h, steps = batch * np.exp(log_x), tokens / batch
        kept = np.exp(2 * steps * np.log1p(-h * lam))
        noise = h * noise_square / batch * (1 - kept) / (2 - h * lam)
        walk = h**2 * noise_square / batch * steps * eigenvalues
        return (np.sum(energy * kept + noise) + energies + walk) / 2

    found = minimize_scalar(loss, bounds=(-16.0, -1.0), method="bounded", options={"xatol": 1e-10})
    return np.exp(found.x), found.fun


@pytest.mark.parametrize(("capacity", "source"), [(1.5, 1.5), (2.0, 3.5)])
def test_the_tuned_rate_of_small_batches_is_that_of_exact_sums(capacity, source):
    problem, noise = power_law(capacity, source, 1e6), 0.3
    slopes, gaps = [], []
    for tokens in (1e4, 1e6, 1e8):
        x, loss = small_batch_optimum(problem, noise, tokens)
        exact_x, exact_loss = exact_optimum(capacity, source, noise, tokens, 1.0)
        gaps.append(max(abs(float(x) / exact_x - 1), abs(float(loss) / exact_loss - 1)))
        slopes.append(exact_x)
        # The loss ties: a batch twice as large has the same x and the same loss.
        other_x, other_loss = exact_optimum(capacity, source, noise, tokens, 2.0)
        assert other_x == pytest.approx(exact_x, rel=0.05)
        assert other_loss == pytest.approx(exact_loss, rel=0.02)
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.01
    powers = transfer_exponents(problem)
    found = np.diff(np.log(slopes)) / np.log(100.0)
    assert found[1] == pytest.approx(powers.rate_tokens, abs=0.01)
    assert abs(found[1] - powers.rate_tokens) < abs(found[0] - powers.rate_tokens)


def test_exponents_where_the_bound_and_the_quadratic_agree():
    even = transfer_exponents(power_law(1.5, 1.5, 1e6))
    assert even.rate_batch == 0.5
    assert even.rate_tokens == pytest.approx(-0.5, rel=SAME_MATHS)
    assert even.batch_tokens == pytest.approx(0.5, rel=SAME_MATHS)
    assert even.best_rate_tokens == pytest.approx(-0.25, rel=SAME_MATHS)
    assert even.norm_tokens == pytest.approx(1 / 6, rel=SAME_MATHS)


@pytest.mark.parametrize(("capacity", "source"), [(2.0, 1.6), (2.0, 2.0), (2.0, 4.5)])
def test_norms_at_the_optimum_grow_or_not_as_derived(capacity, source):
    problem, modes = power_law(capacity, source, 1e6), np.arange(1.0, 100_001)
    lam, target = modes**-capacity, modes ** ((capacity - source) / 2)
    # Noise of 0.3 an entry under sign steps, whose efficiency is 2/pi.
    noise, learned, walked = np.sqrt(0.3 * 2 / np.pi), [], []
    for tokens in (1e8, 1e10):
        x, _ = small_batch_optimum(problem, 0.3, tokens)
        eta = float(x) * noise / noise_gain("max", (1,))
        weights = small_batch_weights("max", lam, target, noise, eta, 1.0, tokens)
        edge = (2 * float(x) * tokens) ** (1 / capacity)
        known, far = np.asarray(weights.square)[modes < edge], np.asarray(weights.variance)[-1]
        learned.append(np.sqrt(known.sum()))
        walked.append(np.sqrt(far))
    powers = transfer_exponents(problem)
    growth = [np.log(pair[1] / pair[0]) / np.log(100.0) for pair in (learned, walked)]
    assert growth == pytest.approx([powers.norm_tokens, powers.walk_tokens], abs=0.02)


def test_walks_of_one_length_and_the_square_root_rule_are_the_same():
    flat, far = jnp.zeros((4, 4)), jnp.ones((4, 4))
    sizes = [
        small_batch_weights(
            "rms_to_inf", flat, far, 1.0, 0.1 * (batch / 64) ** 0.5, batch, 1e4 / batch
        )
        for batch in (1.0, 64.0)
    ]
    np.testing.assert_allclose(sizes[0].variance, sizes[1].variance, rtol=SAME_MATHS)
    length = float(jnp.sqrt(jnp.sum(sizes[1].variance)))
    assert length == pytest.approx(
        0.1 * (1e4 / 64) ** 0.5 * step_square("rms_to_inf", (4, 4)) ** 0.5
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: norm_limit(-0.1, 3.0), "`learning_rate`"),
        (lambda: norm_limit(0.1, -1.0), "`steps`"),
        (lambda: norm_limit(0.5, 3.0, 0.0, 3.0), r"`learning_rate \* weight_decay`.*got 1.5"),
        (lambda: settled_norm(1.0, 0.0), "`weight_decay`"),
        (lambda: settled_norm(-1.0, 1.0), "`target_norm`"),
        (lambda: settled_norm(np.nan, 1.0), "`target_norm`"),
        (lambda: diagonal_norm("euclidean", (2, 2)), "`norm` must be one of max"),
        (lambda: diagonal_norm("max", (0, 2)), "`shape`"),
        (lambda: ball_loss([1.0], [1.0, 2.0], 0.1), "one length"),
        (lambda: ball_loss([1.0], [1.0], -0.1), "`radius`"),
        (lambda: distance_rate([1.0, 2.0], [0.0, 0.0], 3.0), "`target`"),
        (lambda: distance_rate([1.0], [1.0], 0.0), "`steps`"),
        (lambda: small_batch_weights("max", [1.0], [1.0], 0.0, 0.1, 1.0, 1.0), "`noise_std`"),
        (lambda: small_batch_weights("max", [1.0], [1.0, 2.0], 1.0, 0.1, 1.0, 1.0), "`target`"),
        (lambda: small_batch_weights("max", [1.0], [1.0], 1.0, 0.1, 0.0, 1.0), "`batch_size`"),
        (lambda: small_batch_optimum(power_law(1.0, 2.0, 9), 1.0, 9.0), "`capacity_exponent`"),
        (lambda: small_batch_optimum(power_law(1.5, 2.0, 9), 0.0, 9.0), "`noise_square`"),
        (lambda: transfer_exponents(power_law(0.9, 2.0, 9)), "`capacity_exponent`"),
        (lambda: step_square("nuclear", (2, 2)), "`norm` must be one of"),
    ],
)
def test_arguments_outside_their_domain_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
