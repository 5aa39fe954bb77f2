"""The numerical gradient as a user meets it: what it refuses, prints and restores; unittests.py has its accuracy."""

import numpy as np
import pytest

from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error

CHECKS = {
    'scalar': lambda f, x: eval_numerical_gradient(lambda x: np.sum(f(x)), x, verbose=False),
    'array': lambda f, x: eval_numerical_gradient_array(f, x, np.ones(np.shape(x))),
}


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('calls', range(6))
def test_x_is_restored_when_f_raises(check, calls):
    left = iter(range(calls))

    def f(x):
        if next(left, None) is None:
            raise RuntimeError('on purpose')
        return x**2

    x = np.random.default_rng(0).normal(size=3)
    before = x.copy()
    with pytest.raises(RuntimeError, match='on purpose'):
        CHECKS[check](f, x)
    assert np.array_equal(x, before)


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize(
    ('x', 'got'), [(np.ones(2, np.float32), 'float32'), (np.ones(2, np.int64), 'int64'), ([1.0, 2.0], 'list')]
)
def test_anything_but_a_float64_array_is_refused(check, x, got):
    with pytest.raises(ValueError, match=f'float64 array, got {got}'):
        CHECKS[check](np.sin, x)


def test_df_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r'\(2, 3\), got \(3,\)'):
        eval_numerical_gradient_array(np.sin, np.ones((2, 3)), np.ones(3))


def test_verbose_prints_each_index_with_its_derivative(capsys):
    """Which it is unless told otherwise."""
    for verbose in ([], [True], [False]):
        gradient = eval_numerical_gradient(np.sum, np.ones((2, 3)), *verbose)
        lines = [] if verbose == [False] else [f'{index} {d}' for index, d in np.ndenumerate(gradient)]
        assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize('dtype', [np.uint8, np.int8, np.int64, np.uint64, bool])
def test_rel_error_of_whole_numbers_does_not_wrap_around(dtype):
    """1 − 2 is 255 in uint8, and True − False is refused by NumPy."""
    zero, one, two = (np.array([n]).astype(dtype) for n in (0, 1, 2))
    assert rel_error(one, two) == rel_error(two, one) == (0 if dtype is bool else 1 / 3)
    assert rel_error(zero, one) == 1


def test_rel_error_of_the_largest_and_smallest_whole_numbers():
    assert rel_error(np.array([-128], np.int8), np.array([127], np.int8)) == 1
    assert rel_error(np.array([200], np.uint8), np.array([100], np.uint8)) == 1 / 3  # the sum is 300


def test_rel_error_of_nan_passes_no_tolerance():
    assert not rel_error(np.array([1.0, np.nan]), np.array([1.0, 2.0])) < 1


def test_rel_error_does_not_broadcast():
    with pytest.raises(ValueError, match=r'\(3,\) and \(3, 1\)'):
        rel_error(np.ones(3), np.ones((3, 1)))


def test_rel_error_of_complex_numbers_sees_both_parts():
    assert rel_error(np.array([3 + 4j]), np.array([3 - 4j])) == 0.8  # |8j| / (5 + 5)
