"""Comparing arrays, and the words for how they differ."""

import warnings
from fractions import Fraction

import numpy as np

from .reference import load
from .verdicts import Missing, Wrong

TOLERANCE = 1e-6  # float32 inside passes; central differences in float64 err by 1e-9


def rng(seed=0):
    return np.random.default_rng(seed)


def as_array(value, shape, what):
    """`value` as a float64 array of that shape; Wrong if it has another shape, or is no array of numbers."""
    if value is None:
        raise Missing(f'{what} returns None: not written yet, or its return is forgotten')
    try:
        array = np.asarray(value.detach() if hasattr(value, 'detach') else value).astype(np.float64)
    except (TypeError, ValueError):
        raise Wrong(f'{what} is a {type(value).__name__} and no array of numbers') from None
    if array.shape != shape:
        hint = f'transposed, it would have the shape {shape}' if array.T.shape == shape else ''
        raise Wrong(f'{what} has the shape {array.shape}, expected {shape}', hint)
    return array


def error(theirs, right):
    """Largest difference relative to the largest entry; infinite for another shape or for what is not finite."""
    theirs, right = np.asarray(theirs, np.float64), np.asarray(right, np.float64)
    if theirs.shape != right.shape or not np.all(np.isfinite(theirs)):
        return np.inf
    return np.max(np.abs(theirs - right), initial=0) / max(np.max(np.abs(right), initial=0), 1e-12)


def agree(theirs, *rights, tolerance=TOLERANCE):
    return any(error(theirs, right) <= tolerance for right in rights)


def numeric_gradient(f, x, dout):
    """Central differences of Σ f(x) · dout; f may write into what it is given."""
    return load('gradient_check').eval_numerical_gradient_array(lambda x: np.array(f(x.copy())), x.copy(), dout)


def difference(theirs, right):
    """How the arrays differ, in words."""
    bad = ~np.isfinite(theirs)
    if bad.any():
        kinds = 'NaN' if np.isnan(theirs[bad]).all() else 'not finite'
        return f'{bad.sum()} of {bad.size} entries are {kinds}' if bad.size > 1 else f'the value is {kinds}'
    if theirs.size == 1:
        return f'the value is {theirs.item():.6g}, expected {right.item():.6g}'
    if not theirs.any():
        return 'all entries are 0'
    factor = np.sum(theirs * right) / max(np.sum(right * right), 1e-300)
    if agree(theirs, factor * right):
        return f'every entry is {_number(factor)} times the right one'
    off = np.abs(theirs - right) > TOLERANCE * np.max(np.abs(right))
    return f'{off.sum()} of {off.size} entries differ, by up to {100 * error(theirs, right):.2g} % of the largest'


def _number(x):
    fraction = Fraction(x).limit_denominator(100)
    close = abs(x - fraction) < 1e-6 * abs(x)
    return str(fraction) if close else f'{x:.4g}'


def explain(theirs, right, formulas, case):
    """The sentence of the first wrong formula whose result is theirs to six digits, but for a factor, or ''."""
    also = ''
    for sentence, formula in formulas:
        try:
            with warnings.catch_warnings(), np.errstate(all='ignore'):
                warnings.simplefilter('ignore')
                result = np.asarray(formula(case), np.float64)
        except (ValueError, AttributeError, IndexError, ZeroDivisionError, np.linalg.LinAlgError):
            continue
        if agree(theirs, result) and not agree(result, right):
            return sentence.format(**vars(case))
        if np.shape(theirs) == result.shape and np.all(np.isfinite(result)) and (f := factor_of(theirs, result, case)):
            also = also or f'{sentence.format(**vars(case))}; and of that, {f}'
    return factor_of(theirs, right, case) or also


def factor_of(theirs, right, case):
    """A sentence about a constant factor between the two, or ''."""
    B = getattr(case, 'B', 1)
    factors = [(-1, 'the sign is wrong')]
    if B > 1:
        factors += [
            (1 / B, f'every entry is 1/{B} of the right one, and {B} is the batch size: is the mean taken twice?'),
            (B, f'every entry is {B} times the right one, and {B} is the batch size: where is the mean, or 1/B?'),
            (-1 / B, f'the sign is wrong, and there is a factor 1/{B} too many: {B} is the batch size'),
            (-B, f'the sign is wrong, and a factor 1/{B} is missing: {B} is the batch size'),
        ]
    for name, text in [('n_in', 'number of inputs'), ('n_out', 'number of outputs'), ('C', 'number of classes')]:
        if n := getattr(case, name, 0):
            factors += [(1 / n, f'every entry is 1/{n} of the right one, and {n} is the {text}')]
            factors += [(n, f'every entry is {n} times the right one, and {n} is the {text}')]
    factors += [(2, 'every entry is twice the right one'), (0.5, 'every entry is half of the right one')]
    for factor, sentence in factors:
        if agree(theirs, factor * np.asarray(right)) and np.any(right):
            return sentence
    if not np.any(theirs) and np.any(right):
        return 'it is 0 throughout: is the result computed, and stored?'
    return ''


def require(theirs, rights, formulas, case, what):
    """Wrong unless theirs agrees with one of `rights`, the first of which is what the message compares with."""
    if not agree(theirs, *rights):
        where = ' (with a batch of 1)' if getattr(case, 'B', 2) == 1 else ''
        raise Wrong(f'{what}{where}: {difference(theirs, rights[0])}', explain(theirs, rights[0], formulas, case))
