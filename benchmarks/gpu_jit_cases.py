"""The cases of `gpu_jit.py`: for each one the same work by `hp.jit`, by Hyperion as it is, and by its peers on the same GPU.

A maker takes (device, size) and returns a Work. PyTorch's peers hold its own idiom at its fastest: torch.compile, fused optimisers, CUDA
graphs where its compiler makes them; JAX's are jitted functions.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import operators_cases
import pinn_cases
import torch
from gpt_cases import BETAS, DECAY, RATE, VOCABULARY
from gpt_cases import Case as GPTCase
from peers import torch_operators
from peers.torch_gpt import Model
from torch.nn import functional

import hyperion as hp
from hyperion import nn, operators, optim

Call = Callable[[], Any]
FACTOR = 0.999


@dataclass
class Work:
    """systems: by name a function that does the work once and returns something to compare by, or to wait for.

    loops: how often in one turn.  moved: useful bytes of one call, for TB/s; 0: not bound by memory.  tokens: of one call.
    compared: whether first results are compared.
    """

    systems: dict[str, Callable[[], Call]]
    loops: int
    moved: int = 0
    tokens: int = 0
    compared: bool = True


def _torch(device: str) -> str:
    return device.partition(":")[0]


def _jax(formula: Any, arrays: list[np.ndarray]) -> Call:
    import jax

    given = [jax.device_put(x) for x in arrays]
    run = jax.jit(formula)
    return lambda: run(*given)


def chain(device: str, size: int) -> Work:
    x = np.random.default_rng(0).uniform(0.5, 1.5, size).astype(np.float32)

    def product(x: Any) -> Any:
        for _ in range(100):
            x = x * FACTOR
        return x

    def own(jit: Any) -> Call:
        there = hp.asarray(x, device=device)
        run = jit(hp.grad(lambda x: hp.sum(product(x))))
        return lambda: run(there)

    def jax_one() -> Call:
        import jax
        return _jax(jax.grad(lambda x: product(x).sum()), [x])

    def torch_graph() -> Call:
        there = torch.from_numpy(x).to(_torch(device))
        run = torch.compile(torch.func.grad(lambda x: product(x).sum()), mode="reduce-overhead")
        return lambda: run(there)

    systems: dict[str, Callable[[], Call]] = {"hyperion jit": lambda: own(hp.jit), "hyperion": lambda: own(lambda f: f)}
    return Work({**systems, "torch.compile": torch_graph, "jax": jax_one}, 300)


def _mapped(jax_of: Callable[[], Any], torch_of: Callable[..., Any], hp_of: Callable[..., Any],
            count: int, reads: float, device: str, shape: tuple[int, ...]) -> Work:
    """Return the work of a function of `count` arrays that moves `reads` arrays' bytes."""
    random = np.random.default_rng(0)
    arrays = [random.uniform(0.5, 1.5, shape).astype(np.float32) for _ in range(count)]

    def own(jit: Any) -> Call:
        there = [hp.asarray(x, device=device) for x in arrays]
        run = jit(hp_of)
        return lambda: run(*there)

    def compiled() -> Call:
        given = [torch.from_numpy(x).to(_torch(device)) for x in arrays]
        run = torch.compile(torch_of)
        return lambda: run(*given)

    systems: dict[str, Callable[[], Call]] = {"hyperion jit": lambda: own(hp.jit), "hyperion": lambda: own(lambda f: f)}
    systems |= {"torch.compile": compiled, "jax": lambda: _jax(jax_of(), arrays)}
    return Work(systems, 5, moved=int(reads * arrays[0].nbytes))


def _formula(xp: Any, a: Any, b: Any, c: Any) -> Any:
    return xp.tanh(a * b + c) * a - b / (1.0 + c * c)


def _jax_numpy() -> Any:
    import jax.numpy as jnp
    return jnp


def _jax_nn() -> Any:
    import jax
    return jax.nn


def formula(device: str, size: int) -> Work:
    return _mapped(lambda: functools.partial(_formula, _jax_numpy()), functools.partial(_formula, torch),
                   functools.partial(_formula, hp), 3, 4, device, (size,))


