"""PyTorch functions and modules inside a Hyperion graph: rules to third order, every transform, parameters, memory, wrong use, deepwave."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import interop
from hyperion.errors import GraphError, InputError
from hyperion.interop import inward
from hyperion.testing import check_rules

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
# PyTorch itself warns when it loads its forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def theirs(p: Any, x: Any) -> Any:
    return torch.tanh(x @ p["w"]) * p["b"]


def ours(p: Any, x: Any) -> Any:
    return hp.tanh(x @ p["w"]) * p["b"]


P, X = {"w": hp.asarray(normal(3, 2)), "b": hp.asarray(normal(2))}, hp.asarray(normal(4, 3))


def close(a: Any, b: Any) -> None:
    hp.tree_map(lambda x, y: np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-12, atol=1e-12), a, b)


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()


def test_rules_to_third_order_in_every_mix() -> None:
    call = inward._Call(lambda a, b: [torch.tanh(a @ b), (a * a).sum() * b.sin()], [], [], [True, True], True)
    check_rules(inward.torch_function, [((normal(2, 3), normal(3)), {"call": call})], order=3, tolerance=1e-10)


@pytest.mark.parametrize("transform", [
    lambda f: f(P, X),
    lambda f: hp.value_and_grad(lambda p: hp.sum(f(p, X) ** 2))(P),
    lambda f: hp.jvp(f, (P, X), (P, X * 0.5)),
    lambda f: hp.vjp(f, P, X)[1](np.ones((4, 2))),
    lambda f: hp.hvp(lambda p: hp.sum(f(p, X) ** 2), (P,), (P,)),
    lambda f: hp.jacobian(lambda x: f(P, x))(X[0]),
    lambda f: hp.hessian(lambda x: hp.sum(f(P, x) ** 2))(X[0]),
    lambda f: hp.vmap(f, (None, 0))(P, X),
    lambda f: hp.vmap(hp.grad(lambda x: hp.sum(f(P, x))))(X),
    lambda f: hp.grad(lambda x: hp.sum(hp.vmap(lambda row: f(P, row))(x) ** 2))(X),
    lambda f: hp.jet(lambda x: f(P, x), (X,), (X * 0.1,), order=4),
    lambda f: hp.grad(lambda x: hp.sum(hp.grad(lambda y: hp.sum(hp.grad(lambda z: hp.sum(f(P, z) ** 3))(y) ** 2))(x)))(X),
])
def test_every_transform_gives_what_the_same_function_of_ours_gives(transform: Any) -> None:
    close(transform(interop.from_torch(theirs)), transform(ours))


def test_complex_follows_our_convention() -> None:
    z = hp.asarray(normal(3) + 1j * normal(3)[::-1])

    def ours(z: Any) -> Any:
        return hp.sum(hp.abs(hp.exp(z) * z) ** 2)

    theirs = interop.from_torch(lambda z: ((z.exp() * z).abs() ** 2).sum())
    close(hp.grad(theirs)(z), hp.grad(ours)(z))
    close(hp.jvp(theirs, (z,), (z * 1j,)), hp.jvp(ours, (z,), (z * 1j,)))
    close(hp.hvp(theirs, (z,), (z * 1j,)), hp.hvp(ours, (z,), (z * 1j,)))


def test_trees_integers_and_what_is_no_tensor() -> None:
    f = interop.from_torch(lambda p, n, mode: {"y": [p["a"] * n], "where": p["a"].argmax(), "mode": mode})
    x = hp.asarray([1.0, 3.0, 2.0], requires_grad=True)
    out = f({"a": x}, 2, mode="m")
    assert out["mode"] == "m" and out["where"].item() == 1 and out["y"][0].tracked
    hp.sum(out["y"][0]).backward()
    assert x.grad is not None and x.grad.numpy().tolist() == [2.0] * 3
    assert interop.from_torch(lambda x: x * 2)(np.ones(2)).numpy().tolist() == [2.0, 2.0]


# Parameters

def torch_gradients(net: Any, loss: Any) -> list[Any]:
    return list(torch.autograd.grad(loss, list(net.parameters()), allow_unused=True))


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: lambda x: net(x) * 1.0])
def test_parameters_stay_torchs_and_get_gradients(net: Any, wrap: Any) -> None:
    x = normal(5, 2)
    f = interop.from_torch(wrap(net))
    for _ in range(2):
        hp.mean(f(x) ** 2).backward()       # adds up, as torch does
    expected = torch_gradients(net, (net(torch.from_numpy(x)) ** 2).mean())
    for p, g in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, 2.0 * g)


def test_gradients_of_a_gradient_reach_the_parameters(net: Any) -> None:
    """What a PINN needs: the loss holds a derivative of the network with respect to its input."""
    x = normal(5, 2)
    f = interop.from_torch(net)
    loss = hp.sum(hp.grad(lambda v: hp.sum(f(v)))(x) ** 2)
    assert all(p.grad is None for p in net.parameters())       # a derivative with respect to x leaves no gradient behind
    loss.backward()
    inside = torch.from_numpy(x).requires_grad_()
    (g,) = torch.autograd.grad(net(inside).sum(), inside, create_graph=True)
    for p, expected in zip(net.parameters(), torch_gradients(net, (g ** 2).sum()), strict=True):
        torch.testing.assert_close(p.grad, torch.zeros_like(p) if expected is None else expected)


def test_frozen_and_unused_parameters_get_none(net: Any) -> None:
    net[0].weight.requires_grad_(False)
    net.spare = torch.nn.Parameter(torch.ones(2).double())
    f = interop.from_torch(lambda x: net[2](net[1](net[0](x))))
    hp.sum(f(normal(5, 2))).backward()
    assert net[0].weight.grad is None and net.spare.grad is None and net[0].bias.grad is not None
    net[0].weight.requires_grad_(True)
    hp.sum(f(normal(5, 2))).backward()
    assert net[0].weight.grad is not None


def test_a_module_with_a_spare_parameter() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))

        def forward(self, x: Any) -> Any:
            return x * self.used

    net = Net()
    hp.sum(interop.from_torch(net)(np.ones(2, np.float32))).backward()
    assert net.spare.grad is None and net.used.grad.tolist() == [1.0, 1.0]


def test_tensors_that_the_function_makes_itself_are_not_taken_for_parameters() -> None:
    runs: list[int] = []

    def f(x: Any) -> Any:
        runs.append(1)
        inside = x.detach().clone().requires_grad_()
        return x * torch.autograd.grad((inside ** 3).sum(), inside, create_graph=True)[0]

    wrapped, x = interop.from_torch(f), hp.asarray([2.0], requires_grad=True)
    for count in (2, 4):
        y = wrapped(x)
        x.grad = None
        hp.sum(y).backward()
        assert len(runs) == count and x.grad is not None and x.grad.numpy().tolist() == [12.0]


def test_torchs_optimizer_trains_the_module_in_our_loss(net: Any) -> None:
    x = np.linspace(-1.0, 1.0, 64).reshape(32, 2)
    target = hp.asarray(np.sin(3.0 * x[:, :1]))
    f, optimizer, losses = interop.from_torch(net), torch.optim.Adam(net.parameters(), lr=0.05), []
    for _ in range(150):
        optimizer.zero_grad()
        loss = hp.mean((f(x) - target) ** 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_gradients_of_parameters_do_not_share_memory() -> None:
    a, b = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    x = hp.asarray([1.0, 1.0], requires_grad=True)
    hp.sum(interop.from_torch(lambda x: x + a + b)(x)).backward()
    with torch.no_grad():
        a.grad += 1.0
    assert b.grad.tolist() == [1.0, 1.0] and x.grad is not None and x.grad.numpy().tolist() == [1.0, 1.0]


def test_a_parameter_changed_before_backward_is_refused(net: Any) -> None:
    loss = hp.sum(interop.from_torch(net)(normal(5, 2)) ** 2)
    with torch.no_grad():
        net[2].weight += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_grad_records_nothing(net: Any) -> None:
    with hp.no_grad():
        assert not interop.from_torch(net)(normal(5, 2)).tracked
    assert interop.from_torch(net)(normal(5, 2)).tracked


def test_random_layers_are_run_once() -> None:
    """The backward pass belongs to the forward pass that was made, mask and all; a module is never run twice for a call."""
    runs: list[int] = []

    class Noisy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(100).double())

        def forward(self, x: Any) -> Any:
            runs.append(1)
            return torch.nn.functional.dropout(x * self.w, 0.5)

    x = hp.asarray(np.ones(100), requires_grad=True)
    f = interop.from_torch(Noisy())
    out = f(x)
    hp.sum(out).backward()
    assert len(runs) == 1 and x.grad is not None and np.array_equal(x.grad.numpy(), out.detach().numpy())
    hp.grad(lambda v: hp.sum(hp.grad(lambda u: hp.sum(f(u) ** 3))(v)))(np.ones(100))
    assert len(runs) == 2


# Memory

def test_memory_is_shared() -> None:
    places: list[int] = []

    def f(x: Any) -> Any:
        y = x * 2.0
        places.extend((x.data_ptr(), y.data_ptr()))
        return y

    for requires in (False, True):
        x = hp.asarray(np.ones(10), requires_grad=requires)
        y = interop.from_torch(f)(x)
        assert places[-2:] == [v.data.__array_interface__["data"][0] for v in (x, y)]


def test_the_graph_is_freed_without_the_collector(net: Any) -> None:
    alive: list[Any] = []

    class Mark:
        """Lives as long as the node of torch's graph that holds it."""

    class Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark = Mark()
            alive.append(weakref.ref(ctx.mark))
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2.0

    def f(x: Any) -> Any:
        return Watch.apply(net(x))

    def dead() -> bool:
        return all(ref() is None for ref in alive)

    wrapped = interop.from_torch(f)
    wrapped(normal(5, 2))
    gc.collect()
    gc.disable()
    try:
        alive.clear()
        loss = hp.sum(wrapped(normal(5, 2)))
        assert alive and not dead()
        loss.backward()
        assert dead()
        hp.grad(lambda x: hp.sum(wrapped(x)))(normal(5, 2))
        assert dead()
    finally:
        gc.enable()


