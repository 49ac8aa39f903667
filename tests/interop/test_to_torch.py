"""Hyperion functions inside a PyTorch graph: PyTorch's own gradient checks, aliasing, memory, wrong use, and the solver in a torch loop."""

import dataclasses
import gc
import weakref
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import interop, pde
from hyperion.errors import DtypeError, GraphError, InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")

# PyTorch itself warns when it loads its forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
DOUBLE = torch.float64


def randn(*shape: int, dtype: Any = DOUBLE) -> Any:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape) + 1), requires_grad=True)


@interop.to_torch
def layer(w: Any, b: Any, x: Any) -> Any:
    return hp.tanh(x @ w) * b


def test_first_and_second_order_in_every_mode() -> None:
    inputs = (randn(3, 2), randn(2), randn(4, 3))
    assert torch.autograd.gradcheck(layer, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(layer, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("function", [lambda z: hp.exp(z) * z, lambda z: hp.real(hp.exp(z) * hp.conj(z)), lambda z: hp.abs(z)])
def test_complex_follows_torchs_convention(function: Any) -> None:
    z = randn(3, dtype=torch.complex128)
    assert torch.autograd.gradcheck(interop.to_torch(function), (z,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(interop.to_torch(function), (z,))


def test_third_order() -> None:
    f = interop.to_torch(lambda x: hp.sum(hp.sin(x)))
    x = torch.tensor([0.3, -0.7], dtype=DOUBLE, requires_grad=True)
    value = f(x)
    for _ in range(3):
        (g,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        value = g
    torch.testing.assert_close(value, -torch.cos(x))


def test_torch_func() -> None:
    ours, theirs = interop.to_torch(lambda x: hp.sum(hp.sin(x) ** 3)), lambda x: (torch.sin(x) ** 3).sum()
    x = randn(4).detach()
    for transform in (torch.func.grad, torch.func.hessian, torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(transform(ours)(x), transform(theirs)(x))
    batch = randn(5, 4).detach()
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(ours))(batch), torch.func.vmap(torch.func.grad(theirs))(batch))


@dataclasses.dataclass
class Pair:
    first: Any
    second: Any


def test_trees_in_and_out_and_what_is_no_tensor() -> None:
    @interop.to_torch
    def f(p: Any, n: int, *, mode: str) -> Any:
        return {"pair": Pair(p["a"][0] * n, p["a"][1]), "mode": mode, "where": hp.argmax(p["a"][0]), "constant": hp.ones(2)}

    a, b = randn(3), randn(2)
    out = f({"a": [a, b]}, 2, mode="x")
    assert out["mode"] == "x" and isinstance(out["pair"], Pair)
    assert out["where"].dtype == torch.int64 and not out["where"].requires_grad
    (out["pair"].first.sum() + out["constant"].sum()).backward()
    assert a.grad.tolist() == [2.0] * 3 and not b.grad.any()


def test_integers_pass_through_and_floats_keep_their_dtype() -> None:
    f = interop.to_torch(lambda x, i: x[i] * 2.0)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.tensor([1.0, 2.0, 4.0], dtype=dtype, requires_grad=True)
        y = f(x, torch.tensor([2, 0]))
        y.sum().backward()
        assert y.dtype == x.grad.dtype == dtype and y.tolist() == [8.0, 2.0] and x.grad.tolist() == [2.0, 0.0, 2.0]


def test_memory_is_shared_in_and_out() -> None:
    places: list[int] = []

    def f(x: Any) -> Any:
        y = x * 2.0
        places.extend(v.data.__array_interface__["data"][0] for v in (x, y))
        return y

    x = torch.ones(1000)
    y = interop.to_torch(f)(x)
    assert places == [x.data_ptr(), y.data_ptr()]
    places.clear()
    x.requires_grad_()
    y = interop.to_torch(f)(x)
    assert places[-2:] == [x.data_ptr(), y.data_ptr()]


def test_results_that_overlap_are_copied() -> None:
    """PyTorch does not know that they share memory, so writing to one must not change the other."""
    f = interop.to_torch(lambda x: (x, x, hp.broadcast_to(x[:1], (3,)), x[::-1]))
    for x in (torch.arange(3.0), torch.arange(3.0).requires_grad_()):
        outs = f(x)
        with torch.no_grad():
            for i, out in enumerate(outs):
                out += 10.0 * (i + 1)
        assert x.tolist() == [0.0, 1.0, 2.0]
        assert [out.tolist() for out in outs] == [[10.0, 11.0, 12.0], [20.0, 21.0, 22.0], [30.0, 30.0, 30.0], [42.0, 41.0, 40.0]]


def test_gradients_do_not_share_memory() -> None:
    """Both have the same cotangent; PyTorch accumulates in place into what it is given."""
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    f = interop.to_torch(lambda x, y: x + y)
    g = torch.ones(2)
    for _ in range(2):
        f(x, y).backward(g)
    assert x.grad.tolist() == y.grad.tolist() == [2.0, 2.0] and g.tolist() == [1.0, 1.0]


def test_writing_to_an_argument_or_a_result_before_backward_is_refused() -> None:
    f = interop.to_torch(lambda x: hp.exp(x))
    x = torch.zeros(3, requires_grad=True)
    y = f(x)
    with torch.no_grad():
        y += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = f(x)
    with torch.no_grad():
        x += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_backward_several_times() -> None:
    runs: list[int] = []

    def square(x: Any) -> Any:
        runs.append(1)
        return x * x

    x = torch.tensor([3.0], requires_grad=True)
    y = interop.to_torch(square)(x)
    for _ in range(4):
        y.backward(retain_graph=True)
    assert x.grad.item() == 24.0 and len(runs) == 2        # the first backward drops the graph; the second makes one to keep
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_the_graph_goes_with_backward_although_the_loss_lives() -> None:
    alive: list[Any] = []

    def f(x: Any) -> Any:
        y = hp.sin(x)
        alive.append(weakref.ref(y.data))
        return hp.sum(y * y)

    gc.collect()
    gc.disable()
    try:
        x = torch.ones(3, requires_grad=True)
        loss = interop.to_torch(f)(x)
        assert alive[0]() is not None
        loss.backward()
        assert alive[0]() is None
        other = interop.to_torch(f)(x)
        del other
        assert alive[1]() is None
    finally:
        gc.enable()


def test_without_grad_nothing_is_recorded() -> None:
    alive: list[Any] = []

    def f(x: Any) -> Any:
        alive.append(weakref.ref((y := hp.sin(x)).data))
        return y * 2.0

    with torch.no_grad():
        y = interop.to_torch(f)(torch.ones(3, requires_grad=True))
    assert not y.requires_grad and alive[0]() is None


def test_another_tracked_tensor_is_refused() -> None:
    w = hp.asarray([1.0, 2.0], requires_grad=True)
    f = interop.to_torch(lambda x: x * w)
    for requires in (False, True):
        with pytest.raises(GraphError, match=r"uses a Hyperion Tensor with requires_grad that is not among its arguments"):
            f(torch.ones(2, requires_grad=requires))


def test_tensors_that_cannot_be_shared() -> None:
    f = interop.to_torch(lambda x: x * 2.0)
    with pytest.raises(InputError, match="cannot be shared"):
        f(torch.ones(3).to_sparse())
    with pytest.raises(DtypeError, match=r"longdouble|float128"):
        interop.to_torch(lambda x: hp.asarray(np.ones(2, np.longdouble)))(torch.ones(2))


def test_flags_of_torch_are_resolved() -> None:
    z = torch.tensor([1.0 + 2.0j])
    assert interop.to_torch(lambda x: x * 1.0)(z.conj()).tolist() == [1.0 - 2.0j]
    assert interop.to_torch(lambda x: x * 1.0)(z.conj().imag).tolist() == [-2.0]


def test_inside_a_module_with_torchs_optimizer() -> None:
    """Torch layers before and after, trained by Adam."""
    torch.manual_seed(0)
    first, last = torch.nn.Linear(1, 16), torch.nn.Linear(16, 1)
    activation = interop.to_torch(hp.tanh)
    x = torch.linspace(-1.0, 1.0, 32)[:, None]
    optimizer = torch.optim.Adam([*first.parameters(), *last.parameters()], lr=0.02)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = ((last(activation(first(x))) - torch.sin(3.0 * x)) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_the_wave_solver_in_a_torch_loop() -> None:
    """A model is recovered by torch's Adam through pde.Solver: its gradient is Hyperion's, and the misfit falls."""
    grid = pde.Grid((24, 30), (10.0, 10.0))
    wave = pde.Solver(pde.Acoustic(), grid, order=4, boundary=pde.CPML(width=8), threads=1, stepping=pde.Leapfrog(max_speed=2400.0))
    line = np.stack([np.full(15, 20.0), np.arange(15) * 20.0], axis=-1)
    survey = pde.Survey(np.array([[[20.0, 60.0]], [[20.0, 220.0]]]), np.broadcast_to(line, (2, 15, 2)),
                        pde.ricker(12.0, duration=0.3, step=1e-3))
    true = np.full(grid.shape, 2000.0, np.float32)
    true[12:] = 2200.0
    observed = wave.solve(survey, speed=true)
    misfit = interop.to_torch(lambda c: hp.sum((wave.solve(survey, speed=c) - observed) ** 2))

    speed = torch.full(grid.shape, 2000.0, requires_grad=True)
    scale = 1.0 / misfit(speed.detach()).item()
    value = misfit(speed)
    value.backward()
    expected, gradient = hp.value_and_grad(lambda c: hp.sum((wave.solve(survey, speed=c) - observed) ** 2))(speed.detach().numpy())
    assert value.item() == expected.item() and np.array_equal(speed.grad.numpy(), gradient.numpy())
    optimizer = torch.optim.Adam([speed], lr=10.0)
    for _ in range(15):
        optimizer.zero_grad()
        loss = scale * misfit(speed)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


@pytest.mark.gpu
def test_on_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    inputs = [x.detach().cuda().requires_grad_() for x in (randn(3, 2), randn(2), randn(4, 3))]
    assert torch.autograd.gradcheck(layer, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(layer, inputs)
    places: list[int] = []

    def f(x: Any) -> Any:
        y = x * 2.0
        places.extend(v.data.data.ptr for v in (x, y))
        return y

    out = interop.to_torch(f)(inputs[0].detach())
    assert out.is_cuda and places == [inputs[0].data_ptr(), out.data_ptr()]
    with torch.cuda.stream(torch.cuda.Stream()):
        x = torch.ones(1 << 20, device="cuda")
        for _ in range(50):
            x = interop.to_torch(lambda v: v + 1.0)(x * 1.0)
        assert float(x.min()) == float(x.max()) == 51.0
