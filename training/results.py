"""What a finished run leaves behind: figures first, then pictures."""

from training.files import write_json
from training.plots import draw_curves, draw_filters, draw_predictions, write_confusion


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
            accuracies = write_confusion(self.path, self.test_set.labels, self.probabilities, self.names)
            figures = figures | {'class_accuracy': accuracies}
        summary = row | figures | cost
        write_json(self.path / 'summary.json', summary)
        return summary

    def draw(self, history, filters):
        """Draws what there is to see; filters (n, 3, h, w), or None. Returns whether the curves could be drawn."""
        drawn = draw_curves(self.path, history)
        if self.probabilities is not None:
            draw_predictions(self.path, self.test_set, self.probabilities, self.names)
        if filters is not None:
            draw_filters(self.path, filters)
        return drawn
