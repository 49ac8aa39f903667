"""Eager equals jit for the scenarios: each smoke run begins; the values and gradients it asks for are computed both ways and compared."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import autograd, nn
from hyperion.cli import main
from hyperion.errors import GraphError
from hyperion.nn.initializers import default_generator

SCENARIOS = sorted(path.stem for path in (Path(__file__).resolve().parents[3] / "scenarios").glob("*.py"))
COMPARED = 2            # values and gradients of each scenario; then its run ends
# Scenarios that do not differentiate.
NOTHING = {"wavefield": "forward modelling only"}
# What jit refuses, by name: a check of values between steps; a network that is not among the arguments.
REFUSED = {
    "fwi": r"the value of a Tensor of shape \(21, 51\) is needed \(numpy.isfinite\) while the function is recorded",
    "pinn_allen_cahn": r"was computed inside the function from one that requires a gradient .* pass that Tensor, or the Module",
}


class Enough(BaseException):
    """Ends a scenario in which enough was compared; no handler of errors takes it for one."""


def arrays(tree: Any) -> list[np.ndarray]:
    return [leaf.numpy() if isinstance(leaf, hp.Tensor) else np.asarray(leaf) for leaf in autograd.trees.flatten(tree)[0]]


class Comparison:
    """Stands for `value_and_grad` and for the Trainer's backward: computes by jit first, then as written from the same random state, and
    compares."""

    def __init__(self) -> None:
        self.count = 0
        self.refusal = ""
        self.gradient = autograd.value_and_grad

    def compare(self, function: Callable[..., Any], *args: Any) -> Any:
        state = default_generator().state()
        try:
            found = arrays(hp.jit(function)(*args))
        except GraphError as error:
            self.refusal = str(error)
            raise Enough from None
        after = default_generator().state()
        default_generator().restore(state)
        wanted = function(*args)
        assert default_generator().state() == after
        expected = arrays(wanted)
        assert len(found) == len(expected)
        # Sums of another order: 2000 roundings of the largest number beside them. A gradient may itself be a sum that cancels (that of a
        # bias before differences is 0), so it is held against the largest of all gradients.
        scale = max((float(np.abs(x).max(initial=0.0)) for x in expected[1:]), default=0.0)
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert one.shape == other.shape and one.dtype == other.dtype
            size = scale if i else float(np.abs(other).max(initial=0.0))
            exact = np.finfo(other.dtype).eps if other.dtype.kind in "fc" else 0.0
            np.testing.assert_allclose(one, other, rtol=0, atol=2000 * exact * size)
        self.count += 1
        if self.count == COMPARED:
            raise Enough
        return wanted

    def value_and_grad(self, *args: Any, **options: Any) -> Callable[..., Any]:
        gradient = self.gradient(*args, **options)
        return lambda *given: self.compare(gradient, *given)

    def backward(self, trainer: Any, batch: Any, number: int, factor: float) -> float:
        def step(model: nn.Module, *batch: Any) -> Any:
            loss = trainer.loss(model, *batch)
            (loss * factor).backward()
            slopes = [p.grad for p in model.parameters()]
            for p in model.parameters():
                p.grad = None
            return loss.detach(), slopes

        before = [p.grad for p in trainer.model.parameters()]
        for p in trainer.model.parameters():
            p.grad = None
        value, slopes = self.compare(step, trainer.model, *batch)
        for p, old, slope in zip(trainer.model.parameters(), before, slopes, strict=True):
            p.grad = slope if old is None else old if slope is None else old + slope
        return float(value)


@pytest.mark.parametrize("name", SCENARIOS)
def test_eager_equals_jit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison()
    for place in (hp, autograd):
        monkeypatch.setattr(place, "value_and_grad", comparison.value_and_grad)
    monkeypatch.setattr(nn.Trainer, "_backward", lambda trainer, *args: comparison.backward(trainer, *args))
    ended = False
    try:
        assert main(["run", name, "--smoke", "--out", str(tmp_path / "run")]) == 0
    except Enough:
        ended = True
    if name in REFUSED:
        assert re.search(REFUSED[name], comparison.refusal)
    elif name in NOTHING:
        assert not ended and comparison.count == 0
    else:
        assert comparison.count and not comparison.refusal, comparison.refusal
