"""The walk over every primitive: rules against differences, against each other, and to third order in every mix of forward and reverse.

The rows of the core are in samples.py beside this file; a floor above that adds primitives has its own in tests/<room>/samples.py.
"""

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

import hyperion
from hyperion.autograd import PRIMITIVES, Tensor, elementwise
from hyperion.gpu import device
from hyperion.testing import check_batching, check_rules, check_taylor
from tests.autograd.samples import SAMPLES as CORE

SAMPLES = dict(CORE)
for room in ("pde", "nn", "operators"):
    if getattr(hyperion, room, None) is not None and importlib.util.find_spec(f"tests.{room}.samples") is not None:
        SAMPLES |= importlib.import_module(f"tests.{room}.samples").SAMPLES
NAMES = sorted(name for name, op in PRIMITIVES.items() if op.forward.__module__.startswith("hyperion."))
CASES = [pytest.param(name, i, id=f"{name}-{i}") for name in NAMES for i in range(len(SAMPLES.get(name, ())))]
NARROW = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.complex128): np.dtype(np.complex64)}
# Samples of the core are plain arrays, which may be converted; those of the floors above are bound to a precision and a device.
CORE_CASES = [case for case in CASES if case.values[0] in CORE]


def test_every_entry_of_the_table_has_a_sample() -> None:
    assert set(NAMES) - set(SAMPLES) == set()
    assert set(SAMPLES) - set(NAMES) == set()


@pytest.mark.parametrize(("name", "i"), CASES)
def test_rules_to_third_order(name: str, i: int) -> None:
    check_rules(PRIMITIVES[name], [SAMPLES[name][i]], order=3, tolerance=1e-10)


@pytest.mark.parametrize(("name", "i"), CASES)
def test_taylor_mode_equals_nested_jvp_to_fourth_order(name: str, i: int) -> None:
    check_taylor(PRIMITIVES[name], [SAMPLES[name][i]], order=4)


@pytest.mark.parametrize(("name", "i"), CORE_CASES)
def test_a_batch_equals_a_loop_over_its_examples(name: str, i: int) -> None:
    check_batching(PRIMITIVES[name], [SAMPLES[name][i]])


@pytest.mark.parametrize(("name", "i"), CORE_CASES)
def test_float32_stays_float32(name: str, i: int) -> None:
    inputs, params = SAMPLES[name][i]
    if name == "astype":
        params = {"dtype": NARROW[params["dtype"]]}
    narrow = [x.astype(NARROW.get(x.dtype, x.dtype)) for x in map(np.asarray, inputs)]
    wide, out = PRIMITIVES[name](*inputs, **SAMPLES[name][i][1]), PRIMITIVES[name](*narrow, **params)
    for x, y in zip(wide, out, strict=True) if isinstance(out, tuple) else ((wide, out),):
        assert y.dtype == NARROW.get(x.dtype, x.dtype)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "i"), CORE_CASES)
def test_rules_on_the_gpu_and_values_as_on_the_cpu(name: str, i: int) -> None:
    inputs, params = SAMPLES[name][i]
    there = [Tensor(device.to_device(np.asarray(x), "cuda:0")) for x in inputs]
    moved: dict[str, Any] = {key: tuple(device.to_device(part, "cuda:0") if device.is_array(part) else part for part in value)
                             if key == "index" else value for key, value in params.items()}
    if name == "to_device":
        moved = {"device": "cuda:0"}
    on_cpu, on_gpu = PRIMITIVES[name](*inputs, **params), PRIMITIVES[name](*there, **moved)
    for x, y in zip(on_cpu, on_gpu, strict=True) if isinstance(on_gpu, tuple) else ((on_cpu, on_gpu),):
        assert y.device == "cuda:0"
        np.testing.assert_allclose(device.to_numpy(y.data), x.data, rtol=1e-12, atol=1e-12)
    check_rules(PRIMITIVES[name], [(there, moved)], order=2, tolerance=1e-10)


class Text:
    """A stand-in for an array that knows operators only: what a compiler passes to a forward."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __neg__(self) -> "Text":
        return Text(f"(-{self.text})")


    def __invert__(self) -> "Text":
        return Text(f"(~{self.text})")


def _operator(sign: str, reflected: bool) -> Any:
    def combine(x: Any, y: Any) -> Text:
        left, right = (getattr(value, "text", value) for value in ((y, x) if reflected else (x, y)))
        return Text(f"({left} {sign} {right})")

    return combine


SIGNS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "pow": "**", "floordiv": "//", "mod": "%", "and": "&", "or": "|", "xor": "^"}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
for method, sign in SIGNS.items() | COMPARISONS.items():
    setattr(Text, f"__{method}__", _operator(sign, False))
for method, sign in SIGNS.items():
    setattr(Text, f"__r{method}__", _operator(sign, True))


class Namespace:
    """A namespace whose functions return their own text."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: Text(f"{name}({', '.join(str(getattr(x, 'text', x)) for x in args)})")


@pytest.mark.parametrize("name", [name for name in NAMES if PRIMITIVES[name].form == "elementwise"])
def test_an_elementwise_forward_uses_only_functions_of_its_namespace_and_operators(name: str) -> None:
    inputs, params = SAMPLES[name][0]
    out = PRIMITIVES[name].forward(Namespace(), *(Text(f"x{i}") for i in range(len(inputs))), **params)
    assert isinstance(out, Text)
    assert all(f"x{i}" in out.text for i in range(len(inputs)))


def test_a_wrong_partial_is_found() -> None:
    wrong = elementwise("wrong_square", lambda xp, x: x * x, lambda out, x: 2.001 * x)
    try:
        with pytest.raises(AssertionError, match="wrong_square, sample 1: the jvp and central differences disagree"):
            check_rules(wrong, [((np.array([1.0, 2.0]),), {})])
    finally:
        del PRIMITIVES["wrong_square"]
