"""Networks of functions: against their formulas in PyTorch, on several grids, and learning a few samples by heart."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, optim
from hyperion.errors import InputError, ShapeError

FNO_CASES = [{"modes": 8, "width": 6, "layers": 2}, {"modes": (6, 4), "width": 4, "layers": 3, "inputs": 2, "outputs": 3},
             {"modes": (4, 4, 2), "width": 3, "layers": 1, "grid": False},
             {"modes": (4, 6), "width": 4, "layers": 2, "padding": (0.25, 0.1)},
             {"modes": (4, 6), "width": 4, "layers": 2, "mlp": None}]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def fno_of(**options):
    return operators.FNO(dtype="float64", generator=hp.random.Generator(2), **options)


def space_of(model, length=12):
    return tuple(length + 2 * i for i in range(len(model.modes)))


def torch_fno(model, parameters, x):
    """The network written out in PyTorch; parameters: torch tensors by the names of the state."""
    import torch

    def pointwise(name, x):
        out = torch.einsum("oi,bi...->bo...", parameters[f"{name}.weight"], x)
        bias = parameters.get(f"{name}.bias")
        return out if bias is None else out + bias.reshape(1, -1, *(1,) * (x.ndim - 2))

    def mlp(name, x):
        return pointwise(f"{name}.second", torch.nn.functional.gelu(pointwise(f"{name}.first", x)))

    def spectral(name, x):
        space, axes = x.shape[2:], tuple(range(2, x.ndim))
        rows = np.ix_(*((np.arange(m) - m // 2) % n for m, n in zip(model.modes[:-1], space[:-1], strict=True)),
                      np.arange(model.modes[-1] // 2 + 1))
        rows = (slice(None), slice(None), *(torch.from_numpy(r) for r in rows))
        spectrum = torch.fft.rfftn(x, dim=axes)
        mixed, letters = torch.zeros_like(spectrum), "xyz"[:len(space)]
        mixed[rows] = torch.einsum(f"bi{letters},{letters}io->bo{letters}", spectrum[rows], parameters[f"{name}.weight"])
        return torch.fft.irfftn(mixed, s=space, dim=axes) + parameters[f"{name}.bias"]

    space = x.shape[2:]
    if model.grid:
        grid = torch.meshgrid(*(torch.arange(n, dtype=x.dtype) / n for n in space), indexing="ij")
        x = torch.cat([x, torch.stack(grid).expand(x.shape[0], -1, *space)], 1)
    x = mlp("lifting", x)
    added = [round(p * n) for p, n in zip(model.padding, space, strict=True)]
    x = torch.nn.functional.pad(x, [p for n in reversed(added) for p in (n, n)])
    for i, block in enumerate(model.blocks):
        last = i == len(model.blocks) - 1
        out = spectral(f"blocks.{i}.spectral", x) + pointwise(f"blocks.{i}.skip", x)
        out = out if last else torch.nn.functional.gelu(out)
        if block.mlp is not None:
            out = mlp(f"blocks.{i}.mlp", out) + parameters[f"blocks.{i}.gate"] * x
            out = out if last else torch.nn.functional.gelu(out)
        x = out
    return mlp("projection", x[(..., *(slice(p, p + n) for p, n in zip(added, space, strict=True)))])


@pytest.mark.parametrize("options", FNO_CASES)
def test_fno_and_its_gradients_are_those_of_torch(options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra bench)")
    model = fno_of(**options)
    x = hp.asarray(normal(2, model.inputs, *space_of(model)), requires_grad=True)
    parameters = {name: torch.tensor(np.array(value), requires_grad=True) for name, value in model.state_dict().items()}
    tx = torch.tensor(x.detach().numpy(), requires_grad=True)
    out, expected = model(x), torch_fno(model, parameters, tx)
    weights = normal(*out.shape, seed=9)
    hp.sum(out * weights).backward()
    torch.sum(expected * torch.from_numpy(weights)).backward()
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=0, atol=1e-10)
    for name, parameter in model.named_parameters().items():
        np.testing.assert_allclose(np.conj(parameter.grad.numpy()), parameters[name].grad.numpy(), rtol=1e-10, atol=1e-10, err_msg=name)


def parameters_of_neuraloperator(modes, width, layers, inputs, outputs):
    """How many parameters neuraloperator 2.0's FNO has with its defaults, a complex one counted once."""
    kept = int(np.prod(modes[:-1])) * (modes[-1] // 2 + 1)
    lifting = 2 * width * (inputs + len(modes) + 1) + width * (2 * width + 1)
    projection = 2 * width * (width + 1) + outputs * (2 * width + 1)
    half = round(0.5 * width)
    block = width * width * kept + width + width * width + (width + 1) * half + width * (half + 1) + width
    return lifting + layers * block + projection


@pytest.mark.parametrize("modes, width, layers, inputs, outputs", [((12, 12), 32, 4, 1, 1), ((16,), 24, 3, 2, 1), ((4, 6, 8), 6, 2, 1, 3)])
def test_parameters_are_as_many_as_neuraloperators(modes, width, layers, inputs, outputs):
    model = operators.FNO(modes, width, layers, inputs, outputs)
    assert sum(p.size for p in model.parameters()) == parameters_of_neuraloperator(modes, width, layers, inputs, outputs)


def test_the_count_for_the_defaults_as_neuraloperator_prints_it():
    assert parameters_of_neuraloperator((12, 12), 32, 4, 1, 1) == 357217       # counted with neuraloperator 2.0.0 itself


def test_one_set_of_weights_serves_every_grid():
    """Smooth input: the image on a finer grid, at the coarse points, differs by what the activations make beyond the coarse grid."""
    model = fno_of(modes=(6, 6), width=6, layers=2)
    coefficients = 0.2 * (normal(4, 3, 1, 1) + 1j * normal(4, 3, 1, 1, seed=1))
    images = [model(hp.from_fourier_modes(coefficients, (n, n))).detach().numpy()[..., ::n // 32, ::n // 32] for n in (32, 64, 128)]
    model = fno_of(modes=(6, 6), width=6, layers=2, grid=False)
    periodic = [model(hp.from_fourier_modes(coefficients, (n, n))).detach().numpy()[..., ::n // 32, ::n // 32] for n in (32, 64, 128)]
    size = np.linalg.norm(images[2])
    assert np.linalg.norm(images[1] - images[2]) < 0.02 * size      # coordinates jump at the ends: first order
    assert np.linalg.norm(periodic[0] - periodic[2]) < 1e-6 * np.linalg.norm(periodic[2])      # without them, spectral accuracy


def test_without_coordinates_it_commutes_with_translations():
    model, x = fno_of(modes=(4, 4), width=4, layers=2, grid=False), normal(1, 1, 9, 8)
    np.testing.assert_allclose(model(np.roll(x, (2, 3), (2, 3))).detach().numpy(), np.roll(model(x).detach().numpy(), (2, 3), (2, 3)),
                               rtol=0, atol=1e-12)


def learn(model, loss, steps, rate=5e-3):
    optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(rate, 0.0, steps))
    first = None
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(model)
        value.backward()
        optimiser.step()
        first = float(value) if first is None else first
    return first, float(loss(model))


@pytest.mark.parametrize("rank, steps", [(None, 250), (0.3, 600)])
def test_fno_learns_eight_samples_by_heart(rank, steps):
    nn.seed(1)
    model, x, y = operators.FNO((8,), 16, 2, rank=rank), normal(8, 1, 32).astype(np.float32), normal(8, 1, 32, seed=1).astype(np.float32)
    y = hp.from_fourier_modes(hp.fourier_modes(y, 8), 32)
    first, last = learn(model, lambda model: nn.relative_l2(model(x), y), steps)
    assert first > 0.9
    assert last < 0.03


def test_a_module_like_any_other(tmp_path):
    model, x = operators.FNO((4, 4), 4, 2, rank=0.5), normal(3, 1, 8, 8).astype(np.float32)
    nn.save(model, tmp_path / "fno.safetensors")
    other = operators.FNO((4, 4), 4, 2, rank=0.5)
    other.load_state_dict(nn.load(tmp_path / "fno.safetensors"))
    assert np.array_equal(model(x).detach().numpy(), other(x).detach().numpy())
    gradients = hp.grad(lambda model: hp.sum(model(x) ** 2))(model)
    assert type(gradients) is operators.FNO
    assert gradients.blocks[1].spectral.weight.core.shape == model.blocks[1].spectral.weight.core.shape
    each = hp.vmap(lambda one: model(hp.expand_dims(one, 0))[0])(hp.asarray(x))
    np.testing.assert_allclose(each.detach().numpy(), model(x).detach().numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("outputs, shared", [(1, True), (1, False), (3, True), (3, False)])
def test_deeponet_is_that_of_torch(outputs, shared):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra bench)")
    model = operators.DeepONet([7, 10, 12], [2, 9, 12], outputs, dtype="float64", generator=hp.random.Generator(1))
    u, x = hp.asarray(normal(4, 7), requires_grad=True), hp.asarray(normal(5, 2) if shared else normal(4, 5, 2), requires_grad=True)

    def stack(part):
        return torch.nn.Sequential(*(torch.nn.Linear(layer.inputs, layer.outputs, dtype=torch.float64) if i % 2 == 0 else torch.nn.Tanh()
                                     for layer in part.layers for i in range(2)))

    def filled(part, last):
        net = stack(part)
        for layer, own in zip(net[::2], part.layers, strict=True):
            layer.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in own.state_dict().items()})
        return net if last else net[:-1]

    tu, tx = (torch.tensor(a.detach().numpy(), requires_grad=True) for a in (u, x))
    weights = filled(model.branch, False)(tu).reshape(4, outputs, -1)
    basis = filled(model.trunk, True)(tx)
    basis = basis.reshape(*basis.shape[:-1], outputs, -1)
    expected = torch.einsum("foc,poc->fpo" if shared else "foc,fpoc->fpo", weights, basis)
    expected = expected[..., 0] if outputs == 1 else expected
    out = model(u, x)
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=0, atol=1e-12)
    hp.sum(out ** 2).backward()
    torch.sum(expected ** 2).backward()
    np.testing.assert_allclose(u.grad.numpy(), tu.grad.numpy(), rtol=0, atol=1e-11)
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=0, atol=1e-11)


