"""The text's numbers of the checks: equations, slips, and how the checks were checked; {macro: TeX} each."""

import re
import unittest

import equations
from evidence import MissingResult, printed
from tex import camel, grouped, scientific

import unittests


def of_equations():
    """How many equations and slips are checked, and how."""
    return {
        'equations': str(len(equations.checks('test_eq_'))),
        'slips': str(len(equations.checks('test_err_'))),
        'checkTolerance': scientific(unittests.NUMERICAL_RTOL),
        'errataBatch': str(equations.TestReportErrata.B),
    }


def of_errata():
    """How far each slip is off, from the checks that tell it apart."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(equations.TestReportErrata)
    outcome = unittest.TestResult()
    suite.run(outcome)
    if not outcome.wasSuccessful():
        raise MissingResult('the checks of the errata fail: run python report/equations TestReportErrata')
    slips = equations.TestReportErrata.disagreement
    return {f'err{camel(name)}': rf'{100 * size:.0f}\,\%' for name, size in slips.items()}


def mutants(name):
    """Mutants and killed ones of each file, from what tests/mutants.py printed: {file: (mutants, killed)}."""
    found = {}
    for line in printed('checks', name):
        if match := re.match(r'\| ([\w/]+\.py) \| (\d+) \| (\d+) \|', line):
            found[match[1]] = int(match[2]), int(match[3])
    return found


def share_killed(counts):
    return f'{100 * sum(killed for _, killed in counts) / sum(made for made, _ in counts):.0f}'


def of_mistakes():
    """What the checks of the checks found."""
    ours, usual = mutants('mutants'), mutants('usual_check')
    gradients = [ours[file] for file in usual]
    rest = [count for file, count in ours.items() if file not in usual]
    inputs, seconds = re.match(r'Done (\d+) runs in (\d+)', printed('checks', 'fuzz')[0]).groups()
    kills = [line.split('|')[2] for line in printed('checks', 'kill') if 'the same bits' in line]
    caught, made = re.match(r'(\d+) of (\d+) mistakes', printed('checks', 'mistakes')[-1]).groups()
    return {
        'mutants': str(sum(made for made, _ in gradients)),
        'mutantsKilled': share_killed(gradients),
        'mutantsUsual': share_killed(list(usual.values())),
        'mutantsRest': str(sum(made for made, _ in rest)),
        'mutantsRestKilled': share_killed(rest),
        'mistakes': made,
        'mistakesCaught': caught,
        'fuzzInputs': grouped(int(inputs)),
        'fuzzMinutes': f'{int(seconds) / 60:.0f}',
        'kills': str(sum(map(int, kills))),
        'killedScripts': str(len(kills)),
    }
