"""Every CUDA kernel compiles for the GPUs it is meant for, and keeps its values in registers. NVRTC needs no GPU: it comes as a wheel."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hyperion
from hyperion import nn, optim
from hyperion.autograd.modifiers import text_of
from hyperion.codegen import cuda_text, elementwise_lines
from hyperion.codegen.cuda_loops import cuda_loop
from hyperion.codegen.elementwise import FUNCTIONS
from hyperion.codegen.loops import Loop, Operand
from hyperion.gpu import attention_general as general
from hyperion.gpu import attention_hopper as attention
from hyperion.gpu import attention_paged as paged
from hyperion.gpu import elementwise, launching, layers, multitensor, program, stencils
from tests.pde.registry import ENTRIES, Combination, _pairs

try:
    from cupy.cuda import nvrtc
except ImportError as missing:
    pytest.skip(f"NVRTC is not installed (extra cuda-check, gpu12 or gpu13): {missing}", allow_module_level=True)

KERNELS = Path(hyperion.__file__).parent / "gpu" / "kernels"
TARGETS = ("sm_80", "sm_90a")
MACROS = {
    "maps": [{}], "stencils": [{"AXES": 2}, {"AXES": 3}], "modes": [{"RANK": 1}, {"RANK": 2}, {"RANK": 3}],
    "layers": [{"ACT": act, "GATE": more, "ADDED": more} for act in layers.ACTIVATIONS.values() for more in (0, 1)],
    "rows": [{"LINE": line, "LANES": lanes, "HELD": held} for line, lanes, held in ((32, 1, 1), (64, 2, 4), (256, 2, 8))],
}
REDUCED = ("sin", "cos")        # CUDA's own bring large arguments back to a period with a few words of memory
RULES = [optim.SGD.rule(momentum=0.9), optim.Adam.rule(), optim.AdamW.rule(), optim.RMSProp.rule()]


def texts() -> list[tuple[str, str, dict[str, int]]]:
    """Return (name, text, macros) of all that is compiled for a GPU."""
    found = [(name, launching.source(name), macros) for name, several in MACROS.items() for macros in several]
    for rule in RULES:
        states, numbers = len(rule.remembered), len(rule.numbers(1))
        inputs = ["p", "g", *(f"s{k}" for k in range(states)), *(f"n{k}" for k in range(numbers))]
        lines = elementwise_lines(
            lambda xp, p, g, *rest, rule=rule, states=states: rule.formula(xp, p, g, rest[:states], rest[states:]), inputs,
            ["out[i]", *(f"state{k}[i]" for k in range(states))])
        found.append((type(rule).__name__, multitensor.text(lines, states, numbers), {"STATES": states, "NUMBERS": numbers}))
    def every(xp, x, y):
        start = xp.where(xp.isnan(x), xp.maximum(x, y), float("nan"))
        return sum((getattr(xp, name)(x) for name in FUNCTIONS if name not in REDUCED), start=start)

    lines = elementwise_lines(every, ["a0", "a1"], ["result"])
    return [*found, *(("elementwise", elementwise.text(lines, single), {}) for single in ((False, False), (False, True)))]


LOOPS = [
    Loop("map", 3, 3, ("const real t0 = tanh_of(p0) * p1 + p2;",),
         (Operand("float32", 1), Operand("float32", 0), Operand("int64", None), Operand("float32", 1, "t0"), Operand("bool", 1, "t0 > 0"))),
    Loop("all", 2, 0, (), (Operand("float32", 1), Operand("float32", None, "p0")), ("p0", "p0 * p0")),
    Loop("rows", 3, 1, ("const real t0 = exp_of(p0);",), (Operand("float32", 1), Operand("float32", 1, "t0")), ("t0",)),
    Loop("rows", 4, 2, ("const real t0 = ABS(p0) + FLOOR(p0) + CEIL(p0) + TRUNC(p0);",), (Operand("float32", None),), ("t0",)),
    Loop("columns", 4, 1, ("const real t0 = SQRT(p0 * p1);",), (Operand("float32", 1), Operand("uint8", 1)), ("t0", "p1")),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("far", [False, True])
def test_fused_loops_compile_and_spill_nothing(dtype, far, target):
    loops = [replace(loop, operands=tuple(replace(x, dtype=dtype if x.dtype == "float32" else x.dtype) for x in loop.operands))
             for loop in LOOPS]
    text = program.module([cuda_loop(loop, f"loop_{i}") for i, loop in enumerate(loops)])
    compiled(text, "loops", launching.options(np.dtype(dtype), **({"FAR": 1} if far else {})), target)


def text_id(tiling) -> str:
    return f"{type(tiling).__name__}-" + "-".join(map(str, tiling.macros().values()))


def compiled(text: str, name: str, options: tuple[str, ...], target: str, local: int = 0) -> str:
    """Compile a text, and return the compiler's log; fail if it refuses, warns, or keeps more than so many bytes of a thread in memory."""
    program = nvrtc.createProgram(text, f"{name}.cu", [], [])
    options = (*options, f"--gpu-architecture={target}", "--ptxas-options=-v",
               "--diag-suppress=177")       # a variable that is not used: no formula needs all that it is given
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    log = nvrtc.getProgramLog(program)
    assert "warning" not in log, log
    stacks = [int(n) for n in re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", log)]
    kernels = len(re.findall(r'extern "C" __global__', text.replace("\\\n", "")))
    assert len(stacks) >= 3 * kernels > 0 and max(stacks) <= local, log
    assert len(nvrtc.getCUBIN(program)) > 1000
    return log


def test_every_file_of_kernels_is_compiled_here():
    files = {path.stem for path in KERNELS.glob("*.cu")}
    attentions = {f"attention_{name}" for name in ("forward", "backward", "slopes")}
    attentions |= {f"attention_general_{name}" for name in ("forward", "rows", "backward", "bias")} | {"attention_paged"}
    assert files == {*MACROS, "multitensor", "elementwise", *attentions}


KINDS = [(tiling, 0) for tiling in (
    *attention.TILINGS, *attention.SPLIT_TILINGS, *attention.SLOPE_TILINGS, *attention.BACK_TILINGS[True], *attention.BACK_TILINGS[False])]
KINDS += [(tiling, kind) for kind in (1, 2) for tiling in (
    *attention.TILINGS, *attention.SLOPE_TILINGS, *attention.BACK_TILINGS_LISTED[True], *attention.BACK_TILINGS_LISTED[False])]


def kind_of(tiling, kind):
    """Return a case; all of them take a minute and a half, so a part of them is enough for every day."""
    daily = kind == 0 if tiling.head in (96, 256) else kind != 1
    return pytest.param(tiling, kind, id=f"{text_id(tiling)}-{kind}", marks=() if daily else pytest.mark.full)


@pytest.mark.parametrize(("tiling", "kind"), [kind_of(*one) for one in KINDS])
def test_kernels_of_attention_compile_and_spill_nothing(tiling, kind):
    log = compiled(attention.text(tiling), "attention", (*attention.options(tiling, kind != 2, kind), "-std=c++17"), "sm_90a")
    assert "C75" not in log, log            # products made to wait for each other, or shares of registers ignored


ROOMS = {"sm_80": 166912, "sm_90": 232448}             # shared memory of a block of threads
THINGS = {
    "plain": general.NOTHING, "bias": general.Extras(bias=np.ones((1, 1, 1, 1), np.float16)),
    "dropout": general.Extras(dropout=(0.1, (1, 2), 1)),
    "all": general.Extras(text_of(nn.SoftCap(50.0)), np.ones((1, 1, 1, 1), np.float32), (1.0,), 0, (0.1, (1, 2), 1)),
}


def generals() -> list[Any]:
    """Return (name, tiling, things, mask, target) of the attention kernels for all GPUs; a part of them for every day."""
    found = []
    for single, head, target in itertools.product((False, True), range(32, 257, 32), ROOMS):
        for thing, mask in (("plain", 0), ("plain", 1), ("plain", 2), ("bias", 0), ("dropout", 0), ("all", 2)):
            things = THINGS[thing]
            sides = [(general.QUERIES, 1), *((general.KEYS, gives) for gives in general.passes(head, single, things.plain))]
            kernels = [("forward", general.tilings(head, single, things.plain, mask == 0))]
            kernels += [("backward", general.back_tilings(head, single, things.plain, *side)) for side in sides]
            kernels += [("bias", general.back_tilings(head, single, False, general.TABLE, 1))] if things.bias is not None else []
            for name, several in kernels:
                tiling = next(one for one in several if one.shared <= ROOMS[target])
                daily = (head, thing, mask) in ((128, "plain", 0), (64, "all", 2)) and target == "sm_80"
                marks, label = () if daily else pytest.mark.full, f"{name}-{text_id(tiling)}-{thing}-{mask}-{target}"
                found.append(pytest.param(f"attention_general_{name}", tiling, things, mask, target, marks=marks, id=label))
    return found


@pytest.mark.parametrize(("name", "tiling", "things", "mask", "target"), generals())
def test_kernels_of_attention_for_all_gpus_compile_and_spill_nothing(name, tiling, things, mask, target):
    # with all of it at once, and bits, the assembler puts a number or two aside; of float32, which takes all registers, a few
    compiled(general.text(name, things.modifier), name, (*general.options(tiling, True, mask, things), "-std=c++17"), target,
             32 if tiling.single else 16 if things is THINGS["all"] else 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("head", "single"), [(64, False), (128, False), (256, False), (32, True), (128, True)])
def test_kernels_of_attention_to_pages_compile_and_spill_nothing(head, single, target):
    for tiling in paged.tilings(head, single):
        if 2 * tiling.shared <= ROOMS[target[:5]]:
            compiled(paged.text(), "attention_paged", (*tiling.options(True), "-std=c++17"), target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("char", ["E", "f", "d"])
@pytest.mark.parametrize(("name", "text", "macros"), [pytest.param(*one, id=f"{one[0]}-{i}") for i, one in enumerate(texts())])
def test_kernels_compile_and_spill_nothing(name, text, macros, char, target):
    file = KERNELS / f"{name}.cu"
    if char != "E" or (file.exists() and "bfloat.cuh" in file.read_text()):
        compiled(text, name, launching.options(char, **macros), target)


# Bytes of local memory that a thread may have. In the interior next to none: the assembler puts a number or two there where that makes room
# for more threads. The slabs of nonlinear rates in four stages, and of tilted media, hold more than 255 registers do.
INTERIOR, SLABS = 64, 512


@pytest.mark.parametrize("entry", [
    pytest.param(e, id=e.name, marks=() if e.name in ("acoustic", "pair", "acoustic-1d") else pytest.mark.full) for e in ENTRIES])
def test_sweeps_of_every_equation_compile_and_stay_in_registers(entry):
    sent, heard = _pairs(entry)[0]
    case = Combination(entry, entry.boundaries[0], 2, "auto", 1, sent, heard).case()
    for target, dtype in zip(TARGETS, ("float64", "float32"), strict=True):
        engine, vector = case.solver.engine(0, np.dtype(dtype), sent), 16 // np.dtype(dtype).itemsize
        made = [cuda_text(engine.program, engine.histories, vector), cuda_text(engine.transposed.program, (), vector, engine.recorded)]
        for text in (text for x in made for text in x.texts if text):
            options = (*launching.options(np.dtype(dtype), AXES=engine.program.ndim), *stencils.FLUSH)
            log = compiled(launching.source("stencils") + text, entry.name, options, target, SLABS)
            inner = [int(n) for n in re.findall(r"Function properties for interior\w+\s+ptxas[ .]+(\d+) bytes stack frame", log)]
            assert max(inner, default=0) <= INTERIOR, log
            assert inner or "interior" not in text
