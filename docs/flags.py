"""Write docs/flags.md, every flag of every program, from the parsers themselves: python docs/flags.py"""

import argparse
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'experiments')]
import table  # noqa: E402

import check_solution  # noqa: E402
import predict  # noqa: E402
import train_convnet_pytorch  # noqa: E402
import train_mlp_numpy  # noqa: E402
import train_mlp_pytorch  # noqa: E402
from experiments import best_convnet, best_mlp, speedrun  # noqa: E402

GROUPS = ['model', 'optimisation', 'regularisation', 'data', 'machine', 'run']
TRAINING = {
    '`train_mlp_numpy.py`': train_mlp_numpy.parse_flags,
    '`train_mlp_pytorch.py`': train_mlp_pytorch.parse_flags,
    '`train_convnet_pytorch.py`': train_convnet_pytorch.parse_flags,
}
RECORDS = {
    '`best_mlp.py`': best_mlp.parse_flags,
    '`best_convnet.py`': best_convnet.parse_flags,
    '`speedrun.py`': speedrun.parse_flags,
}
TOOLS = {
    '`predict.py`': predict.parse_flags,
    '`check_solution.py`': check_solution.main,
    '`experiments/table.py`': table.parse_flags,
}

PAGE = """# Flags

Written by `python docs/flags.py` from the parsers; `--help` of each program says the same. The defaults of the training
scripts are the assignment's, and what goes beyond it is off. Below the name of a program stand its defaults: *off* of a
flag that takes no value, — of one that has no default, nothing where the program has no such flag.

A flag is spelt in full, and a wrong or senseless one is refused in one line with exit status 2. Several values are
joined by commas, as in `--dnn_hidden_units 512,256`. [runs.md](runs.md) says what a run leaves, how it is resumed, and
how several seeds are summed up.

## The training scripts

{training}

## The records

All three stand in `experiments/`.

{records}

## The other programs

`experiments/ladder.py` does the published runs; its `--help` lists them.

{tools}
"""


class Built(Exception):
    """A parser is ready to parse."""


def parser_of(function):
    """The parser that a function makes, caught where it would parse the command line."""

    def stop(parser, *_):
        raise Built(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, 'parse_args', stop),
        mock.patch('training.flags.ArgumentParser.parse_args', stop),
    ):
        try:
            function()
        except Built as built:
            return built.args[0]
    raise ValueError(f'{function.__module__}.{function.__name__} parses no command line')


def groups_of(parser):
    """{group: {flag: action}} of a parser, without --help."""
    found = {}
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.dest != 'help':
                name = (
                    ', '.join(f'`{option}`' for option in action.option_strings) or f'`{action.metavar or action.dest}`'
                )
                found.setdefault(group.title, {})[name] = action
    return found


def default(action):
    """What a flag is without being named."""
    if action.const is True:
        return 'off'
    if action.default is None or action.default == [] or action.required:
        return '—'
    value = ','.join(map(str, action.default)) if isinstance(action.default, list) else action.default
    return f'`{value}`'


def meaning(action):
    """The help of a flag, and what may be chosen; the default has a place of its own."""
    text = (action.help % {'default': action.default}).partition(' (default: ')[0].replace('|', r'\|')
    return f'{text} ({", ".join(f"`{choice}`" for choice in action.choices)})' if action.choices else text


def group_table(title, groups):
    """A table of flags, a line a flag, with the default in each program: {program: {flag: action}}."""
    actions = {flag: action for flags in groups.values() for flag, action in flags.items()}
    lines = [
        [flag, *(default(flags[flag]) if flag in flags else '' for flags in groups.values()), meaning(action)]
        for flag, action in actions.items()
    ]
    return table.table([[title, *groups, 'meaning'], *lines])


def group_tables(programs, order=()):
    """A table for each group of flags of these programs, those of the order first."""
    found = {program: groups_of(parser_of(function)) for program, function in programs.items()}
    titles = dict.fromkeys([*order, *(title for groups in found.values() for title in groups)])
    tables = [
        group_table(title, {program: groups.get(title, {}) for program, groups in found.items()}) for title in titles
    ]
    return '\n\n'.join(tables)


def tool_table(program, function):
    """One table of all that a program takes."""
    flags = {flag: action for group in groups_of(parser_of(function)).values() for flag, action in group.items()}
    return group_table(program, {'default': flags})


def page():
    """The text of docs/flags.md."""
    tools = '\n\n'.join(tool_table(program, function) for program, function in TOOLS.items())
    return PAGE.format(training=group_tables(TRAINING, GROUPS), records=group_tables(RECORDS), tools=tools)


def main():
    argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0]).parse_args()
    Path(__file__).with_suffix('.md').write_text(page(), encoding='utf-8')


if __name__ == '__main__':
    main()