def test_deeponet_learns_an_integral():
    nn.seed(0)
    sensors = np.linspace(0.0, 1.0, 20)
    u = np.stack([np.cos(k * np.pi * sensors) for k in range(4)]).astype(np.float32)
    points = np.linspace(0.0, 1.0, 30)[:, None].astype(np.float32)
    target = np.stack([points[:, 0] if k == 0 else np.sin(k * np.pi * points[:, 0]) / (k * np.pi) for k in range(4)]).astype(np.float32)
    model, x = operators.DeepONet([20, 32, 16], [1, 32, 16]), 6.0 * points - 3.0
    first, last = learn(model, lambda model: nn.relative_l2(model(u, x), target), 800)
    assert last < 0.05 < first


@pytest.mark.parametrize("axes", [1, 2])
def test_unet_keeps_the_grid_and_learns(axes):
    nn.seed(0)
    space = (16, 8)[:axes]
    model, x = operators.ConvNeXtUNet(2, 1, width=8, levels=2, blocks=1, axes=axes, kernel=3, periodic=True), normal(2, 2, *space)
    y = normal(2, 1, *space, seed=3)
    first, last = learn(model, lambda model: nn.mse(model(x.astype(np.float32)), y.astype(np.float32)), 80)
    assert last < 0.2 * first


