"""Optimisers on trees of Tensors: Adam and L-BFGS, with bounds, resumable bit by bit.

    optimizer = Adam(parameters, lr=1e-3); loss.backward(); optimizer.step(); optimizer.zero_grad()    # PyTorch's habit
    optimizer = LBFGS(parameters, bounds=(1400.0, 5000.0)); optimizer.advance(hp.value_and_grad(f))    # one iteration on f(tree)
    result = minimize(hp.value_and_grad(f), start)                                                     # until converged
"""

from hyperion.optim.adam import Adam
from hyperion.optim.lbfgs import LBFGS
from hyperion.optim.linesearch import Wolfe
from hyperion.optim.minimize import Result, minimize
from hyperion.optim.optimizer import Optimizer

__all__ = ["LBFGS", "Adam", "Optimizer", "Result", "Wolfe", "minimize"]
