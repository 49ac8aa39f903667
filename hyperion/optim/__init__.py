"""Optimisers on trees of Tensors, from SGD to Gauss-Newton, with schedules, parameter groups and bounds, resumable bit by bit.

    optimizer = AdamW(model.parameters(), lr=1e-3); loss.backward(); optimizer.step(); optimizer.zero_grad()     # PyTorch's habit
    rule = AdamW.rule(lr=1e-3); state = rule.init(tree); tree, state = rule.update(gradients, state, tree)       # the functional habit
    optimizer = LBFGS(parameters, bounds=(1400.0, 5000.0)); optimizer.advance(hp.value_and_grad(f))             # one iteration on f(tree)
    result = minimize(hp.value_and_grad(f), start)                                                              # until converged
"""

from hyperion.optim.adam import Adam, AdamW
from hyperion.optim.averaging import EMA
from hyperion.optim.broyden import SelfScaledBroyden, bfgs, ssbfgs, ssbroyden
from hyperion.optim.clipping import clip_gradient_norm, clip_gradient_values, clipped_by_norm, clipped_by_value
from hyperion.optim.gaussnewton import GaussNewton
from hyperion.optim.lbfgs import LBFGS
from hyperion.optim.levenberg import LevenbergMarquardt, Pointwise
from hyperion.optim.linesearch import Wolfe
from hyperion.optim.minimize import Result, least_squares, minimize
from hyperion.optim.muon import Muon
from hyperion.optim.optimizer import Optimizer
from hyperion.optim.rmsprop import RMSProp
from hyperion.optim.rule import Rule
from hyperion.optim.schedules import (
    WSD,
    Constant,
    Cosine,
    Exponential,
    Lambda,
    Linear,
    OneCycle,
    Product,
    Schedule,
    Sequential,
    StepDecay,
)
from hyperion.optim.sgd import SGD
from hyperion.optim.soap import SOAP

__all__ = [
    "EMA", "LBFGS", "SGD", "SOAP", "WSD", "Adam", "AdamW", "Constant", "Cosine", "Exponential", "GaussNewton", "Lambda",
    "LevenbergMarquardt", "Linear", "Muon", "OneCycle", "Optimizer", "Pointwise", "Product", "RMSProp", "Result", "Rule", "Schedule",
    "SelfScaledBroyden", "Sequential", "StepDecay", "Wolfe", "bfgs", "clip_gradient_norm", "clip_gradient_values", "clipped_by_norm",
    "clipped_by_value", "least_squares", "minimize", "ssbfgs", "ssbroyden",
]
