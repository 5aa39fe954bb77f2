"""Tests that are read from the top: run in the order of their file, so that the first failure printed is the cause."""

import traceback
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


def difference(actual, expected, rtol=0.0, atol=0.0):
    """Where two arrays differ most and how far, in a line, or '' if |actual − expected| ≤ atol + rtol |expected|.

    Relative to |actual| + |expected|, as in `rel_error`. NaN differs from everything; a number stands for any shape.
    """
    actual, expected = (a if a.dtype.kind == 'f' else a.astype(float) for a in map(np.asarray, (actual, expected)))
    if actual.shape != expected.shape and actual.ndim and expected.ndim:
        return f'shape {actual.shape}, expected {expected.shape}'
    actual, expected = np.broadcast_arrays(actual, expected)
    with np.errstate(all='ignore'):
        off = np.abs(actual - expected)
        wrong = (actual != expected) & ~(off <= atol + rtol * np.abs(expected))
        relative = np.where(wrong, off / (np.abs(actual) + np.abs(expected)), -1)
    if not wrong.any():
        return ''
    worst = np.unravel_index(relative.argmax(), wrong.shape)
    where = f' at {[int(i) for i in worst]}' if worst else ''
    values = f'{actual[worst]:.6g}, not {expected[worst]:.6g}'
    share = f' ({wrong.sum()} of {wrong.size} entries are off)' if worst else ''
    return f'largest relative difference {relative[worst]:.1e}{where}: {values}{share}'


class InOrder(unittest.TestLoader):
    """Loads classes and tests as they stand in their file, not by the alphabet."""

    def getTestCaseNames(self, case):
        return sorted(super().getTestCaseNames(case), key=list(vars(case)).index)

    def loadTestsFromModule(self, module, **_):
        cases = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, unittest.TestCase)]
        return self.suiteClass(map(self.loadTestsFromTestCase, cases))


class ShortResult(unittest.TextTestResult):
    """Of each test that fails: which gradient, how far off, and no traceback. Then a line for each."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.told = {}  # {test: what its failing cases say}

    def addSubTest(self, test, subtest, error):
        if error is None:
            return
        if test not in self.told:
            self.failures.append((test, ''))
        case = ''.join(f'{value}: ' for value in subtest.params.values()) if subtest else ''
        self.told.setdefault(test, []).append(case + self.words(*error))
        if self.failfast:
            self.stop()

    def addFailure(self, test, error):
        self.addSubTest(test, None, error)

    addError = addFailure

    @staticmethod
    def words(kind, error, trace):
        """What went wrong, in three lines at most; where, if it is no check that says so."""
        if issubclass(kind, AssertionError):
            return '\n'.join(str(error).splitlines()[:3])
        frames = traceback.extract_tb(trace)
        *_, last = [frame for frame in frames if Path(frame.filename).parent == ROOT] or frames
        return f'{kind.__name__}: {error} ({Path(last.filename).name}, line {last.lineno}, in {last.name})'

    def stopTest(self, test):
        super().stopTest(test)
        if test in self.told:
            self.stream.write('FAIL\n' if self.showAll else 'F')

    def printErrors(self):
        names = {test: '.'.join(test.id().split('.')[-2:]) for test in self.told}
        self.stream.write('\n')
        for test, cases in self.told.items():
            more = [f'and {len(cases) - 1} more of its cases'] * (len(cases) > 1)
            self.stream.write('\n    '.join([f'FAIL {names[test]}', *cases[0].splitlines(), *more]) + '\n\n')
        if self.told:
            first = next(iter(names.values()))
            self.stream.write(f'Look first at {first}: what comes after it may be its consequence. These fail:\n')
            self.stream.write(''.join(f'    {name}\n' for name in names.values()))


class Runner(unittest.TextTestRunner):
    resultclass = ShortResult


def run_in_order(module='__main__', **kwargs):
    """unittest.main for a module: its arguments, its exit status of 1 if a test fails, but the order of the file."""
    unittest.main(module, testLoader=InOrder(), testRunner=Runner, **kwargs)