def test_bfloat16_and_half() -> None:
    for dtype in ("float16", "bfloat16", "float32"):
        x = hp.asarray([1.0, 2.0], dtype=dtype, requires_grad=True)
        y = interop.from_torch(lambda v: v * v)(x)
        hp.sum(y).backward()
        assert str(y.dtype) == dtype and x.grad is not None and x.grad.astype("float32").numpy().tolist() == [2.0, 4.0]


# Wrong use

def test_writing_into_an_argument_is_refused() -> None:
    f = interop.from_torch(lambda x: x.add_(1.0))
    with pytest.raises(GraphError, match=r"wrote into an argument.*clone\(\) it first"):
        f(np.ones(3))
    with pytest.raises(RuntimeError, match="in-place"):
        f(hp.asarray([1.0], requires_grad=True))


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(InputError, match=r"from_torch\(function\): function is a Tensor; give a function of torch tensors or a Module"):
        interop.from_torch(torch.ones(2))


class Once(torch.autograd.Function):
    """Sine whose backward cannot be differentiated, as in many extensions."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0].cos()


class OnceWithForward(Once):
    """The same, with a rule for forward mode."""

    @staticmethod
    def jvp(ctx: Any, t: Any) -> Any:
        return t * ctx.saved_tensors[0].cos()

    @staticmethod
    def forward(x: Any) -> Any:      # type: ignore[override]
        return x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)


def test_functions_that_torch_differentiates_once() -> None:
    x = hp.asarray([0.3, 0.6], dtype="float64")
    f = interop.from_torch(lambda v: Once.apply(v))
    close(hp.grad(lambda v: hp.sum(f(v)))(x), hp.cos(x))
    with pytest.raises(GraphError, match=r"PyTorch can neither differentiate its backward pass .*; use vjp or grad"):
        hp.jvp(f, (x,), (x,))
    for term in (f, lambda u: f(u) * u):         # alone, torch would find no derivative; beside another, only that other one
        with pytest.raises(RuntimeError, match="once_differentiable"):
            hp.grad(lambda v, term=term: hp.sum(hp.grad(lambda u: hp.sum(term(u)))(v)))(x)
    g = interop.from_torch(lambda u: Once.apply(u) * u)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        hp.grad(lambda v: hp.sum(hp.grad(lambda u: hp.sum(g(u)))(v)))(x)
    close(hp.jvp(interop.from_torch(lambda v: OnceWithForward.apply(v)), (x,), (x,))[1], hp.cos(x) * x)


# Both ways, and deepwave

def test_there_and_back_again() -> None:
    f = interop.from_torch(interop.to_torch(lambda x: hp.sum(hp.sin(x) ** 2)))
    x = hp.asarray([0.3, 0.6], dtype="float64")
    close(hp.hessian(f)(x), hp.hessian(lambda x: hp.sum(hp.sin(x) ** 2))(x))


def test_deepwaves_propagator_in_our_graph() -> None:
    deepwave = pytest.importorskip("deepwave", reason="deepwave is not installed (extra bench)")
    amplitudes = torch.from_numpy(np.sin(np.arange(60.0) * 0.3))[None, None]
    source, receivers = torch.tensor([[[3, 5]]]), torch.tensor([[[3, 2], [3, 8], [12, 6]]])

    def gather(speed: Any) -> Any:
        return deepwave.scalar(
            speed, 10.0, 1e-3, source_amplitudes=amplitudes, source_locations=source, receiver_locations=receivers, pml_width=4,
            pml_freq=20.0,
        )[-1]

    solve = interop.from_torch(gather)
    speed = 2000.0 + 50.0 * normal(16, 14)
    value, gradient = hp.value_and_grad(lambda c: 0.5 * hp.sum(solve(c) ** 2))(speed)
    inside = torch.from_numpy(speed.copy()).requires_grad_()
    expected = 0.5 * (gather(inside) ** 2).sum()
    (wanted,) = torch.autograd.grad(expected, inside)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient.numpy(), wanted.numpy(), rtol=1e-10, atol=1e-12 * float(wanted.abs().max()))
    # A model of three layers, made by us: the chain rule sums the gradient over each layer.
    rows, speeds = np.repeat(np.eye(3), [5, 5, 6], axis=0), np.array([[1900.0], [2000.0], [2100.0]])
    by_layer = hp.grad(lambda s: hp.sum(solve(hp.broadcast_to(rows @ s, (16, 14))) ** 2))(speeds)
    everywhere = hp.grad(lambda c: hp.sum(solve(c) ** 2))(np.broadcast_to(rows @ speeds, (16, 14)))
    np.testing.assert_allclose(by_layer.numpy()[:, 0], rows.T @ everywhere.numpy().sum(axis=1), rtol=1e-9)


@pytest.mark.gpu
def test_on_the_gpu(net: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    there = hp.tree_map(lambda x: x.to("cuda:0"), P)
    f, x = interop.from_torch(theirs), X.to("cuda:0")
    found = hp.hvp(lambda p: hp.sum(f(p, x) ** 2), (there,), (there,))
    expected = hp.hvp(lambda p: hp.sum(ours(p, X) ** 2), (P,), (P,))
    close(hp.tree_map(lambda v: v.to("cpu"), found), expected)
    module = net.cuda()
    hp.sum(interop.from_torch(module)(hp.asarray(normal(5, 2), device="cuda:0")) ** 2).backward()
    got = [p.grad.clone() for p in module.parameters()]
    for g, e in zip(got, torch_gradients(module, (module(torch.from_numpy(normal(5, 2)).cuda()) ** 2).sum()), strict=True):
        torch.testing.assert_close(g, e)
