"""What the tests of the optimisers share: a tree of parameters of several shapes, and gradients for it."""

import numpy as np

import hyperion as hp
from hyperion import optim

SHAPES = {"matrix": (6, 4), "wide": (3, 7), "filters": (5, 2, 3), "vector": (4,), "scalar": ()}

# Every optimiser that steps by a rule, with options that exercise its branches.
MAKERS = {
    "sgd": lambda p, **k: optim.SGD(p, lr=0.05, **k),
    "momentum": lambda p, **k: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1, **k),
    "nesterov": lambda p, **k: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=True, **k),
    "rmsprop": lambda p, **k: optim.RMSProp(p, lr=0.01, **k),
    "centred": lambda p, **k: optim.RMSProp(p, lr=0.01, alpha=0.9, momentum=0.8, centered=True, weight_decay=0.1, **k),
    "adam": lambda p, **k: optim.Adam(p, lr=0.02, weight_decay=0.1, **k),
    "adamw": lambda p, **k: optim.AdamW(p, lr=optim.Cosine(0.02, 0.001, steps=20), betas=(0.8, 0.95), weight_decay=0.1, **k),
    "muon": lambda p, **k: optim.Muon(p, lr=optim.Linear(0.0, 0.05, steps=5), weight_decay=0.1,
                                      rest=optim.AdamW.rule(lr=optim.StepDecay(0.01, 0.5, every=4)), **k),
    "soap": lambda p, **k: optim.SOAP(p, lr=0.01, every=3, largest=6, **k),
}


def start(seed=0, dtype=np.float64, shapes=None):
    """A tree of arrays."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in (shapes or SHAPES).items()}


def gradients(steps, seed=1, dtype=np.float64, shapes=None):
    """A list of trees of gradients."""
    return [start(seed + step, dtype, shapes) for step in range(steps)]


def tracked(tree):
    """The tree as Tensors that require gradients."""
    return {name: hp.asarray(array.copy(), requires_grad=True) for name, array in tree.items()}


def stepped(optimizer, parameters, trees):
    """Make a step with each tree of gradients."""
    for tree in trees:
        for name, array in tree.items():
            parameters[name].grad = hp.asarray(array)
        optimizer.step()
    return {name: x.detach().numpy().copy() for name, x in parameters.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name])
