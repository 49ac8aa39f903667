"""Each pass by example: the program before and after. And the parts below: views, fusion, places in memory, texts of loops."""

import ctypes
import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.autograd.jit import jit, reference
from hyperion.autograd.jit.expand import expand
from hyperion.autograd.jit.groups import Reading
from hyperion.autograd.jit.ir import Code, Step, Value, verify
from hyperion.autograd.jit.native import Runner
from hyperion.autograd.jit.passes import PASSES, SIMPLER, dead_code, fold, optimised, same_steps, simplify
from hyperion.autograd.jit.plan import plan
from hyperion.autograd.jit.products import Product
from hyperion.autograd.jit.recording import record
from hyperion.autograd.jit.surroundings import Surroundings
from hyperion.autograd.jit.views import View, contiguous, merged
from hyperion.autograd.table import PRIMITIVES
from hyperion.errors import GraphError

x, y = hp.asarray(np.linspace(-1.0, 1.0, 6).reshape(2, 3)), hp.asarray(np.linspace(0.5, 1.0, 3))


def recorded(f: Callable[..., Any], *args: Any) -> Code:
    """Return the program of a function as it is recorded."""
    found = Surroundings(f)
    return record(f, [found.argument(a) for a in args], {}, found).code


def names(code: Code) -> list[str]:
    return [step.name for step in code.steps]


