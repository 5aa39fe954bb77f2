"""What a solution shares with its judge, because they run in one process, and how its changes to that are undone."""

import builtins
import sys

import numpy as np

OPEN = {'torch.Storage'}  # which torch.set_default_dtype replaces itself
MODULES = ('numpy', 'numpy.linalg', 'numpy.random', 'torch', 'torch.nn', 'torch.nn.functional', 'torch.autograd')


class Shared:
    """The names of the libraries as they are now."""

    def __init__(self):
        spaces = [builtins, *(sys.modules[name] for name in MODULES if name in sys.modules)]
        if torch := sys.modules.get('torch'):
            spaces += [torch.Tensor, torch.nn.Module]
        self._names = [(space, dict(vars(space))) for space in spaces]
        self._modules, self._errors = dict(sys.modules), np.geterr()

    def restore(self):
        """Puts everything back, and returns the names of what had been replaced."""
        replaced = []
        for space, names in self._names:
            now = vars(space)
            for name, value in names.items():
                if name not in now or now[name] is not value:
                    setattr(space, name, value)
                    replaced.append(f'{space.__name__}.{name}')
        for name, module in self._modules.items():
            sys.modules.setdefault(name, module)
        np.seterr(**self._errors)
        return [name for name in replaced if name not in OPEN]
