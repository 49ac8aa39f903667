"""Module: parameters by attribute, trees, state, freezing, moving, hooks and captures."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, optim
from hyperion.errors import FileError, InputError


class Affine(nn.Module):
    def __init__(self, inputs, outputs, seed=0):
        rng = np.random.default_rng(seed)
        self.weight = nn.parameter(rng.standard_normal((outputs, inputs)))
        self.bias = nn.parameter(np.zeros(outputs))
        self.outputs = outputs

    def forward(self, x):
        return self.weight @ x + self.bias


class Net(nn.Module):
    def __init__(self):
        self.layers = [Affine(3, 4, 1), hp.tanh, Affine(4, 2, 2)]
        self.heads = {"one": Affine(2, 1, 3), "scales": (nn.parameter([2.0], dtype="float64"), 1.5)}
        self.mean = hp.asarray(np.zeros(3))
        self.sizes = [3, 4, 2]

    def forward(self, x):
        x = x - self.mean
        for layer in self.layers:
            x = self.note("x", layer(x))
        return self.heads["one"](x) * self.heads["scales"][0]


PATHS = ["heads.scales.0", "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias", "heads.one.weight", "heads.one.bias"]


def test_parameters_are_found_by_attribute():
    net = Net()
    assert list(net.named_parameters()) == PATHS
    assert list(net.named_buffers()) == ["mean"]
    assert [name for name, _ in net.named_modules()] == ["", "layers.0", "layers.2", "heads.one"]
    assert len(net.parameters()) == 7


def test_it_is_a_tree_of_its_parameters():
    net, x = Net(), hp.asarray(np.arange(3.0))
    gradient = hp.grad(lambda m: m(x).sum())(net)
    assert isinstance(gradient, Net) and gradient is not net and gradient.sizes is net.sizes
    net(x).sum().backward()
    for name, value in net.named_parameters().items():
        np.testing.assert_allclose(dict(gradient.named_parameters())[name].data, value.grad.data, rtol=1e-12)
    moved = hp.tree_map(lambda p, g: p - 0.1 * g, net, gradient)
    assert float(moved(x)[0]) < float(net(x)[0])
    assert net.layers[0].weight.requires_grad and net.layers is not moved.layers


def test_transforms_nest_over_modules():
    net = Net()
    xs = hp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    each = hp.vmap(hp.grad(lambda m, x: m(x).sum()), (None, 0))(net, xs)
    assert each.layers[0].weight.shape == (4, 4, 3)
    curvature = hp.hvp(lambda m: (m(xs[0]) ** 2).sum(), (net,), (net,))[0]
    assert curvature.layers[2].weight.shape == (2, 4)


def test_state_round_trip_and_what_does_not_fit():
    one, other = Net(), Net()
    for p in one.parameters():
        p.assign(p.data + 1.0)
    one.mean = hp.asarray(np.ones(3))
    other.load_state_dict(one.state_dict())
    x = hp.asarray(np.arange(3.0))
    np.testing.assert_array_equal(one(x).data, other(x).data)
    state = one.state_dict()
    state["surplus"] = np.zeros(1)
    del state["mean"]
    state["layers.0.bias"] = np.zeros(9)
    before = other.layers[2].weight.data.copy()
    state["layers.2.weight"] = before + 5.0
    with pytest.raises(FileError) as caught:
        other.load_state_dict(state)
    for part in ("missing: mean (3,)", "unknown: surplus", "layers.0.bias is (9,), must be (4,)"):
        assert part in str(caught.value)
    np.testing.assert_array_equal(other.layers[2].weight.data, before)


def test_a_loaded_state_does_not_share_memory():
    one, other = Net(), Net()
    other.load_state_dict(one.state_dict())
    one.layers[0].weight.data[...] = 0.0
    assert other.layers[0].weight.data.any()


def test_a_parameter_used_twice_counts_once():
    net = Net()
    net.tied = net.layers[0].weight
    assert len(net.parameters()) == 7


def test_train_eval_freeze_and_dtype():
    net = Net().eval()
    assert not any(module.training for _, module in net.named_modules())
    assert net.train().layers[0].training
    net.layers[0].freeze()
    assert list(net.named_parameters()) == [path for path in PATHS if not path.startswith("layers.0")]
    assert set(net.named_buffers()) == {"mean", "layers.0.weight", "layers.0.bias"}
    assert set(net.state_dict()) == {*PATHS, "mean"}
    net.layers[0].freeze(False)
    assert list(net.named_parameters()) == PATHS
    net.to(dtype="float32")
    assert {x.dtype for x in net.parameters()} == {np.dtype("float32")} and net.mean.dtype == np.float32
    assert all(x.requires_grad for x in net.parameters())


def test_hooks_and_captures():
    net, x = Net(), hp.asarray(np.arange(3.0))
    remove = net.layers[0].register_forward_hook(lambda module, args, out: out * 0.0)
    zeroed = net(x)
    remove()
    assert not np.allclose(zeroed.data, net(x).data)
    with nn.capture(net, "layers.*", "x") as found:
        net(x)
    shapes = {name: [v.shape for v in values] for name, values in found.items()}
    assert shapes == {"layers.0": [(4,)], "layers.2": [(2,)], "x": [(4,), (4,), (2,)]}
    with nn.capture(net, "layers.*") as found:
        pass
    net(x)
    assert not found
    with pytest.raises(InputError, match="no such path"), nn.capture(net, "blocks.0"):
        pass


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1.0)


class Tied(nn.Module):
    def __init__(self):
        self.a = Affine(3, 3, 1)
        self.b = Affine(3, 3, 2)
        self.b.weight = self.a.weight
        self.scales = [nn.parameter(np.ones(3)), hp.asarray(np.full(3, 2.0))]
        self.again = self.a

    def forward(self, x):
        return self.again(self.b(self.a(x))) * self.scales[0] + self.scales[1]


def test_what_is_in_lists_is_frozen_saved_and_trained_like_the_rest():
    model = Tied()
    assert "scales.0" in model.named_parameters() and "scales.1" in model.named_buffers()
    model.freeze()
    assert not model.parameters() and not model.scales[0].requires_grad
    assert "scales.0" in model.state_dict()
    model.freeze(False)
    assert "scales.0" in model.named_parameters()


def test_ties_survive_everything():
    model, x = Tied(), hp.asarray(np.arange(3.0))
    names = set(model.named_parameters())
    for changed in (model.freeze().freeze(False), model.to(dtype="float64"), hp.tree_map(lambda p: p * 2.0, model)):
        assert set(changed.named_parameters()) == names
        assert changed.a.weight is changed.b.weight and changed.again is changed.a
    gradient = hp.grad(lambda m: hp.sum(m(x)))(model)
    model(x).sum().backward()
    np.testing.assert_allclose(gradient.a.weight.data, model.a.weight.grad.data, rtol=1e-12)
    assert gradient.b.weight is gradient.a.weight


def test_the_functional_habit_trains_tied_and_listed_parameters():
    rule = optim.AdamW.rule(lr=0.05)
    model, x = Tied(), hp.asarray(np.arange(3.0))
    state = rule.init(model)
    first = None
    for _ in range(30):
        value, gradient = hp.value_and_grad(lambda m: hp.sum(m(x) ** 2))(model)
        first = float(value) if first is None else first
        model, state = rule.update(gradient, state, model)
    assert float(value) < 0.5 * first
    assert model.a.weight is model.b.weight and len(model.parameters()) == 4


def test_values_that_would_be_damaged_are_refused():
    model = Affine(2, 2)
    state = {"weight": np.ones((2, 2)) + 1j, "bias": np.ones(2)}
    with pytest.raises(FileError, match="wrong dtype: weight is complex128"):
        model.load_state_dict(state)
    model.to(dtype="float16")
    with pytest.raises(FileError, match="too large: bias"):
        model.load_state_dict({"weight": np.ones((2, 2)), "bias": np.full(2, 1e6)})


def test_names_with_dots_and_modules_that_know_their_parent():
    model = Affine(2, 2)
    model.parts = {"a.b": Affine(2, 2, 5)}
    model.parts["a.b"].parent = model
    gradient = hp.grad(lambda m: hp.sum(m.parts["a.b"](hp.asarray([1.0, 2.0]))))(model)
    assert gradient.parts["a.b"].weight.shape == (2, 2) and len(model.parameters()) == 4


def test_complex_parameters_change_their_precision():
    model = operators.FNO(modes=4, width=4, layers=1)
    model.to(dtype="float64")
    assert {str(p.dtype) for p in model.parameters()} == {"float64", "complex128"}
    assert {str(p.dtype) for p in model.to(dtype="bfloat16").parameters()} == {"bfloat16", "complex64"}
