"""The notebook runs from its first cell to its last, in a kernel as users have it."""

import pytest
from conftest import ROOT

nbclient = pytest.importorskip('nbclient', reason='nbclient and ipykernel are in requirements-dev.txt')
pytest.importorskip('ipykernel', reason='nbclient and ipykernel are in requirements-dev.txt')
import nbformat  # noqa: E402


@pytest.fixture
def clone(tmp_path):
    """A folder that has the repo's files and no runs."""
    for path in ROOT.iterdir():
        if not path.name.startswith('.') and path.name not in ('docs', 'runs', 'cifar10'):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / 'docs').mkdir()
    return tmp_path


@pytest.mark.filterwarnings('default')  # of the kernel's own packages
def test_the_tour(clone):
    tour = nbformat.read(ROOT / 'docs' / 'tour.ipynb', as_version=4)
    assert [cell for cell in tour.cells if cell.get('outputs')] == [], 'it is kept without outputs'
    (training,) = [cell for cell in tour.cells if "'--max_steps', '1000'" in cell.source]
    training.source = training.source.replace('1000', '200')  # a fifth of it shows as much
    nbclient.NotebookClient(tour, timeout=60, resources={'metadata': {'path': clone / 'docs'}}).execute()
    printed = [''.join(out.get('text', '') for out in cell.outputs) for cell in tour.cells if cell.cell_type == 'code']
    _, gradient, trained, _, twins, named, judged = printed
    assert 'relative error' in gradient and float(gradient.split()[2]) < 1e-7
    assert trained.splitlines()[-1].startswith('results in runs/tour/mlp_numpy, curves in')
    losses = [line.split()[3::2] for line in twins.splitlines()]
    assert len(losses) == 2 and all(abs(float(ours) - float(theirs)) < 1e-3 for ours, theirs in losses)
    assert named.count('is called') == 6
    assert 'right' in judged and 'wrong' not in judged
    assert any('image/png' in out.get('data', {}) for cell in tour.cells for out in cell.get('outputs', []))
