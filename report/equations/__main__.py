"""Runs the checks of the report's equations, in the report's order."""

import sys
from pathlib import Path

REPORT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPORT), str(REPORT.parent)]

import equations  # noqa: E402
from checking.first_cause import run_in_order  # noqa: E402

run_in_order('equations', defaultTest=[checks.__name__ for checks in equations.CHECKS])
