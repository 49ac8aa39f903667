"""Compiled functions on the GPU: eager equals jit for the table and random programs, replays see new values; what cannot be compiled."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import hyperion as hp
from hyperion import nn, optim
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.jit import cuda
from hyperion.codegen.cuda_loops import THREADS, launch_of
from hyperion.codegen.loops import Loop, Operand
from hyperion.errors import CompilerError, InputError, SpeedWarning
from hyperion.gpu import cublaslt, program
from tests.autograd.jit import test_programs
from tests.autograd.jit.test_table import functions
from tests.autograd.samples import SAMPLES
from tests.autograd.test_table import CORE_CASES
from tests.gpu import standin

PLACES = ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)]
BEYOND = {"add_rows", "getitem", "scatter", "segment_extreme", "take_rows"}     # the stand-in has no part of sparse matrices


@pytest.fixture(params=PLACES)
def cupy(request, monkeypatch):
    """CuPy, or what passes for it in the emulator."""
    return standin.at(request.param, monkeypatch)


def away(x: Any) -> Any:
    """Return a Tensor on the GPU."""
    return hp.asarray(x, device="cuda:0")


def home(x: Any) -> Any:
    return x.to("cpu").numpy()


def equal(got: Any, wanted: Any, tolerance: float = 1e-11) -> None:
    got, wanted = (x if isinstance(x, tuple | list) else (x,) for x in (got, wanted))
    for x, y in zip(got, wanted, strict=True):
        assert (x.shape, x.dtype, x.device) == (y.shape, y.dtype, y.device)
        x, y = home(x), home(y)
        size = 1.0 + float(np.abs(y).max(initial=0.0, where=np.isfinite(y)))
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * size)


# As on the CPU: another order of sums, and functions of another library, a few units in the last place each.
@pytest.mark.filterwarnings("ignore::hyperion.errors.SpeedWarning")         # what CuPy does by NumPy runs as it is
@pytest.mark.parametrize("case", [
    pytest.param(case.values, id=case.id, marks=() if k % 90 == 0 else pytest.mark.full) for k, case in enumerate(CORE_CASES)])
def test_eager_equals_compiled_for_the_table(cupy, case):
    emulated = cupy.ndarray is standin.ndarray
    if emulated and (case[0] in BEYOND or case[0].startswith("attention")):
        pytest.skip("the stand-in has no part of this operation")
    whole, arrays = functions(*case, device="cuda:0")
    moved = [x * 1.0001 if is_inexact(x.dtype) else x for x in arrays]
    for f in whole:
        compiled = hp.jit(f)
        for arguments in (arrays, moved, arrays, moved):        # run by launches, noted as graphs, and replayed with other values
            equal(compiled(*arguments), f(*arguments))


def test_most_of_the_table_is_walked():
    assert len({case.values[0] for case in CORE_CASES} - BEYOND) > 0.95 * len(SAMPLES)


@settings(max_examples=3, **test_programs.QUICK)
@given(case=test_programs.programs)
def test_random_programs_in_the_emulator(case):
    with pytest.MonkeyPatch.context() as patch:
        standin.at("emulated", patch)
        test_programs.check(case, "cuda:0")


@pytest.mark.gpu
@settings(max_examples=500, **test_programs.QUICK)
@given(case=test_programs.programs)
def test_random_programs_on_a_gpu(case):
    test_programs.check(case, "cuda:0")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axes"), [
    ((5,), (0,)), ((20001,), (0,)), ((3, 16384), (1,)), ((4, 5), (0,)), ((300, 7), (0,)), ((900, 64), (0,)), ((3, 5, 8), (1,)),
    ((2, 3, 4, 5), (1, 2)), ((40, 30, 12), (0, 2)), ((2, 2000, 12), (1,)), ((1, 1), (0, 1)), ((6, 7), ()), ((500, 3, 4), (1, 2)),
])
def test_sums_over_any_axes(cupy, shape, axes, dtype):
    x = away(np.random.default_rng(1).uniform(-1.0, 1.0, shape).astype(dtype))
    compiled = hp.jit(lambda x: (hp.sum(x * 2.0, axis=axes), hp.mean(hp.square(x), axis=axes, keepdims=True), hp.tanh(x)))
    for values in (x, -x, x):
        wide = home(values).astype(np.float64)
        expected = (wide * 2.0).sum(axis=axes), (wide * wide).mean(axis=axes, keepdims=True), np.tanh(wide)
        for got, wanted in zip(compiled(values), expected, strict=True):
            assert got.dtype == dtype and got.shape == wanted.shape
            scale = np.sqrt(np.prod([shape[i] for i in axes]))          # of the sum, and of its rounding in float32
            assert np.max(np.abs(home(got) - wanted)) < scale * (5e-6 if dtype == "float32" else 1e-13)


def test_arrays_that_do_not_begin_at_16_bytes(cupy):
    x = away(np.arange(24.0, dtype=np.float32).reshape(4, 6))
    compiled = hp.jit(lambda x: (x[1:, 1:] * 2.0, x[:, ::2] + 1.0, hp.permute_dims(x, (1, 0)) * x[0, 0], hp.sum(x[:, 1:5], axis=1)))
    for values in (x, x + 1.0, x):
        equal(compiled(values), compiled.function(values), 1e-6)


def test_results_are_not_written_over(cupy):
    compiled = hp.jit(lambda x: (hp.sum(x * x), hp.exp(x)))
    kept = [compiled(away(np.full(7, k / 8))) for k in range(40)]           # the addresses never settle
    for k, (total, values) in enumerate(kept):
        np.testing.assert_allclose(home(total), 7 * (k / 8) ** 2)
        np.testing.assert_allclose(home(values), np.exp(np.full(7, k / 8)))


def training(device: str, jit: Any, steps: int, batches: Any) -> list[Any]:
    """Return the losses and the weights of a few steps."""
    model = nn.MLP([6, 16, 1], activation=hp.tanh, generator=hp.random.Generator(3), dtype="float64").to(device)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)

    def step(x: Any, y: Any) -> Any:
        loss = hp.mean(hp.square(model(x) - y))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    step = jit(step)
    losses = [home(step(hp.asarray(x, device=device), hp.asarray(y, device=device))) for x, y in batches[:steps]]
    return [*losses, *(home(p.detach()) for p in model.parameters())]


def test_a_training_step_with_its_optimiser(cupy):
    random = np.random.default_rng(2)
    batches = [(random.normal(size=(n, 6)), random.normal(size=(n, 1))) for n in (8, 8, 8, 5, 8, 8, 5, 8)]      # two batch sizes
    for found, expected in zip(training("cuda:0", hp.jit, 8, batches), training("cpu", lambda f: f, 8, batches), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_another_batch_size_compiles_nothing(cupy):
    compiled = hp.jit(hp.grad(lambda x, w: hp.sum(hp.tanh(x @ w) ** 2), argnums=1))
    random = np.random.default_rng(4)
    w = away(random.normal(size=(8, 4)))
    compiled(away(random.normal(size=(16, 8))), w)
    before = set(program._known)
    x = away(random.normal(size=(24, 8)))
    equal(compiled(x, w), compiled.function(x, w))
    assert before and set(program._known) == before and "recorded 2 times" in repr(compiled)


def test_random_numbers_differ_from_run_to_run(cupy):
    def draw(device: str, jit: Any) -> list[Any]:
        generator = hp.random.Generator(5)
        f = jit(lambda x: hp.sum(x * generator.uniform(x.shape, dtype="float64", device=device)))
        x = hp.asarray(np.ones(9), device=device)
        return [float(home(f(x))) for _ in range(4)]

    found = draw("cuda:0", hp.jit)
    assert len(set(found)) == 4
    np.testing.assert_allclose(found, draw("cuda:0", lambda f: f), rtol=1e-13)


def test_tensors_on_two_devices_are_named_once(cupy):
    here, there = hp.asarray(np.ones(3)), away(np.ones(3))
    compiled = hp.jit(lambda x: x * there.to("cpu"))
    with pytest.warns(SpeedWarning, match="on cuda:0 and on cpu.*move Tensors to one device"):
        out = compiled(here)
    assert out.device == "cpu"
    compiled(here)                          # no second warning


def test_a_way_to_the_cpu_inside_is_named_with_its_line(cupy):
    x = away(np.ones(3))
    compiled = hp.jit(lambda x: x.to("cpu") * 2.0)
    with pytest.warns(SpeedWarning, match="to_device at .*test_jit.py.*on cpu, others are on cuda:0"):
        out = compiled(x)
    assert out.device == "cpu"
    compiled(x)
    with pytest.raises(InputError, match="there is no program, since to_device"):
        compiled.lower(x)


def test_derivatives_from_outside_run_the_function_as_it_is(cupy):
    x = hp.asarray(np.linspace(0.0, 1.0, 5), requires_grad=True, device="cuda:0")
    compiled = hp.jit(lambda x: hp.sum(hp.tanh(x)))
    with pytest.warns(SpeedWarning, match="derivative is taken outside, on cuda:0; take it inside"):
        compiled(x).backward()
    np.testing.assert_allclose(home(x.grad), 1 / np.cosh(home(x.detach())) ** 2, rtol=1e-13)


def test_loops_on_values_run_as_they_are(cupy):
    x = away(np.linspace(0.0, 1.0, 5))
    compiled = hp.jit(lambda x: hp.scan(lambda carry, _: (hp.sin(carry), carry), x, None, length=3)[0])
    with pytest.warns(SpeedWarning, match="a loop or branch on values at .*test_jit.py.* is on cuda:0"):
        equal(compiled(x), hp.sin(hp.sin(hp.sin(x))))


def test_a_text_that_the_compiler_refuses_leaves_the_work_to_cupy(cupy, monkeypatch):
    def refuse(loops: Any, device: int) -> Any:
        if loops:
            raise CompilerError("NVRTC refuses the text of a fused loop: line 3")
        return []

    monkeypatch.setattr(cuda, "compiled", refuse)
    compiled, x = hp.jit(lambda x: hp.tanh(x) * 2.0), away(np.ones(5))
    with pytest.warns(SpeedWarning, match="runs by CuPy.*line 3"):
        equal(compiled(x), compiled.function(x))


def test_arrays_of_products_begin_where_their_numbers_may():
    assert {char: np.dtype({"E": "e"}.get(char, char)).itemsize for char in cublaslt.TYPES} == cublaslt.SIZES


def test_products_without_the_library_are_cupys(cupy, monkeypatch):
    monkeypatch.setattr("hyperion.gpu.cublaslt.available", lambda: False)
    x = away(np.random.default_rng(1).normal(size=(4, 4)))
    compiled = hp.jit(lambda x: hp.tanh(x @ x))
    equal(compiled(x), compiled.function(x))
    assert "NumPy: " in compiled.lower(x).plan


def test_what_a_program_was_made_of_is_shown(cupy):
    x = away(np.ones((3, 4), np.float32))
    made = hp.jit(lambda x: hp.sum(hp.exp(x), axis=0)).lower(x)
    assert "__global__ void item_0(" in made.code and "exp_of(" in made.code and "sums (columns)" in made.plan


LOOPS = {
    "map": Loop("map", 2, 2, (), (Operand("float32", 1), Operand("float32", 1, "p0"))),
    "all": Loop("all", 1, 0, (), (Operand("float32", 1),), ("p0",)),
    "rows": Loop("rows", 2, 1, (), (Operand("float32", 1),), ("p0",)),
    "columns": Loop("columns", 2, 0, (), (Operand("float32", 1),), ("p0",)),
}


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("lengths", [(1, 1), (3, 5), (1, 1 << 20), (1 << 20, 1), (1 << 14, 1 << 14), (7, 100003), (1 << 26, 16)])
def test_launches_cover_the_work(kind, lengths):
    """There are threads for all of it, and every sum of many numbers is shared among many."""
    loop = LOOPS[kind]
    lengths = list(lengths[-loop.rank:])
    for packed in (False, True) if lengths[-1] % 4 == 0 else (False,):
        launch = launch_of(loop, lengths, 4, packed)
        each = 4 if packed else 1
        packs = lengths[-1] // each
        assert 0 < launch.blocks < 1 << 31 and launch.line in (1, 2, 4, 8, 16, 32, 64, 128, THREADS)
        if kind == "map":
            assert launch.blocks * THREADS >= lengths[0] * packs > (launch.blocks - 1) * THREADS
        elif kind == "columns":
            assert launch.blocks == launch.parts * -(-packs // launch.line) and launch.sums == lengths[1]
        else:
            assert launch.blocks * (THREADS // launch.line) >= launch.sums * launch.parts
        work = np.prod(lengths) // each
        if kind != "map" and work > 1 << 22:
            assert launch.blocks >= 264, "too few blocks for a large GPU"
        assert launch.parts == 1 or launch.end[0] * THREADS // launch.end[1] >= launch.sums
