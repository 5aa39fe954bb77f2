"""What a finished run leaves behind: figures first, then pictures."""

from training import plots
from training.files import write_json


class Results:
    """The results of a run in its folder.

    Args:
        path: the folder.
        test_set: a DataSet with integer labels.
        names: of its classes.
        probabilities: (N, C) of its images, or None if nobody asks for the confusion matrix and the worst mistakes.
    """

    def __init__(self, path, test_set, names, probabilities):
        self.path, self.test_set, self.names, self.probabilities = path, test_set, names, probabilities

    def write_summary(self, row, figures, cost):
        """Writes the last row of the history with what else belongs to it, and returns all of it."""
        if self.probabilities is not None:
            accuracies = plots.write_confusion(self.path, self.test_set.labels, self.probabilities, self.names)
            figures = figures | {'class_accuracy': accuracies}
        summary = row | figures | cost
        write_json(self.path / 'summary.json', summary)
        return summary

    def draw(self, filters):
        """Draws what there is to see besides the curves; filters (n, 3, h, w), or None."""
        if self.probabilities is not None:
            plots.draw_predictions(self.path, self.test_set, self.probabilities, self.names)
        if filters is not None:
            plots.draw_filters(self.path, filters)
