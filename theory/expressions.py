"""Posynomials read from small expressions.

    "Delta/(eta*K) + 2*rho*sigma*sqrt(alpha/B) + L*eta*(7/2 + 2/alpha) + (eta*T)^(-8/15)"

Numbers, names, + * / ^ (or **), brackets and sqrt; products of sums are expanded. Exponents are
kept as fractions. An expression is read through `ast` and never run.
"""

import ast
import math
from fractions import Fraction

from theory.posynomial import Monomial, monomial

MAX_LENGTH = 4000  # characters of an expression
MAX_POWER = 8  # of a sum of several terms
MAX_TERMS = 200


def parse_posynomial(text: str) -> tuple[Monomial, ...]:
    """The monomials of an expression, in the order written, like ones added.

    Args:
        text: such as "Delta/(eta*K) + 2*sigma*sqrt(alpha/B)".

    Returns:
        The monomials.

    Raises:
        ValueError: if it is no sum of monomials with positive coefficients, in one line that names
            the part that is not.

    Kind: definition.
    Valid: any text; nothing is run.
    Source: none needed.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError("the expression is empty.")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the expression is longer than {MAX_LENGTH} characters.")
    try:
        tree = ast.parse(text.strip().replace("^", "**").replace("\n", " "), mode="eval")
        terms = _read(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read {_short(text)}: not an expression.") from error
    except OverflowError as error:
        raise ValueError(f"a number in {_short(text)} is too large.") from error
    for term in terms:
        if not (0.0 < term.coefficient < math.inf):
            raise ValueError(
                f"{_short(text)} is no posynomial: it has a term with coefficient "
                f"{term.coefficient:g}; all must be positive and finite."
            )
    return tuple(monomial(term.coefficient, term.exponents) for term in terms)


def parse_monomial(text: str) -> Monomial:
    """One monomial, such as "T/B" or "0.5*T^(1/2)".

    Args:
        text: the expression.

    Returns:
        The monomial.

    Raises:
        ValueError: if it is not one term with a positive coefficient.

    Kind: definition.
    Valid: any text; nothing is run.
    Source: none needed.
    """
    terms = parse_posynomial(text)
    if len(terms) != 1:
        raise ValueError(f"{_short(text)} must be one term, got {len(terms)}.")
    return terms[0]


def parse_fraction(text: str) -> Fraction:
    """A rational number such as "-8/15" or "0.25", exactly.

    Args:
        text: the number, or sums, products and quotients of numbers.

    Returns:
        The fraction.

    Raises:
        ValueError: if it is no number.

    Kind: exact.
    Valid: decimal numbers are taken as written.
    Source: none needed.
    """
    try:
        return _rational(ast.parse(str(text).strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read the number {_short(str(text))}.") from error


def _read(node: ast.expr) -> list[Monomial]:
    """Terms of a syntax tree; coefficients are not checked yet."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return [Monomial(float(number))]
        case ast.Name(id=name):
            return [Monomial(1.0, {name: Fraction(1)})]
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _read(inner)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return [_scaled(term, -1.0) for term in _read(inner)]
        case ast.Call(func=ast.Name(id="sqrt"), args=[inner], keywords=[]):
            return [_power(_single(inner), Fraction(1, 2))]
        case ast.BinOp():
            return _combined(node)
    raise ValueError(f"{_short(ast.unparse(node))} is not allowed; use + * / ^, brackets, sqrt().")


def _combined(node: ast.BinOp) -> list[Monomial]:
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _gathered([*_read(left), *_read(right)])
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _gathered([*_read(left), *(_scaled(term, -1.0) for term in _read(right))])
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _product(_read(left), _read(right))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _product(_read(left), [_power(_single(right), Fraction(-1))])
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _raised(left, _rational(right))
    raise ValueError(f"{_short(ast.unparse(node))} is not allowed; use + * / ^, brackets, sqrt().")


def _scaled(term: Monomial, factor: float) -> Monomial:
    return Monomial(term.coefficient * factor, term.exponents)


def _product(left: list[Monomial], right: list[Monomial]) -> list[Monomial]:
    if len(left) * len(right) > MAX_TERMS:
        raise ValueError(f"the expression has more than {MAX_TERMS} terms.")
    products = []
    for x in left:
        for y in right:
            names = {**x.exponents, **y.exponents}
            powers = {name: x.exponent(name) + y.exponent(name) for name in names}
            products.append(Monomial(x.coefficient * y.coefficient, powers))
    return _gathered(products)


def _gathered(terms: list[Monomial]) -> list[Monomial]:
    """Like terms added; a term that cancels is dropped."""
    sums: dict[tuple, float] = {}
    for term in terms:
        key = tuple((name, value) for name, value in sorted(term.exponents.items()) if value)
        sums[key] = sums.get(key, 0.0) + term.coefficient
    if len(sums) > MAX_TERMS:
        raise ValueError(f"the expression has more than {MAX_TERMS} terms.")
    kept = [Monomial(value, dict(key)) for key, value in sums.items() if value]
    return kept or [Monomial(0.0)]


def _single(node: ast.expr) -> Monomial:
    terms = _read(node)
    if len(terms) != 1:
        raise ValueError(
            f"{_short(ast.unparse(node))} is a sum; only single terms may be divided by, or raised "
            "to a power that is no whole number."
        )
    if terms[0].coefficient <= 0.0:
        raise ValueError(f"{_short(ast.unparse(node))} must be positive.")
    return terms[0]


def _power(term: Monomial, power: Fraction) -> Monomial:
    scaled = {name: value * power for name, value in term.exponents.items()}
    return Monomial(term.coefficient ** float(power), scaled)


def _raised(base: ast.expr, power: Fraction) -> list[Monomial]:
    terms = _read(base)
    if len(terms) == 1 and terms[0].coefficient > 0.0:
        return [_power(terms[0], power)]
    if power.denominator != 1 or not 1 <= power <= MAX_POWER:
        return [_power(_single(base), power)]
    result = terms
    for _ in range(int(power) - 1):
        result = _product(result, terms)
    return result


def _rational(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if not math.isfinite(number):
                raise ValueError("an exponent is infinite.")
            return Fraction(repr(number))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_rational(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _rational(inner)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            return _arithmetic(_rational(left), node.op, _rational(right))
    raise ValueError(f"the exponent {_short(ast.unparse(node))} must be a number.")


def _arithmetic(left: Fraction, sign: ast.operator, right: Fraction) -> Fraction:
    if isinstance(sign, ast.Add):
        return left + right
    if isinstance(sign, ast.Sub):
        return left - right
    if isinstance(sign, ast.Mult):
        return left * right
    if right == 0:
        raise ValueError("an exponent divides by zero.")
    return left / right


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 60 else flat[:57] + "...")