def formula_gradient(device: str, size: int) -> Work:
    def jax_of() -> Any:
        import jax
        return jax.grad(lambda a, b, c: _formula(_jax_numpy(), a, b, c).sum(), (0, 1, 2))

    return _mapped(jax_of, torch.func.grad(lambda a, b, c: _formula(torch, a, b, c).sum(), (0, 1, 2)),
                   hp.grad(lambda a, b, c: hp.sum(_formula(hp, a, b, c)), argnums=(0, 1, 2)), 3, 6, device, (size,))


def _rows(hp_of: Any, torch_of: Any, jax_of: Any, reads: float) -> Callable[[str, int], Work]:
    return lambda device, size: _mapped(jax_of, torch_of, hp_of, 1, reads, device, (size // min(4096, size), min(4096, size)))


def _standard(x: Any, xp: Any) -> Any:
    """Layer norm written out."""
    centred = x - xp.mean(x, -1, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, -1, keepdims=True) + 1e-5)


ROWS: dict[str, Callable[[str, int], Work]] = {
    "gelu": _rows(hp.gelu, functional.gelu, lambda: lambda x: _jax_nn().gelu(x, approximate=False), 2),
    "softmax": _rows(lambda x: hp.softmax(x, axis=-1), lambda x: torch.softmax(x, -1), lambda: lambda x: _jax_nn().softmax(x), 2),
    "layer_norm": _rows(lambda x: hp.layer_norm(x, hp.ones(x.shape[-1], device=x.device), hp.zeros(x.shape[-1], device=x.device)),
                        lambda x: functional.layer_norm(x, x.shape[-1:]), lambda: lambda x: _standard(x, _jax_numpy()), 2),
    "squares_of_rows": _rows(lambda x: hp.sum(x * x, axis=1), lambda x: (x * x).sum(1), lambda: lambda x: (x * x).sum(1), 1),
    "squares_of_columns": _rows(lambda x: hp.sum(x * x, axis=0), lambda x: (x * x).sum(0), lambda: lambda x: (x * x).sum(0), 1),
    "squares": _rows(lambda x: hp.sum(x * x), lambda x: (x * x).sum(), lambda: lambda x: (x * x).sum(), 1),
}


def adam(device: str, size: int) -> Work:
    """100 tensors, `size` numbers in all; gradients stay as they are. Bytes: p, g, m, v read, p, m, v written."""
    shapes = [(max(size // 100, 1),)] * 100
    random = np.random.default_rng(0)
    values, slopes = ([random.standard_normal(shape, np.float32) for shape in shapes] for _ in range(2))

    def own(jit: Any) -> Call:
        parameters = [hp.asarray(x, device=device, requires_grad=True) for x in values]
        optimizer = optim.Adam(parameters, lr=1e-3)
        gradients = [hp.asarray(g, device=device) for g in slopes]

        def step(gradients: Any) -> Any:
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            optimizer.step()
            return parameters[0].detach()

        run = jit(step)
        return lambda: run(gradients)

    def fused() -> Call:
        parameters = [torch.from_numpy(x.copy()).to(_torch(device)).requires_grad_() for x in values]
        for p, g in zip(parameters, slopes, strict=True):
            p.grad = torch.from_numpy(g).to(_torch(device))
        optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

        def step() -> Any:
            optimizer.step()
            return parameters[0].detach()

        return step

    return Work({"hyperion jit": lambda: own(hp.jit), "hyperion": lambda: own(lambda f: f), "torch fused": fused}, 20, moved=28 * size)


def gpt(device: str, size: int) -> Work:
    """6 layers, 6 heads, width 384, 256 characters, batches of `size`; bfloat16 on float32 weights."""
    case = GPTCase("gpt", 6, 6, 384, 256, size) if size > 4 else GPTCase("gpt", 1, 2, 16, 8, size)

    def own(jit: Any) -> Call:
        model = nn.GPT(VOCABULARY, case.context, layers=case.layers, heads=case.heads, width=case.width).to(device)
        model.load_state_dict(case.weights())
        optimizer = optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY)
        inputs, targets = (hp.asarray(x, device=device) for x in case.tokens())
        precision = "bfloat16" if device != "cpu" else "float32"

        def step(inputs: Any, targets: Any) -> Any:
            half = hp.tree_map(lambda p: p.astype(precision) if p.dtype.kind == "f" else p, model)
            loss = nn.cross_entropy(half(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        run = jit(step)
        return lambda: run(inputs, targets)

    def theirs(mode: str | None) -> Call:
        model = Model(case, VOCABULARY).to(_torch(device))
        model.load_state_dict({name: torch.from_numpy(x) for name, x in case.weights().items()})
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, fused=True)
        inputs, targets = (torch.from_numpy(x).to(_torch(device)) for x in case.tokens())

        def loss_of(inputs: Any, targets: Any) -> Any:
            with torch.autocast(_torch(device), torch.bfloat16):
                scores = model(inputs)
                return functional.cross_entropy(scores.view(-1, scores.shape[-1]), targets.view(-1))

        compiled = torch.compile(loss_of, mode=mode)

        def step() -> Any:
            loss = compiled(inputs, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return loss.detach().clone()

        return step

    systems = {"hyperion jit": lambda: own(hp.jit), "hyperion": lambda: own(lambda f: f),
               "torch.compile": lambda: theirs(None), "torch.compile, graphs": lambda: theirs("reduce-overhead")}
    return Work(systems, 5, tokens=case.batch * case.context)


def fno(points: int) -> Callable[[str, int], Work]:
    """A training step of an FNO: 4 layers, frequencies to 16, batches of 20."""
    def make(device: str, size: int) -> Work:
        case = operators_cases.Case("fno", (32, 32), size, 4, (points, points), 20, mlp=False)
        if size < 16:
            case = replace(case, modes=(4, 4), layers=2, space=(8, 8), batch=2)

        def own(jit: Any) -> Call:
            model = operators.FNO(case.modes, case.width, case.layers, mlp=None).to(device)
            model.load_state_dict(case.weights())
            optimizer = optim.Adam(model.parameters(), lr=1e-3)
            x, y = (hp.asarray(a, device=device) for a in case.data())

            def step(x: Any, y: Any) -> Any:
                optimizer.zero_grad()
                out = model(x)
                nn.relative_l2(out, y).backward()
                optimizer.step()
                return out.detach()

            run = jit(step)
            return lambda: run(x, y)

        return Work({"hyperion jit": lambda: own(hp.jit), "hyperion": lambda: own(lambda f: f),
                     "torch": lambda: torch_operators.trainer(case, _torch(device))}, 10, compared=False)

    return make


def spectral(device: str, size: int) -> Work:
    """The forward pass of one spectral convolution, 64 channels, 128 x 128 points, batches of 20."""
    points, count, batch = (128, 32, 20) if size > 15 else (8, 4, 2)
    x = np.random.default_rng(0).standard_normal((batch, size, points, points), np.float32)

    def own(jit: Any) -> Call:
        nn.seed(0)
        layer, there = operators.SpectralConv(size, size, (count, count)).to(device), hp.asarray(x, device=device)

        def forward(x: Any) -> Any:
            with hp.no_grad():
                return layer(x)

        run = jit(forward)
        return lambda: run(there)

    return Work({"hyperion jit": lambda: own(hp.jit), "hyperion": lambda: own(lambda f: f)}, 30)


def pinn(width: int, layers: int) -> Callable[[str, int], Work]:
    """The mean squared residual of Burgers' equation and its gradient."""
    def make(device: str, size: int) -> Work:
        case = pinn_cases.Case("pinn", width, layers, size)

        def own(jit: Any) -> Call:
            network = nn.MLP([2, *[width] * layers, 1], activation=hp.tanh).to(device)
            network.load_state_dict({f"layers.{i}.{name}": value for i, pair in enumerate(case.weights())
                                     for name, value in zip(("weight", "bias"), pair, strict=True)})
            points = hp.asarray(case.points(), device=device)

            def step(points: Any) -> Any:
                for p in network.parameters():
                    p.grad = None
                d = hp.derivatives(network, points, [(0, 0), (1, 0), (2, 0), (0, 1)])
                residual = d[0, 1] + d[0, 0] * d[1, 0] - pinn_cases.VISCOSITY * d[2, 0]
                loss = hp.mean(residual * residual)
                loss.backward()
                return loss

            run = jit(step)
            return lambda: run(points)

        return Work({"hyperion jit": lambda: own(hp.jit), "hyperion": lambda: own(lambda f: f),
                     "torch.compile": lambda: _torch_pinn(case, device), "jax": lambda: _jax_pinn(case)}, 10)

    return make


def _torch_pinn(case: pinn_cases.Case, device: str) -> Call:
    """Derivatives carried forward by hand, compiled in CUDA graphs."""
    layers = [[torch.from_numpy(x).to(_torch(device)).requires_grad_() for x in pair] for pair in case.weights()]
    points = torch.from_numpy(case.points()).to(_torch(device))
    axes = [x.contiguous() for x in torch.eye(2, device=_torch(device)).expand(case.count, 2, 2).unbind(1)]

    def loss_of(points: Any) -> Any:
        u, (u_x, u_t), u_xx = points, axes, torch.zeros_like(points)
        for i, (weight, bias) in enumerate(layers):
            u, u_x, u_t, u_xx = u @ weight.T + bias, u_x @ weight.T, u_t @ weight.T, u_xx @ weight.T
            if i + 1 < len(layers):
                u = torch.tanh(u)
                slope = 1.0 - u * u
                u_xx = slope * (u_xx - 2.0 * u * u_x * u_x)
                u_x, u_t = slope * u_x, slope * u_t
        residual = u_t + u * u_x - pinn_cases.VISCOSITY * u_xx
        return (residual * residual).mean()

    compiled = torch.compile(loss_of, mode="reduce-overhead")

    def step() -> Any:
        for pair in layers:
            for x in pair:
                x.grad = None
        loss = compiled(points)
        loss.backward()
        return loss.detach().clone()

    return step


def _jax_pinn(case: pinn_cases.Case) -> Call:
    import jax
    import jax.numpy as jnp

    points = jnp.asarray(case.points())
    along_x, along_t = (jnp.broadcast_to(axis, points.shape) for axis in jnp.eye(2))

    def network(weights: Any, x: Any) -> Any:
        for weight, bias in weights[:-1]:
            x = jnp.tanh(x @ weight.T + bias)
        return x @ weights[-1][0].T + weights[-1][1]

    def loss(weights: Any) -> Any:
        def u(x: Any) -> Any:
            return network(weights, x)

        (value, u_x), (_, u_xx) = jax.jvp(lambda x: jax.jvp(u, (x,), (along_x,)), (points,), (along_x,))
        u_t = jax.jvp(u, (points,), (along_t,))[1]
        residual = u_t + value * u_x - pinn_cases.VISCOSITY * u_xx
        return jnp.mean(residual * residual)

    weights = jax.tree.map(jnp.asarray, case.weights())
    run = jax.jit(jax.value_and_grad(loss))
    return lambda: run(weights)[0]


@dataclass(frozen=True)
class Case:
    """One line of the table. goal: what is to be reached, in the unit.  smoke: a size that shows that everything runs."""

    name: str
    make: Callable[[str, int], Work]
    size: int
    smoke: int
    goal: float
    unit: str


GB = 1 << 28            # numbers of float32 in 1 GiB
CASES = (
    Case("chain_100", chain, 10, 10, 10.0, "us"),
    Case("formula_1GiB", formula, GB, 4096, 3.8, "TB/s"),
    Case("formula_gradient_1GiB", formula_gradient, GB, 4096, 3.8, "TB/s"),
    *(Case(f"{name}_1GiB", make, GB, 8192, 3.8, "TB/s") for name, make in ROWS.items()),
    Case("adam_100", adam, 10_000_000, 1000, 3.8, "TB/s"),
    Case("gpt_6x384_b64", gpt, 64, 2, 3.3e6, "tokens/s"),
    Case("fno2d_128", fno(128), 64, 4, 4.0, "ms"),
    Case("fno2d_64", fno(64), 64, 4, 1.5, "ms"),
    Case("spectral_128", spectral, 64, 4, 120.0, "us"),
    Case("pinn_8x20_100k", pinn(20, 8), 100_000, 200, 0.8, "ms"),
    Case("pinn_4x128_100k", pinn(128, 4), 100_000, 200, 2.5, "ms"),
)
