"""Numbers, words and tables as TeX."""

import re

from table import mean_and_deviation


def grouped(number):
    """12345 as 12\\,345."""
    return f'{number:,}'.replace(',', r'\,')


def scientific(number):
    """2e-09 as $2\\cdot10^{-9}$."""
    mantissa, exponent = f'{number:.0e}'.split('e')
    factor = '' if mantissa == '1' else rf'{mantissa}\cdot'
    return f'${factor}10^{{{int(exponent)}}}$'


def spread(values, digits):
    """Mean and standard deviation, in math mode."""
    return '$' + mean_and_deviation(values, digits).replace('±', r'\pm') + '$'


def camel(text):
    """chain-input as ChainInput: a macro's name has letters only."""
    return ''.join(word.capitalize() for word in re.split('[-_]', text))


def escaped(text):
    """Plain text as TeX."""
    return re.sub(r'([#$%&_{}])', r'\\\1', text)


def tabular(columns, header, rows, total=None):
    r"""A booktabs tabular; with `total`, the last row stands below a rule."""
    lines = [rf'\begin{{tabular}}{{{columns}}}', r'\toprule', ' & '.join(header) + r' \\', r'\midrule']
    lines += [' & '.join(row) + r' \\' for row in rows]
    if total:
        lines += [r'\midrule', ' & '.join(total) + r' \\']
    return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', ''])


def newcommands(numbers):
    """A macro for each of {name: TeX}."""
    return ''.join(rf'\newcommand{{\{name}}}{{{tex}}}' + '\n' for name, tex in numbers.items())
