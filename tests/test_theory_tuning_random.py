"""The engine on random bounds: linear programs, certificates of optimality, brute force."""

from fractions import Fraction as Fr
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from theory.bound_formula import Range, bound_formula, budget
from theory.geometric_program import LogProgram, minimise
from theory.newton_polytope import Order, ladder, runaway
from theory.posynomial import monomial
from theory.rational_algebra import cone, graded_basis, null_basis, polyhedron
from theory.tuned_optimum import optimum
from theory.tuning import derive

NAMES = ("x", "y", "z")
BUDGETS = {"samples": budget("T", {})}
CERTIFIED = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(
    max_examples=1000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Shrinking a failure among a thousand would take longer than finding it.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@st.composite
def random_bounds(draw):
    """Posynomials whose exponents add up to zero in each variable: a minimum exists."""
    size = draw(st.integers(1, 3))
    power = st.fractions(-2, 2, max_denominator=4)
    rows = draw(st.lists(st.lists(power, min_size=size, max_size=size), min_size=size, max_size=6))
    rows = [row for row in rows if any(row)] or [[Fr(1)] * size]
    rows.append([-sum((row[k] for row in rows), Fr(0)) for k in range(size)])
    for k in range(size):
        if not any(row[k] for row in rows):
            rows += [[Fr(sign * (k == j)) for j in range(size)] for sign in (1, -1)]
    offsets = draw(st.lists(power, min_size=len(rows), max_size=len(rows)))
    if not any(offsets):
        offsets[0] = Fr(-1)
    factors = draw(st.lists(st.floats(0.05, 20.0), min_size=len(rows), max_size=len(rows)))
    terms = {
        f"t{i}": str(monomial(float(f"{c:.6g}"), {"T": b, **dict(zip(NAMES, row, strict=False))}))
        for i, (row, b, c) in enumerate(zip(rows, offsets, factors, strict=True))
    }
    ends = draw(st.lists(st.sampled_from(["", "low", "high", "both"]), min_size=3, max_size=3))
    ranges = {
        name: Range(
            0.5 if end in ("low", "both") else None, 4.0 if end in ("high", "both") else None
        )
        for name, end in zip(NAMES[:size], ends, strict=False)
    }
    return bound_formula("random", terms, ranges=ranges, budgets=BUDGETS), NAMES[:size]


def certificate(laws, best):
    """Lower bound on the minimum from the shares of the terms: the dual program."""
    problem = laws.problem
    size = len(problem.tuned)
    units = [tuple(Fr(int(i == k)) for i in range(size)) for k in range(size)]
    program = problem.program(best.log_budget, units)
    shares = np.array(list(best.terms.values()))
    pressure = np.zeros(len(problem.limits))
    for text, value in zip(best.active, best.multipliers, strict=True):
        pressure[[limit.text for limit in problem.limits].index(text)] = max(value, 0.0)
    residual = program.rows.T @ shares + program.limit_rows.T @ pressure
    entropy = -np.sum(shares[shares > 0] * np.log(shares[shares > 0]))
    return shares @ program.offsets + entropy - pressure @ program.limits, residual, program


def check_optimum(bound, names, amount):
    laws = derive(bound, names, "samples")
    best = optimum(laws, amount)
    lower, residual, program = certificate(laws, best)
    assert np.max(np.abs(residual)) < 1e-9
    assert best.log_bound == pytest.approx(lower, abs=1e-8)
    point = np.array([best.log_values[name] for name in names])
    assert np.all(np.abs(point) < 1000.0)
    assert np.all(program.slack(point) > -1e-8)
    brute = brute_force(bound, names, amount)
    # Brute force may stop early but can never be lower.
    assert best.bound <= brute * (1 + 1e-9)
    assert best.bound == pytest.approx(brute, rel=1e-8)


def brute_force(bound, names, amount):
    """Smallest sum over box-constrained descents from two starts, without the engine."""
    terms = list(bound.terms.values())
    rows = np.array([[float(term.exponent(name)) for name in names] for term in terms])
    logs = np.array(
        [np.log(term.coefficient) + float(term.exponent("T")) * np.log(amount) for term in terms]
    )
    box = [
        tuple(None if end is None else np.log(end) for end in (r.at_least, r.at_most))
        for r in (bound.ranges[name] for name in names)
    ]

    def value(u):
        sizes = logs + rows @ u
        top = sizes.max()
        total = np.exp(sizes - top).sum()
        return top + np.log(total), (np.exp(sizes - top) / total) @ rows

    best = np.inf
    for start in (np.zeros(len(names)), -2.0 * np.ones(len(names))):
        u = start
        for _ in range(4):
            found = minimize(
                value, u, jac=True, method="L-BFGS-B", bounds=box,
                options={"ftol": 1e-16, "gtol": 1e-13, "maxiter": 4000, "maxfun": 20000},
            )  # fmt: skip
            u = found.x
        best = min(best, found.fun)
    return np.exp(best)


@CERTIFIED
@given(random_bounds(), st.sampled_from([1.0, 30.0, 1e4]))
def test_the_optimum_is_certified_and_equals_brute_force(random, amount):
    check_optimum(*random, amount)


@pytest.mark.slow
@MANY
@given(random_bounds(), st.sampled_from([1.0, 30.0, 1e4]))
def test_a_thousand_optima_are_certified_and_equal_brute_force(random, amount):
    check_optimum(*random, amount)


def check_exponents(bound, names):
    laws = derive(bound, names, "samples")
    # Far enough that terms smaller by the least power, T^(-1/100) or so, have died out.
    low, high = 3e4, 4e4
    ends = [optimum(laws, log_budget=far) for far in (low, high)]
    slope = (ends[1].log_bound - ends[0].log_bound) / (high - low)
    assert slope == pytest.approx(float(laws.rate.order), abs=1e-4)
    assert ends[1].log_bound - float(laws.rate.order) * high == pytest.approx(
        np.log(laws.rate.constant), abs=1e-6
    )


@FEW
@given(random_bounds())
def test_the_rate_and_its_constant_are_those_of_far_optima(random):
    check_exponents(*random)


@pytest.mark.slow
@MANY
@given(random_bounds())
def test_a_thousand_rates_are_those_of_far_optima(random):
    check_exponents(*random)


def resolving_log_budget(laws):
    """Where each level is 1e-14 of the one before and the last not below what a float resolves."""
    orders = [level.order for level in laws.levels[: max(laws.decided, 1) + 1]]
    gaps = [float(a - b) for a, b in pairwise(orders)]
    point = laws.levels[-1].face.vertices[0]
    for row, most in laws.problem.rows:
        room = float(most - sum(a * y for a, y in zip(row, point, strict=True)))
        gaps += [room] if room > 0 else []
    far = 32.0 / min(gaps, default=0.1)
    return far if 1.2 * far * float(laws.levels[0].order - laws.levels[-1].order) < 70.0 else None


@FEW
@given(random_bounds())
def test_hyperparameters_follow_their_exponents_and_constants(random):
    bound, names = random
    laws = derive(bound, names, "samples")
    low = resolving_log_budget(laws)
    if low is None:
        return
    high = 1.2 * low
    first, last = (optimum(laws, log_budget=far).log_values for far in (low, high))
    for law in laws.laws:
        if law.exponent is not None and law.constant is not None:
            slope = (last[law.variable] - first[law.variable]) / (high - low)
            assert slope == pytest.approx(float(law.exponent), abs=1e-4)
            expected = np.log(law.constant) + float(law.exponent) * high
            assert last[law.variable] == pytest.approx(expected, abs=1e-5)


@FEW
@given(random_bounds())
def test_the_leading_order_is_the_optimum_of_a_linear_program(random):
    bound, names = random
    orders = [
        Order(term.exponent("T"), tuple(term.exponent(name) for name in names))
        for term in bound.terms.values()
    ]
    limits = []
    for k, name in enumerate(names):
        unit = [Fr(int(j == k)) for j in range(len(names))]
        if bound.ranges[name].at_most is not None:
            limits.append((tuple(unit), Fr(0)))
        if bound.ranges[name].at_least is not None:
            limits.append((tuple(-x for x in unit), Fr(0)))
    assert runaway(orders, limits) is None
    level = ladder(orders, limits)[0]
    rows = [[*map(float, order.row), -1.0] for order in orders]
    rows += [[*map(float, row), 0.0] for row, _ in limits]
    rhs = [-float(order.offset) for order in orders] + [float(most) for _, most in limits]
    cost = [0.0] * len(names) + [1.0]
    found = linprog(cost, rows, rhs, bounds=(None, None))
    assert float(level.order) == pytest.approx(found.fun, abs=1e-9)
    for vertex in level.face.vertices:
        assert max(order.at(vertex) for order in orders) == level.order
    # The face is whole: along every coordinate it reaches as far as the linear program does.
    fixed = [*rhs, float(level.order) + 1e-9]
    for k in range(len(names)):
        for sign in (1.0, -1.0):
            reach = [0.0] * (len(names) + 1)
            reach[k] = -sign
            far = linprog(reach, [*rows, cost], fixed, bounds=(None, None))
            ways = [
                *level.face.rays,
                *level.face.lines,
                *(tuple(-x for x in w) for w in level.face.lines),
            ]
            if any(sign * way[k] > 0 for way in ways):
                assert far.status == 3
            else:
                ends = max(sign * float(vertex[k]) for vertex in level.face.vertices)
                assert -far.fun == pytest.approx(ends, abs=1e-6)


def test_a_square_has_its_corners_and_a_wedge_its_rays():
    one, none = Fr(1), Fr(0)
    box = [((one, none), one), ((-one, none), none), ((none, one), one), ((none, -one), none)]
    square = polyhedron(2, box)
    assert sorted(square.vertices) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert not square.rays
    wedge = polyhedron(2, box[1::2])
    assert wedge.vertices == ((0, 0),)
    assert sorted(wedge.rays) == [(0, 1), (1, 0)]
    strip = polyhedron(2, box[:2])
    assert strip.lines == ((0, 1),)
    assert polyhedron(2, [*box, ((one, one), Fr(-1))]).vertices == ()
    diagonal = polyhedron(2, box, [((one, one), one)])
    assert sorted(diagonal.vertices) == [(0, 1), (1, 0)]


def test_a_cube_cut_by_many_planes_keeps_only_corners():
    unit = [tuple(Fr(int(i == k)) for i in range(4)) for k in range(4)]
    rows = [(row, Fr(1)) for row in unit] + [(tuple(-x for x in row), Fr(1)) for row in unit]
    corners = polyhedron(4, rows)
    assert len(corners.vertices) == 16
    # A plane cuts off the corner at which all four are one, between it and its four neighbours.
    cut = polyhedron(4, [*rows, (tuple([Fr(1)] * 4), Fr(3))])
    assert len(cut.vertices) == 15 + 4
    middle = polyhedron(4, rows, [(tuple([Fr(1)] * 4), Fr(0))])
    assert len(middle.vertices) == 6


def test_graded_coordinates_leave_leading_rows_alone():
    groups = [[(Fr(1), Fr(0), Fr(-1))], [(Fr(0), Fr(1), Fr(1))]]
    basis = graded_basis(groups, 3)
    dots = [[sum(a * b for a, b in zip(g[0], v, strict=True)) for v in basis] for g in groups]
    assert dots[0][0] != 0
    assert dots[0][1:] == [0, 0]
    assert dots[1][1] != 0
    assert dots[1][2] == 0
    assert null_basis([(Fr(1), Fr(1))], 2) == [(Fr(-1), Fr(1))]


def test_a_runaway_is_seen_and_a_tie_is_not_one():
    up, down = Order(Fr(0), (Fr(1), Fr(0))), Order(Fr(0), (Fr(-1), Fr(-1)))
    direction = runaway([up, down], [])
    assert direction is not None
    assert direction[0] <= 0
    tied = [Order(Fr(0), (Fr(1), Fr(-1))), Order(Fr(0), (Fr(-1), Fr(1)))]
    assert runaway(tied, []) is None
    assert cone(2, [(Fr(1), Fr(-1)), (Fr(-1), Fr(1))]) == ([(1, 1)], [])


def test_limits_that_contradict_each_other_are_refused():
    rows = [((Fr(1),), Fr(-1)), ((Fr(-1),), Fr(0))]
    with pytest.raises(ValueError, match="contradict"):
        ladder([Order(Fr(0), (Fr(1),)), Order(Fr(0), (Fr(-1),))], rows)
    program = LogProgram(
        np.zeros(2), np.array([[1.0], [-1.0]]), np.array([[1.0], [-1.0]]), np.array([-1.0, 0.0])
    )
    with pytest.raises(ValueError, match="no point"):
        minimise(program)
