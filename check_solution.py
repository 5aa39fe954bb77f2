"""Judges anyone's own answer to the assignment, part by part, and says what to mend first.

    python check_solution.py path/to/their/folder              one answer: a table, and what to do next
    python check_solution.py submissions/* --csv marks.csv     a class: a row per folder
    python check_solution.py path --json -                     for programs

It executes what it judges, in processes with limits of time and memory: that contains accidents, not attacks. Judge
strangers' code in a container or a virtual machine.
"""

import contextlib
import io
import os
import sys
from functools import partial
from pathlib import Path

from checking.items import QUESTIONS, nothing_to_judge
from checking.processes import Workers
from checking.sandbox import Limits, judge_folder
from checking.solution import holding
from checking.table import as_csv, as_json, first_to_mend, plain, print_row, print_table
from training.flags import ArgumentParser, number


def parser():
    result = ArgumentParser(__file__, __doc__)
    result.epilog = 'Exit status: 0 if all parts are right, 1 if not, 2 for a wrong call. It runs what it judges.'
    result.add_argument('folders', nargs='+', metavar='FOLDER', help='folder of a solution, or one above it')
    result.add_argument(
        '--question',
        action='append',
        choices=QUESTIONS,
        help='judge this question alone; may be given again',
    )
    positive = number(float, 0, 10**6, open_low=True)
    result.add_argument('--seconds', type=positive, default=10, help='time limit of each part')
    result.add_argument('--memory', type=positive, default=4, help='memory limit in GiB')
    result.add_argument('--csv', metavar='FILE', help="write a row per folder; '-' for the standard output")
    result.add_argument('--json', metavar='FILE', help="write a list of all verdicts; '-' for the standard output")
    return result


def write(text, path):
    """Writes a file in one go, or to the standard output for '-'."""
    if path == '-':
        sys.stdout.write(text)
        return
    temporary = Path(f'{path}.{os.getpid()}.tmp')
    try:
        temporary.write_text(text, encoding='utf-8')
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def short_names(folders):
    """For each folder, what tells it from the others: the last part of its path where that is enough."""
    last = {folder: os.path.basename(os.path.abspath(folder)) for folder in folders}
    return last if len(set(last.values())) == len(folders) else {folder: folder for folder in folders}


def judge(folders, flags, on_result):
    """{folder: Results}, two processes at a time; on_result(folder, Results) is called in order."""
    limits, questions = Limits(flags.seconds, int(flags.memory * 2**30)), flags.question or ()
    with Workers(2) as workers:
        waiting = {}
        for folder in folders:
            try:
                waiting[folder] = judge_folder(folder, questions, limits, workers)
            except FileNotFoundError as error:
                if len(folders) == 1:
                    raise
                waiting[folder] = partial(nothing_to_judge, questions, str(error))
        judged = {}
        for folder, wait in waiting.items():
            judged[folder] = wait()
            on_result(folder, judged[folder])
        return judged


def checked_folders(parser, flags):
    """The folders to judge; what is left out, or may be meant otherwise, is said. Ends the program on a wrong call."""
    folders = list(dict.fromkeys(str(Path(folder)) if folder else '' for folder in flags.folders))
    files = [folder for folder in folders if Path(folder).is_file()]
    if len(files) < len(folders):  # a class has other files beside its folders
        folders = [folder for folder in folders if folder not in files]
        for file in files:
            print(f'{parser.prog}: left out, as it is no folder: {file}', file=sys.stderr)
    for folder in folders:
        if not folder or not Path(folder).is_dir():
            parser.error(f'{folder or "an empty name"} is no folder')
    for folder in folders:
        if (found := holding(folder)) and found[0] != Path(folder) and len(found) > 1:
            others = ', '.join(str(other.relative_to(folder)) for other in found[1:4])
            text = f'judges {found[0]} alone; these hold files of the assignment too: {others}'
            print(f'{parser.prog}: {plain(text)}', file=sys.stderr)
    return folders


def check_tables(parser, flags):
    """Ends the program if a table could not be written in the end."""
    for path in (flags.csv, flags.json):
        if path and not Path(path).absolute().parent.is_dir():
            parser.error(f'{path} cannot be written: there is no folder {Path(path).parent}')
        if path and Path(path).is_dir():
            parser.error(f'{path} cannot be written: it is a folder')
    if flags.csv and flags.csv == flags.json:
        where = 'the standard output' if flags.csv == '-' else flags.csv
        parser.error(f"--csv and --json can't both go to {where}")


def main(arguments=None):
    arguments_parser = parser()
    flags = arguments_parser.parse_args(arguments)
    check_tables(arguments_parser, flags)
    folders = checked_folders(arguments_parser, flags)
    if sys.stdout is None:  # closed: `>&-`, or under pythonw
        sys.stdout = io.StringIO()
    with contextlib.suppress(AttributeError):  # a stream that has no encoding to fail in
        sys.stdout.reconfigure(errors='backslashreplace')
    silent = '-' in (flags.csv, flags.json)
    short = short_names(folders)
    width = min(max(map(len, short.values())), 40)

    def on_result(folder, results):
        if silent:
            return
        if len(folders) > 1:
            print_row(short[folder], results, width, sys.stdout)
        else:
            print_table(results, sys.stdout)
        sys.stdout.flush()

    try:
        judged = judge(folders, flags, on_result)
        for path, form in [(flags.csv, as_csv), (flags.json, as_json)]:
            if path:
                write(form(judged), path)
    except FileNotFoundError as error:
        arguments_parser.error(str(error))
    except BrokenPipeError:  # the reader, head for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f'{arguments_parser.prog}: {error}', file=sys.stderr)
        return 1
    return int(any(first_to_mend(results) for results in judged.values()))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