def test_periodic_unet_commutes_with_steps_of_its_coarsest_grid():
    model, x = operators.ConvNeXtUNet(1, 1, 4, levels=2, blocks=1, kernel=3, periodic=True, dtype="float64"), normal(1, 1, 8, 16)
    np.testing.assert_allclose(model(np.roll(x, (4, 8), (2, 3))).detach().numpy(), np.roll(model(x).detach().numpy(), (4, 8), (2, 3)),
                               rtol=0, atol=1e-12)


def test_an_empty_batch_has_empty_answers():
    for model, shape in ((fno_of(modes=(8, 8), width=4, layers=1), (0, 1, 16, 16)), (operators.SpectralConv(1, 1, 8), (0, 1, 16))):
        x = hp.asarray(np.zeros(shape, np.float32), requires_grad=True)
        out = model(x)
        hp.sum(out).backward()
        assert out.shape == shape and x.grad is not None and x.grad.shape == shape


def test_coordinates_do_not_widen_bfloat16():
    assert operators.with_coordinates(hp.ones((1, 1, 8)).astype("bfloat16")).dtype == "bfloat16"
    assert operators.FNO(modes=6, width=4, layers=1, dtype="bfloat16")(hp.ones((2, 1, 16)).astype("bfloat16")).dtype == "bfloat16"


