"""neuraloperator's own modules, loaded with Hyperion's weights, give the same output; and its weights, loaded here."""

import warnings

import numpy as np
import pytest

import hyperion as hp
from hyperion import operators
from hyperion.errors import InputError

REASON = "neuraloperator is not installed (pip install neuraloperator)"


@pytest.fixture(scope="module")
def neuralop():
    """The package; it warns of its own dependencies when it is imported."""
    pytest.importorskip("torch", reason="PyTorch is not installed (extra bench)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("neuralop", reason=REASON)
        pytest.importorskip("neuralop.models", reason=REASON)
        pytest.importorskip("neuralop.layers.spectral_convolution", reason=REASON)
    return package


@pytest.fixture(autouse=True)
def others_warnings():
    """Deprecations inside neuraloperator and PyTorch are not ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(neuralop|tltorch|tensorly|torch).*")
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def load(module, state):
    """Put arrays into a torch module; every parameter must be given, and nothing besides."""
    import torch

    names = {name for name, _ in module.named_parameters()}
    assert names == set(state)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            assert tuple(parameter.shape) == state[name].shape, name
            parameter.copy_(torch.from_numpy(state[name]))
    return module


def close(ours, theirs):
    """Compare to 1e-5 of the largest number: float32 rounds to 6e-8 of it, and sums here have up to 1e4 terms."""
    expected = theirs.detach().numpy()
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


def place_odd_sizes_right(monkeypatch):
    """Make neuraloperator shift its spectra back by the inverse of the shift there: they differ for odd sizes."""
    import torch

    turns = {"count": 0}
    shift, back = torch.fft.fftshift, torch.fft.ifftshift

    def alternately(x, dim=None):
        turns["count"] += 1
        return (shift if turns["count"] % 2 else back)(x, dim=dim)

    monkeypatch.setattr(torch.fft, "fftshift", alternately)


SPACES = [((8,), (16,)), ((8,), (17,)), ((5,), (9,)), ((6, 4), (12, 10)), ((6, 4), (12, 11)), ((4, 2, 6), (8, 6, 10)),
          ((4, 4, 4), (8, 6, 9))]
ODD = [((6, 4), (13, 11)), ((4, 4, 4), (7, 9, 8))]


@pytest.mark.parametrize("rank", [None, 0.4])
@pytest.mark.parametrize("modes, space", SPACES)
def test_spectral_convolutions(neuralop, modes, space, rank):
    import torch
    from neuralop.layers.spectral_convolution import SpectralConv

    ours = operators.SpectralConv(3, 2, modes, rank=rank)
    options = {} if rank is None else {"factorization": "tucker", "rank": ours.weight.core.shape[-2:] + ours.weight.core.shape[:-2]}
    theirs = load(SpectralConv(3, 2, modes, **options), operators.to_neuraloperator(ours))
    x = normal(4, 3, *space)
    close(ours(x), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("modes, space", ODD)
def test_spectral_convolutions_of_odd_sizes(neuralop, modes, space, monkeypatch):
    """neuraloperator 2.0 puts the frequencies of axes with both signs back one place off where the size is odd; put right, it agrees."""
    import torch
    from neuralop.layers.spectral_convolution import SpectralConv

    ours = operators.SpectralConv(3, 2, modes)
    theirs = load(SpectralConv(3, 2, modes), operators.to_neuraloperator(ours))
    x = normal(4, 3, *space)
    off = float(np.abs(ours(x).detach().numpy() - theirs(torch.from_numpy(x)).detach().numpy()).max())
    assert off > 0.1, "neuraloperator has mended its shift: move these sizes to SPACES"
    place_odd_sizes_right(monkeypatch)
    close(ours(x), theirs(torch.from_numpy(x)))


FNOS = [
    {"modes": (8,), "space": (32,)},
    {"modes": (8, 6), "space": (12, 17)},
    {"modes": (4, 4, 4), "space": (8, 6, 5)},
    {"modes": (8, 8), "space": (16, 16), "padding": 0.25},
    {"modes": (6, 4), "space": (12, 10), "padding": [0.1, 0.5]},
    {"modes": (8, 8), "space": (16, 16), "grid": False},
    {"modes": (6, 6), "space": (12, 12), "rank": 0.3},
    {"modes": (4, 4, 4), "space": (8, 8, 8), "rank": 0.5, "grid": False},
    {"modes": (6, 6), "space": (12, 12), "mlp": 1.0, "lifting": 1.0, "projection": 4.0},
]


def pair(neuralop, modes, space, padding=0.0, grid=True, rank=None, mlp=0.5, lifting=2.0, projection=2.0):
    from neuralop.models import FNO

    ours = operators.FNO(modes, 8, 3, 2, 1, lifting, projection, mlp, grid, padding, rank)
    options = {}
    if rank is not None:
        core = ours.blocks[0].spectral.weight.core.shape
        options = {"factorization": "tucker", "rank": core[-2:] + core[:-2]}
    theirs = FNO(
        n_modes=modes, in_channels=2, out_channels=1, hidden_channels=8, n_layers=3, lifting_channel_ratio=lifting,
        projection_channel_ratio=projection, channel_mlp_expansion=mlp, positional_embedding="grid" if grid else None,
        domain_padding=padding if padding else None, **options)
    return ours, theirs


@pytest.mark.parametrize("options", FNOS, ids=str)
def test_networks(neuralop, options):
    import torch

    ours, theirs = pair(neuralop, **options)
    load(theirs, operators.to_neuraloperator(ours))
    x = normal(3, 2, *options["space"])
    close(ours(x), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("modes, space", [((8,), (16,)), ((6, 4), (12, 9)), ((4, 4, 4), (6, 8, 5))])
def test_blocks(neuralop, modes, space):
    import torch

    ours, theirs = pair(neuralop, modes, space)
    load(theirs, operators.to_neuraloperator(ours))
    x = normal(2, 8, *space)
    for i, block in enumerate(ours.blocks):
        close(block(hp.asarray(x)), theirs.fno_blocks(torch.from_numpy(x), i))


def test_gradients_of_all_weights(neuralop):
    import torch

    ours, theirs = pair(neuralop, (6, 4), (12, 10))
    load(theirs, operators.to_neuraloperator(ours))
    x = normal(3, 2, 12, 10)
    hp.sum(ours(x) ** 2).backward()
    torch.sum(theirs(torch.from_numpy(x)) ** 2).backward()
    gradients = ours.state_dict()
    for name, parameter in ours.named_parameters().items():
        gradients[name] = np.conj(parameter.grad.numpy())       # PyTorch's gradient is the conjugate of Hyperion's
    shapes = operators.FNO((6, 4), 8, 3, 2, 1)
    shapes.load_state_dict(gradients)
    expected = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    for name, value in operators.to_neuraloperator(shapes).items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-4 * np.abs(expected[name]).max(), err_msg=name)


@pytest.mark.parametrize("options", [FNOS[1], FNOS[3], FNOS[7], FNOS[8]], ids=str)
def test_their_weights_here(neuralop, options):
    import torch

    theirs = pair(neuralop, **options)[1]
    kept = {name: options[name] for name in ("grid", "padding") if name in options}
    ours = operators.from_neuraloperator({name: value for name, value in theirs.state_dict().items() if name != "_metadata"}, **kept)
    x = normal(3, 2, *options["space"])
    close(ours(x), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("options", [{"modes": 8}, {"modes": (6, 4), "rank": 0.3}, {"modes": (4, 4, 2), "grid": False}])
def test_there_and_back(options):
    model = operators.FNO(width=6, layers=2, inputs=2, outputs=3, **options)
    again = operators.from_neuraloperator(operators.to_neuraloperator(model), grid=model.grid)
    assert again.modes == model.modes
    for name, value in model.state_dict().items():
        assert np.array_equal(again.state_dict()[name], value), name


def test_what_cannot_be():
    with pytest.raises(InputError, match="FNO or a SpectralConv"):
        operators.to_neuraloperator(operators.Pointwise(1, 1))
    with pytest.raises(InputError, match="twice"):
        operators.to_neuraloperator(operators.FNO((4,), 4, 1, mlp=None))
    state = operators.to_neuraloperator(operators.FNO((4,), 4, 2))
    with pytest.raises(InputError, match=r"lacks lifting\.fcs\.0\.weight"):
        operators.from_neuraloperator({})
    with pytest.raises(InputError, match=r"has fno_blocks\.norm\.0\.weight besides"):
        operators.from_neuraloperator({**state, "fno_blocks.norm.0.weight": np.ones(4)})
    bias = "fno_blocks.convs.1.bias"
    with pytest.raises(InputError, match=r"convs\.1\.bias has shape \(5, 1\), not \(4, 1\)"):
        operators.from_neuraloperator({**state, bias: np.zeros((5, 1))})
