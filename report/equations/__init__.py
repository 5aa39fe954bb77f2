"""The checks of report.tex: test_eq_NAME transcribes the equation labelled eq:NAME, test_err_NAME a slip of the errata.

    python report/equations                            # all, in the report's order; exits 1 if a check fails
    python report/equations TestReportBatchNorm -v     # one class, a line per check
    pytest report

The first words of a check are the number of its equation in the PDF.
"""

from .test_batch_norm import TestReportBatchNorm
from .test_best_convnet import TestReportBestConvNet, TestReportSpeedrun
from .test_best_mlp import TestReportBestMLP
from .test_convnet import TestConvolution, TestReportConvNet
from .test_errata import TestReportErrata
from .test_mlp import TestReportBatches, TestReportChain, TestReportImplementation, TestReportModules

CHECKS = [
    TestReportModules,
    TestReportChain,
    TestReportBatches,
    TestReportImplementation,
    TestReportBestMLP,
    TestReportBatchNorm,
    TestReportConvNet,
    TestConvolution,
    TestReportBestConvNet,
    TestReportSpeedrun,
    TestReportErrata,
]


def checks(prefix):
    """The checks by name: {name: function}."""
    return {name: check for c in CHECKS for name, check in vars(c).items() if name.startswith(prefix)}