def test_what_cannot_be():
    for options in ({"width": 0}, {"width": 2.5}, {"activation": "gelu"}):
        with pytest.raises(InputError, match=rf"FNO\({next(iter(options))}\)"):
            operators.FNO(modes=4, **options)
    model = operators.FNO((8, 8), 4, 1)
    with pytest.raises(ShapeError, match="as many samples as there are modes"):
        model(np.ones((1, 1, 6, 8)))
    with pytest.raises(ShapeError, match="has 2 channels; it must have 1"):
        model(np.ones((1, 2, 8, 8)))
    with pytest.raises(ShapeError, match="2 axes of space"):
        model(np.ones((1, 1, 8)))
    assert model(np.ones((1, 1, 9, 11))).shape == (1, 1, 9, 11)         # odd sizes are no trouble
    for options in ({"width": 0}, {"width": -3}, {"width": 2.5}, {"layers": 0}, {"inputs": 0}, {"outputs": True}, {"modes": (8, 0)},
                    {"padding": -0.1}, {"padding": (0.1,)}, {"lifting": 0.0}, {"mlp": -1.0}, {"rank": 2.0}):
        with pytest.raises(InputError, match=next(iter(options))):
            operators.FNO(**options)
    with pytest.raises(InputError, match="must end in one number"):
        operators.DeepONet([3, 4], [2, 5])
    with pytest.raises(InputError, match="must end in one number"):
        operators.DeepONet([3, 4], [2, 4], outputs=3)
    net = operators.DeepONet([3, 4], [2, 4])
    with pytest.raises(ShapeError, match="u has shape"):
        net(np.ones((1, 2)), np.ones((5, 2)))
    with pytest.raises(ShapeError, match="x has shape"):
        net(np.ones((2, 3)), np.ones((3, 5, 2)))
    unet = operators.ConvNeXtUNet(1, 1, 4, levels=2)
    with pytest.raises(ShapeError, match="multiple of 4"):
        unet(np.ones((1, 1, 8, 10)))
    with pytest.raises(InputError, match="kernel"):
        operators.ConvNeXtUNet(1, 1, 4, kernel=4)
    with pytest.raises(InputError, match="axes"):
        operators.ConvNeXtUNet(1, 1, 4, axes=3)
    with pytest.raises(InputError, match=r"ConvNeXtBlock\(axes\): axes=3; give 1 or 2"):
        operators.ConvNeXtBlock(4, axes=3)
    for made in (lambda f: operators.FNO(activation=f), lambda f: operators.DeepONet([3, 4], [2, 4], activation=f),
                 lambda f: operators.ConvNeXtUNet(1, 1, 4, activation=f)):
        with pytest.raises(InputError, match=r"\(activation\)='tanh' must be a function of a Tensor"):
            made("tanh")


def test_hooks_on_the_parts_of_an_fno_are_called_and_see_the_same_numbers():
    """Parts run in one operation, unless somebody looks at them."""
    model = operators.FNO(modes=(4,), width=4, layers=2, generator=hp.random.Generator(0))
    x, seen = hp.asarray(np.random.default_rng(0).standard_normal((2, 1, 16)).astype(np.float32)), []
    expected = model(x).detach().numpy()
    block = model.blocks[0]
    parts = [block.skip, block.spectral, block.mlp, block.mlp.first, model.lifting.second]
    for part in parts:
        part.register_forward_hook(lambda module, inputs, out: seen.append(module))
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=0, atol=1e-5)       # float32, values of size 1
    assert {id(module) for module in seen} == {id(part) for part in parts}
