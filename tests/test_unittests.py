"""unittests.py and the report's equations, when something is wrong: short, in order, and with the cause first."""

import io
import re
import unittest
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import modules
import unittests
from checking.first_cause import InOrder, Runner, difference


def run(*cases, **options):
    """What is printed for these classes, line by line, and the result."""
    stream = io.StringIO()
    suite = InOrder().loadTestsFromModule(SimpleNamespace(**{case.__name__: case for case in cases}))
    with warnings.catch_warnings():
        result = Runner(stream, **options).run(suite)
    return stream.getvalue().splitlines(), result


def wrong():
    """Two classes, neither they nor their tests in the order of the alphabet. Inside, pytest does not collect them."""

    class TestZ(unittests.GradientTestCase):
        def test_z(self):
            self.assert_numerical(
                np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 5.0]]), 'gradient of x'
            )

        def test_right(self):
            self.assert_numerical(np.ones(2), np.ones(2))

        def test_a(self):
            for name in ('first', 'second', 'third'):
                with self.subTest(of=name):
                    self.assert_same([1, 2], [1, 2] if name == 'first' else [2, 2])

    class TestA(unittests.GradientTestCase):
        def test_that_raises(self):
            modules.ReLUModule().backward(np.ones(2))

    return TestZ, TestA


def test_failures_come_in_the_order_of_the_file_each_in_a_line_or_two_and_once_more_in_a_digest():
    lines, result = run(*wrong())
    place = next(n for n, line in enumerate(lines) if 'AttributeError' in line)
    assert re.fullmatch(r"    AttributeError: .*'positive' \(modules\.py, line \d+, in backward\)", lines.pop(place))
    assert [line for line in lines if line][:-3] == [
        'F.FF',
        'FAIL TestZ.test_z',
        '    gradient of x: largest relative difference 1.1e-01 at [1, 1]: 4, not 5 (1 of 4 entries are off)',
        'FAIL TestZ.test_a',
        '    second: largest relative difference 3.3e-01 at [0]: 1, not 2 (1 of 2 entries are off)',
        '    and 1 more of its cases',
        'FAIL TestA.test_that_raises',
        'Look first at TestZ.test_z: what comes after it may be its consequence. These fail:',
        '    TestZ.test_z',
        '    TestZ.test_a',
        '    TestA.test_that_raises',
    ]
    assert lines[-1] == 'FAILED (failures=3)'
    assert not result.wasSuccessful()


def test_verbose_has_a_line_for_each_test():
    lines, _ = run(wrong()[0], verbosity=2)
    assert [line.rsplit(' ', 1)[1] for line in lines[:3]] == ['FAIL', 'ok', 'FAIL']


def test_nothing_more_is_run_after_the_first_failure_with_failfast():
    _, result = run(*wrong(), failfast=True)
    assert (result.testsRun, len(result.failures)) == (1, 1)


def test_a_wrong_softmax_is_named_first_and_in_few_lines(monkeypatch):
    monkeypatch.setattr(modules.SoftMaxModule, 'backward', lambda self, dout: self.out * dout)
    cases = [
        case for name, case in vars(unittests).items() if name.startswith(('TestSoftMax', 'TestMLP', 'TestLinear'))
    ]
    lines, result = run(*cases)
    assert result.failures[0][0].id() == 'unittests.TestSoftMax.test_by_the_contract'
    assert lines[2].startswith('    softmax.input: the gradient: 20 of 20 entries differ')
    assert lines[2].endswith(': only the diagonal term x ⊙ dout is there: − x xᵀ is missing')
    assert len(lines) < 60
    assert not any('Traceback' in line or 'File "' in line for line in lines)


def test_the_parts_stand_in_the_order_in_which_a_mistake_is_looked_for():
    classes = [
        type(next(iter(suite))).__name__ for suite in InOrder().loadTestsFromModule(unittests) if suite.countTestCases()
    ]
    assert classes == [
        'TestGradientCheck',
        'TestLinear',
        'TestActivations',
        'TestSoftMax',
        'TestCrossEntropy',
        'TestSoftMaxWithCrossEntropy',
        'TestPasses',
        'TestMLP',
        'TestTwins',
        'TestBatchNorm',
        'TestPyTorchMLP',
        'TestConvNet',
    ]


def test_no_test_is_left_out_by_the_order():
    ours, theirs = (
        {test.id() for suite in loader.loadTestsFromModule(unittests) for test in suite}
        for loader in (InOrder(), unittest.defaultTestLoader)
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ('actual', 'expected', 'words'),
    [
        (1.0, 1.0 + 1e-9, ''),
        ([np.inf, 0.0], [np.inf, 0.0], ''),
        (0, np.zeros(3), ''),
        (1.0, 2.0, 'largest relative difference 3.3e-01: 1, not 2'),
        (np.ones((2, 1)), np.ones(2), 'shape (2, 1), expected (2,)'),
        ([1.0, np.nan], [5.0, 1.0], 'largest relative difference nan at [1]: nan, not 1 (2 of 2 entries are off)'),
        (
            [0.0, -1e-3],
            [0.0, 1e-3],
            'largest relative difference 1.0e+00 at [1]: -0.001, not 0.001 (1 of 2 entries are off)',
        ),
        (np.uint8(1), np.uint8(2), 'largest relative difference 3.3e-01: 1, not 2'),
    ],
)
def test_a_difference_is_told_in_a_line(actual, expected, words):
    assert difference(actual, expected, 1e-7, 1e-9) == words
