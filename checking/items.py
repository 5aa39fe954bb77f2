"""The items in order: their question, the process that judges them, and what has to run before."""

from importlib import import_module
from typing import NamedTuple

from .verdicts import CRASH, MISSING, RIGHT, WRONG, Result, judged


class Item(NamedTuple):
    """A check: the function `name` with dots for underscores in the file `room` of this package.

    Where one of `needs` is missing or crashes, the item cannot be judged and is missing.
    """

    name: str
    room: str
    question: str
    needs: tuple = ()

    @property
    def is_torch(self):
        return self.question != '1.2'

    def check(self, solution):
        return getattr(import_module(f'.{self.room}', __package__), self.name.replace('.', '_'))(solution)


BN = 'batchnorm'
CHECKS = [
    Item('linear.init', 'linear', '1.2'),
    Item('linear.forward', 'linear', '1.2', ('linear.init',)),
    Item('linear.input', 'linear', '1.2', ('linear.forward',)),
    Item('linear.weight', 'linear', '1.2', ('linear.forward',)),
    Item('linear.bias', 'linear', '1.2', ('linear.forward',)),
    Item('activation.forward', 'activation', '1.2'),
    Item('activation.input', 'activation', '1.2', ('activation.forward',)),
    Item('softmax.forward', 'loss', '1.2'),
    Item('softmax.stable', 'loss', '1.2', ('softmax.forward',)),
    Item('softmax.input', 'loss', '1.2', ('softmax.forward',)),
    Item('cross_entropy.forward', 'loss', '1.2'),
    Item('cross_entropy.input', 'loss', '1.2', ('cross_entropy.forward',)),
    Item('mlp_numpy.forward', 'mlp_numpy', '1.2', ('linear.forward', 'activation.forward', 'softmax.forward')),
    Item(
        'mlp_numpy.gradients',
        'mlp_gradients',
        '1.2',
        ('mlp_numpy.forward', 'linear.input', 'activation.input', 'softmax.input'),
    ),
    Item('unchanged_input', 'state', '1.2'),
    Item('repeatable', 'state', '1.2'),
    Item('mlp_pytorch', 'networks', '2'),
    Item('batchnorm_autograd.forward', BN, '3.1'),
    Item('batchnorm_autograd.gradients', BN, '3.1', ('batchnorm_autograd.forward',)),
    Item('batchnorm_function.forward', BN, '3.2'),
    Item('batchnorm_function.gradients', BN, '3.2', ('batchnorm_function.forward',)),
    Item('batchnorm_function.needs_input_grad', BN, '3.2', ('batchnorm_function.gradients',)),
    Item('batchnorm_module', BN, '3.2', ('batchnorm_function.forward',)),
    Item('unchanged_input', BN, '3'),
    Item('convnet', 'convnet', '4'),
]
NAMES = [*(n for n in dict.fromkeys(i.name for i in CHECKS) if n not in ('unchanged_input', 'repeatable'))]
NAMES += ['unchanged_input', 'repeatable']
QUESTIONS = ('1.2', '2', '3', '3.1', '3.2', '4')


def asked(questions):
    """Indices into CHECKS of the items of these questions; of all for an empty list. '3' stands for 3.1 and 3.2."""
    return [
        index
        for index, item in enumerate(CHECKS)
        if not questions
        or any(
            item.question == q or item.question.startswith(f'{q}.') or q.startswith(f'{item.question}.')
            for q in questions
        )
    ]


def judge_one(index, solution, verdicts):
    """The Result of CHECKS[index], given the verdicts so far by name."""
    item = CHECKS[index]
    for need in item.needs:
        if verdicts.get(need) in (CRASH, MISSING):
            return Result(item.name, MISSING, f'cannot be judged before {need} works')
    solution.verdicts = verdicts
    return judged(item.name, item.check, solution)


def judge(solution, questions=(), names=NAMES):
    """The Results of a Solution in this process, by NAMES' order: what unittests call on modules that they trust."""
    results, verdicts = [], {}
    for index in asked(questions):
        if CHECKS[index].name not in names:
            continue
        results.append(judge_one(index, solution, verdicts))
        verdicts[results[-1].item] = results[-1].verdict
    return merged(results)


def nothing_to_judge(questions, why):
    """The Results where there is no solution at all."""
    return merged([Result(CHECKS[index].name, MISSING, why) for index in asked(questions)])


def merged(results):
    """One Result for each name, in the order of NAMES; of two, the one that finds more."""
    order = [RIGHT, MISSING, CRASH, WRONG]
    best = {}
    for result in results:
        if result.item not in best or _weight(result, order) > _weight(best[result.item], order):
            best[result.item] = result
    return [best[name] for name in NAMES if name in best]


def _weight(result, order):
    """Missing counts less than right for what two rooms judge: one of them may have nothing to judge."""
    return -1 if result.verdict == MISSING else order.index(result.verdict)