def same(before: Code, after: Code, *args: Any) -> None:
    arrays = [np.asarray(a.data) for a in args]
    for one, other in zip(reference.run(before, arrays), reference.run(after, arrays), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_simplify() -> None:
    before = recorded(lambda x: hp.permute_dims(hp.permute_dims(hp.negative(hp.negative(x * 1.0)) / 1.0, (1, 0)), (1, 0)) + 0.0, x)
    after = dead_code(simplify(before))
    assert names(before) == ["multiply", "negative", "negative", "divide", "permute_dims", "permute_dims", "add"]
    assert names(after) == ["add"]          # x + 0 stays: it makes 0 of -0
    same(before, after, x)


@pytest.mark.parametrize("row", SIMPLER, ids=lambda row: f"{row[0]}: {row[1]}")
def test_each_row_of_simplify_keeps_the_value(row: Any) -> None:
    examples: dict[str, Callable[[Any], Any]] = {
        "x * 1 = x": lambda x: x * 1.0, "1 * x = x": lambda x: 1.0 * x, "x / 1 = x": lambda x: x / 1.0,
        "-(-x) = x": lambda x: hp.negative(hp.negative(x)),
        "conj(conj(x)) = x": lambda x: hp.conj(hp.conj(hp.astype(x, "complex128"))), "+x = x": lambda x: hp.positive(x),
        "constant_of(x) = x": lambda x: PRIMITIVES["constant_of"](x),
        "identity(x) = x": lambda x: PRIMITIVES["identity"](x), "in its own dtype": lambda x: PRIMITIVES["astype"](x, dtype=x.dtype),
        "to its own shape": lambda x: PRIMITIVES[row[0]](x, shape=x.shape),
        "and back": lambda x: hp.permute_dims(hp.permute_dims(x, (1, 0)), (1, 0)),
    }
    before = recorded(examples[row[1]], x)
    after = dead_code(simplify(before))
    assert names(before).count(row[0]) > names(after).count(row[0])
    same(before, after, x)


def test_what_simplify_must_leave() -> None:
    before = recorded(lambda x: hp.broadcast_to(hp.asarray(1.0), (4, 2, 3)) * x, x)         # here 1 changes the shape
    same(before, dead_code(simplify(before)), x)
    assert "multiply" in names(simplify(before))


def test_fold_and_same_steps() -> None:
    before = recorded(lambda x: hp.exp(x) * y + hp.exp(x) * y, x)
    assert names(dead_code(same_steps(before))) == ["exp", "multiply", "add"]
    same(before, same_steps(before), y, x)        # y is around the function, and found first
    # 1 and 1.0 and True are equal to Python, but other parameters are other steps.
    apart = recorded(lambda x: hp.sum(x, axis=0) + hp.sum(x, axis=1, keepdims=True), x)
    assert names(same_steps(apart)) == names(apart)
    a = Value(0, (), np.dtype(float), np.asarray(2.0))
    b, c = Value(1, (), np.dtype(float)), Value(2, (), np.dtype(float))
    code = Code((), [Step(PRIMITIVES["multiply"], [a, a], {}, [b]), Step(PRIMITIVES["exp"], [b], {}, [c])], [c], {})
    folded = fold(code)
    assert names(folded) == [] and folded.results[0].constant == np.exp(4.0)


def test_dead_code_keeps_effects() -> None:
    generator = hp.random.Generator(0)

    def f(x: Any) -> Any:
        generator.normal((3,))              # nobody uses it, but the next draw is another one
        hp.exp(x)
        return x + generator.normal((3,))

    assert names(dead_code(recorded(f, hp.ones(3)))) == ["normal", "normal", "add"]


def test_expand_writes_linear_layers_out() -> None:
    layer = nn.Linear(3, 4)

    def f(x: Any) -> Any:
        return hp.grad(lambda w: hp.sum(PRIMITIVES["affine"](x, w, layer.bias.detach()) ** 2))(layer.weight.detach())

    z = hp.asarray(np.linspace(-1.0, 1.0, 6, dtype=np.float32).reshape(2, 3))
    before = recorded(f, z)
    after = expand(before)
    assert "pull_affine" in names(before)
    assert not {"affine", "pull_affine"} & set(names(after))
    assert "matmul" in names(after)


def test_expand_leaves_a_bias_and_its_gradient_to_the_loops_beside_them() -> None:
    rng = np.random.default_rng(0)
    batch, weight, bias = (hp.asarray(rng.normal(size=shape).astype(np.float32)) for shape in ((2, 3, 4), (512, 4), (512,)))

    def f(x: Any, w: Any, b: Any) -> Any:
        return hp.sum(hp.tanh(PRIMITIVES["affine"](x, w, b)))

    product, loop = plan(optimised(recorded(lambda x, w, b: hp.tanh(PRIMITIVES["affine"](x, w, b)), batch, weight, bias))).items
    assert isinstance(product, Product) and loop.names == ["add", "tanh"]
    gradients = hp.grad(f, argnums=(0, 1, 2))
    _, fused, to_x, to_weight, copied = plan(optimised(recorded(gradients, batch, weight, bias))).items
    assert fused.names[:2] == ["add", "tanh"] and fused.names[-1] == "sum"          # tanh, its derivative and the sum are one loop
    assert isinstance(to_x, Product) and isinstance(to_weight, Product) and copied.names == ["copy"]        # to the result's own shape
    for got, wanted in zip(jit(gradients)(batch, weight, bias), gradients(batch, weight, bias), strict=True):
        np.testing.assert_allclose(got.data, wanted.data, rtol=0, atol=1e-4)        # sums of 512 numbers up to 3 in float32


def test_expand_writes_heads_as_views() -> None:
    rows = hp.asarray(np.arange(48.0).reshape(2, 2, 12))
    before = recorded(lambda x: hp.split_heads(x, (2, 1, 1), 3), rows)
    after = expand(before)
    assert names(before) == ["split_heads"]
    assert names(after) == ["reshape", "permute_dims", "getitem", "getitem", "getitem"]
    same(before, after, rows)
    assert all(isinstance(item, Reading) and item.names == ["copy"] for item in plan(optimised(before)).items)     # results are new arrays


def test_every_pass_is_checked_after_it() -> None:
    code = recorded(lambda x: hp.tanh(x) * 2.0, x)
    seen: list[str] = []
    optimised(code, lambda name, code: seen.append(name))
    assert seen == [name for name, _ in PASSES]
    with pytest.raises(GraphError, match=r"after the pass 'mine' the step .* uses .* before it is made"):
        verify(Code(code.inputs, code.steps[::-1], code.results, {}), "mine")
    with pytest.raises(GraphError, match=r"makes .* a second time"):
        verify(Code(code.inputs, [*code.steps, code.steps[0]], code.results, {}), "mine")
    with pytest.raises(GraphError, match="is never made"):
        verify(Code(code.inputs, [], code.results, {}), "mine")


@pytest.mark.parametrize(("shape", "strides", "wanted"), [
    ((2, 3), (3, 1), (6,)), ((2, 3), (3, 1), (3, 2)), ((2, 3), (6, 2), (3, 2)), ((4, 3), (0, 1), (2, 2, 3)), ((4, 3), (0, 0), (12,)),
    ((2, 3), (1, 2), (6,)), ((2, 3, 4), (24, 4, 1), (2, 12)), ((2, 3, 4), (24, 4, 1), (24,)), ((1, 6), (6, 1), (2, 1, 3)), ((), (), (1, 1)),
])
def test_strides_after_a_reshape_are_numpys(shape: Any, strides: Any, wanted: Any) -> None:
    memory = np.arange(100)
    array = np.lib.stride_tricks.as_strided(memory, shape, [8 * s for s in strides])
    found = merged(shape, strides, wanted)
    copied = not np.shares_memory(array.reshape(wanted), memory)
    assert (found is None) == copied
    if found is not None:
        np.testing.assert_array_equal(np.lib.stride_tricks.as_strided(memory, wanted, [8 * s for s in found]), array.reshape(wanted))


def test_a_view_is_that_of_numpy() -> None:
    root = Value(0, (4, 6), np.dtype(np.float64))
    array = np.arange(24.0).reshape(4, 6)
    assert View(root, (4, 6), contiguous((4, 6))).whole
    np.testing.assert_array_equal(View(root, (3, 2), (2, 6), 7).array(array), array.reshape(-1)[7:][np.array([[0, 6], [2, 8], [4, 10]])])


def test_one_element_of_an_array_is_a_view() -> None:
    f = jit(lambda x: (x[1, 2] * 2.0, x[0, 1]))
    for got, wanted in zip(f(x), (x.data[1, 2] * 2.0, x.data[0, 1]), strict=True):
        assert got.shape == () and float(got) == wanted


def test_chains_and_sums_become_one_loop() -> None:
    def items(f: Callable[..., Any], *args: Any) -> list[Any]:
        return plan(optimised(recorded(f, *args))).items

    (whole,) = items(lambda x, z: hp.tanh(x * z + z) * x - z / (1.0 + z * z) + y, x, x)
    assert isinstance(whole, Reading) and whole.loop.kind == "map"
    both = items(lambda x: (hp.mean(hp.exp(x) * 2.0, axis=1), hp.sum(x * x, axis=1)), x)
    assert [item.loop.kind for item in both] == ["rows", "rows"]
    (columns,) = items(lambda x: hp.sum(hp.exp(x) * y, axis=0), x)
    assert columns.loop.kind == "columns" and columns.names == ["exp", "multiply", "sum"]
    (loss,) = items(lambda x: hp.mean((x - y) ** 2), x)
    assert loss.loop.kind == "all"
    product, act = items(lambda x: hp.tanh(x @ hp.permute_dims(x, (1, 0))), x)
    assert isinstance(product, Product) and isinstance(act, Reading)


def test_the_arena_uses_memory_again_and_never_twice_at_once() -> None:
    def f(x: Any) -> Any:
        for _ in range(12):
            x = hp.tanh(x @ x) + hp.sum(x, axis=0)
        return x

    square = hp.asarray(np.eye(64))
    made = plan(optimised(recorded(f, square)))
    first = {x: i for i, item in reversed(list(enumerate(made.items))) for x in item.outputs}
    places = [(made.offsets[x], made.offsets[x] + 8 * x.size, first[x], made.last[x]) for x in made.offsets]
    for i, (low, high, begin, end) in enumerate(places):
        for other_low, other_high, other_begin, other_end in places[:i]:
            assert high <= other_low or other_high <= low or end < other_begin or other_end < begin
    assert made.arena < sum(high - low for low, high, _, _ in places) / 4


@pytest.mark.parametrize("threads", ["1", "2"])
def test_large_arrays_in_chunks(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_THREADS", threads)
    a = np.random.default_rng(0).normal(size=(301, 1003)).astype(np.float32)

    def f(x: Any) -> Any:
        z = hp.tanh(x) * 2.0
        return z, hp.sum(z), hp.mean(z, axis=0), hp.sum(z, axis=1), hp.sum(hp.permute_dims(z, (1, 0)) + 1.0)

    code = optimised(recorded(f, hp.asarray(a)))
    wide = a.astype(np.float64)
    z = 2.0 * np.tanh(wide)
    results = (z, z.sum(), z.mean(axis=0), z.sum(axis=1), (z + 1).sum())
    for got, wanted in zip(Runner(plan(code)).run([hp.asarray(a)]), results, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-4)


def test_a_new_size_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from hyperion.cpu import program

    f = jit(lambda x, y: (hp.tanh(x) * y, hp.mean(x * y, axis=0)))
    for rows, columns in ((4, 5), (7, 5), (300, 500)):
        a, b = hp.ones((rows, columns)), hp.ones(columns)
        np.testing.assert_allclose(f(a, b)[0].data, np.tanh(1.0) * np.ones((rows, columns)), rtol=1e-6)
        monkeypatch.setattr(program, "_compile", lambda unit: pytest.fail("compiled again"))


def test_stages_as_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made = jit(lambda x: hp.mean(hp.tanh(x) ** 2)).lower(x)
    assert "tanh(v0)" in made.ir and "loop(v0)" in made.plan and "tanh_of" in made.code and "arena" in made.memory
    assert list(made.passes) == [name for name, _ in PASSES]
    monkeypatch.setenv("HYPERION_DEBUG", "ir,memory")
    jit(lambda x: x * 2.0)(x)
    assert "jit, ir:\n" in (text := capsys.readouterr().err) and "jit, memory:\n" in text
    monkeypatch.setenv("HYPERION_DEBUG", "assembly")
    with pytest.raises(ValueError, match="'assembly' is no stage; use some of ir, passes, code, memory"):
        jit(lambda x: x * 3.0)(x)


def test_a_compiler_that_refuses_leaves_numpy_and_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from hyperion.cpu import program
    from hyperion.errors import CompilerError, SpeedWarning

    def refuse(loops: Any) -> Any:
        raise CompilerError("no space left")

    monkeypatch.setattr(program, "compiled", refuse)
    with pytest.warns(SpeedWarning, match="runs by NumPy, several times slower: no space left"):
        np.testing.assert_allclose(jit(lambda x: hp.tanh(x) * 3.5)(x).data, 3.5 * np.tanh(x.data))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_all_sizes_and_layouts(dtype: str) -> None:
    """Few rows and a long inner axis have a kernel of their own; all others go to BLAS."""
    rng = np.random.default_rng(0)
    f = jit(lambda a, b, at, bt: (a @ b, hp.permute_dims(at, (0, 2, 1)) @ b, a @ hp.permute_dims(bt, (0, 2, 1))))
    for rows, inner, columns in ((1, 100, 16), (16, 100, 16), (5, 33, 7), (3, 64, 8), (7, 40, 17), (16, 32, 40),
                                 (20, 100, 16), (4, 300, 30)):
        a, b = (rng.normal(size=(2, *shape)).astype(dtype) for shape in ((rows, inner), (inner, columns)))
        turned = [np.ascontiguousarray(x.transpose(0, 2, 1)) for x in (a, b)]
        wanted = a.astype(np.float64) @ b.astype(np.float64)
        for got in f(*map(hp.asarray, (a, b, *turned))):
            np.testing.assert_allclose(got.data, wanted, rtol=0, atol=(1e-5 if dtype == "float32" else 1e-13) * inner ** 0.5)


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
def test_large_products_are_shared_among_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By rows, by columns, by products of a batch; beyond 8 threads by BLAS's own. Every way in which A and B may lie."""
    monkeypatch.setenv("HYPERION_THREADS", str(threads))
    rng = np.random.default_rng(0)
    f = jit(lambda a, b, at, bt: (a @ b, hp.permute_dims(at, (0, 2, 1)) @ b, a @ hp.permute_dims(bt, (0, 2, 1))))
    for batch, rows, inner, columns in ((1, 301, 70, 90), (1, 90, 70, 301), (1, 97, 120, 97), (7, 60, 70, 50)):
        a, b = (rng.normal(size=(batch, *shape)) for shape in ((rows, inner), (inner, columns)))
        turned = [np.ascontiguousarray(x.transpose(0, 2, 1)) for x in (a, b)]
        for got in f(*map(hp.asarray, (a, b, *turned))):
            np.testing.assert_allclose(got.data, a @ b, rtol=0, atol=1e-13 * inner ** 0.5)


def test_blas_has_its_threads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after runs beside each other."""
    linked = ctypes.CDLL(importlib.import_module("scipy.linalg.cython_blas").__file__)
    names = [f"{prefix}_get_num_threads" for prefix in ("scipy_openblas", "openblas")]
    found = [getattr(linked, name) for name in names if hasattr(linked, name)]
    if not found:
        pytest.skip("SciPy carries another BLAS than OpenBLAS")
    monkeypatch.setenv("HYPERION_THREADS", "2")
    square = hp.asarray(np.eye(128) * 0.5)
    before = found[0]()
    programs = [jit(lambda x: hp.tanh(x @ x) @ x) for _ in range(3)]
    wanted = np.tanh(square.data @ square.data) @ square.data
    for f in programs:          # recorded one after another
        np.testing.assert_allclose(f(square).data, wanted, atol=1e-14)

    def run(f: Any) -> None:
        for _ in range(20):
            np.testing.assert_allclose(f(square).data, wanted, atol=1e-14)

    with ThreadPoolExecutor(3) as workers:
        list(workers.map(run, programs))
    assert found[0]() == before
