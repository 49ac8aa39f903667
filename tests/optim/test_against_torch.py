"""The optimisers against PyTorch's, over 50 steps of a small network's training in float64."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

STEPS = 50
RNG = np.random.default_rng(3)
INPUTS, TARGETS = RNG.normal(size=(16, 5)), RNG.normal(size=(16, 3))
START = [RNG.normal(size=shape) for shape in ((5, 8), (8,), (8, 3), (3,))]

PAIRS = {
    "sgd": (lambda p: optim.SGD(p, lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (lambda p: optim.SGD(p, lr=0.02, momentum=0.9, dampening=0.2, weight_decay=0.05),
                 lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, dampening=0.2, weight_decay=0.05)),
    "nesterov": (lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
                 lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True)),
    "rmsprop": (lambda p: optim.RMSProp(p, lr=0.01, weight_decay=0.05), lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.05)),
    "centred": (lambda p: optim.RMSProp(p, lr=0.003, alpha=0.9, momentum=0.8, centered=True, eps=1e-3),
                lambda p: torch.optim.RMSprop(p, lr=0.003, alpha=0.9, momentum=0.8, centered=True, eps=1e-3)),
    "adam": (lambda p: optim.Adam(p, lr=0.02, betas=(0.8, 0.95), weight_decay=0.05),
             lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), weight_decay=0.05)),
    "adamw": (lambda p: optim.AdamW(p, lr=0.02, weight_decay=0.2), lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.2)),
    "groups": (lambda p: optim.AdamW([{"params": p[::2]}, {"params": p[1::2], "lr": 0.05, "weight_decay": 0.0}], lr=0.01),
               lambda p: torch.optim.AdamW([{"params": p[::2]}, {"params": p[1::2], "lr": 0.05, "weight_decay": 0.0}], lr=0.01)),
}


def losses(xp, tanh, p, x, y):
    return ((tanh(x @ p[0] + p[1]) @ p[2] + p[3] - y) ** 2).mean()


def train_ours(make, start=START, steps=STEPS, clip=None):
    p = [hp.asarray(a.copy(), requires_grad=True) for a in start]
    optimizer = make(p)
    x, y = hp.asarray(INPUTS), hp.asarray(TARGETS)
    for _ in range(steps):
        optimizer.zero_grad()
        losses(hp, hp.tanh, p, x, y).backward()
        if clip:
            clip(optim, p)
        optimizer.step()
    return [v.detach().numpy() for v in p]


def train_torch(make, start=START, steps=STEPS, clip=None, schedule=None):
    p = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    optimizer = make(p)
    scheduler = schedule(optimizer) if schedule else None
    x, y = torch.tensor(INPUTS), torch.tensor(TARGETS)
    for _ in range(steps):
        optimizer.zero_grad()
        losses(torch, torch.tanh, p, x, y).backward()
        if clip:
            clip(torch.nn.utils, p)
        optimizer.step()
        if scheduler:
            scheduler.step()
    return [v.detach().numpy() for v in p]


def agree(ours, theirs, rtol=1e-6):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_fifty_steps(name):
    ours, theirs = PAIRS[name]
    agree(train_ours(ours), train_torch(theirs))
    assert any(abs(a - b).max() > 1e-2 for a, b in zip(train_ours(ours), START, strict=True))       # something was trained


def test_clipped_by_norm():
    ours = train_ours(lambda p: optim.SGD(p, lr=0.1), clip=lambda m, p: m.clip_gradient_norm(p, 0.3))
    theirs = train_torch(lambda p: torch.optim.SGD(p, lr=0.1), clip=lambda m, p: m.clip_grad_norm_(p, 0.3))
    agree(ours, theirs, rtol=1e-4)       # PyTorch divides by norm + 1e-6, which is up to 3e-6 of a norm of 0.3 or more, at each step


def test_clipped_by_value():
    ours = train_ours(lambda p: optim.SGD(p, lr=0.1), clip=lambda m, p: m.clip_gradient_values(p, 0.05))
    theirs = train_torch(lambda p: torch.optim.SGD(p, lr=0.1), clip=lambda m, p: m.clip_grad_value_(p, 0.05))
    agree(ours, theirs)


def test_with_a_schedule():
    ours = train_ours(lambda p: optim.AdamW(p, lr=optim.OneCycle(0.05, steps=STEPS)))
    theirs = train_torch(lambda p: torch.optim.AdamW(p, lr=0.05),
                         schedule=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.05, total_steps=STEPS + 1, cycle_momentum=False))
    assert max(abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) > 1e-6                  # another length is another schedule
    theirs = train_torch(lambda p: torch.optim.AdamW(p, lr=0.002), steps=STEPS - 1,
                         schedule=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.05, total_steps=STEPS, cycle_momentum=False))
    agree(train_ours(lambda p: optim.AdamW(p, lr=optim.OneCycle(0.05, steps=STEPS)), steps=STEPS - 1), theirs)


@pytest.mark.parametrize("shape", [(4,), (3, 50, 60)], ids=["few: NumPy", "many: native, in place"])
def test_complex_parameters(shape):
    """PyTorch's gradient of a complex parameter is the conjugate of ours; the parameters move alike."""
    start = RNG.normal(size=shape) + 1j * RNG.normal(size=shape)
    wanted = RNG.normal(size=shape) + 1j * RNG.normal(size=shape)
    z = hp.asarray(start.copy(), requires_grad=True)
    w = torch.nn.Parameter(torch.tensor(start))
    ours, theirs = optim.Adam([z], lr=0.05), torch.optim.Adam([w], lr=0.05)
    for _ in range(STEPS):
        ours.zero_grad()
        theirs.zero_grad()
        hp.sum(hp.abs(z - hp.asarray(wanted)) ** 2).backward()
        ((w - torch.tensor(wanted)).abs() ** 2).sum().backward()
        ours.step()
        theirs.step()
    np.testing.assert_allclose(z.detach().numpy(), w.detach().numpy(), rtol=1e-6)
    assert abs(z.detach().numpy() - wanted).mean() < 0.5 * abs(start - wanted).mean()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
@pytest.mark.parametrize("match_adam", [False, True])
def test_muon(match_adam):
    """PyTorch runs Newton-Schulz in bfloat16, of 8 bits: a step agrees to some 2^-8 in norm, of which five matrix products make up to 5."""
    start = [RNG.normal(size=(5, 8)), np.zeros(8), RNG.normal(size=(8, 3)), np.zeros(3)]
    name = "match_rms_adamw" if match_adam else "original"

    def theirs(p):
        return torch.optim.Muon([p[0], p[2]], lr=0.01, weight_decay=0.1, adjust_lr_fn=name)

    def ours(p):
        return optim.Muon([p[0], p[2]], lr=0.01, weight_decay=0.1, match_adam=match_adam)

    a, b = train_ours(ours, start, steps=5), train_torch(theirs, start, steps=5)
    for mine, other, first in zip(a, b, start, strict=True):
        moved = np.linalg.norm(other - first)
        assert np.linalg.norm(mine - other) <= 0.02 * moved
    assert abs(a[0] - start[0]).max() > 1e-3
