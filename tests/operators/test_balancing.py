"""What weighs the loss of a PINN: weights against their definitions, time slices, points, states, refusals."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import InputError, ShapeError
from hyperion.operators.pinn.balancing import NTK, CausalWeights, GradientNorm, ReLoBRaLo, ResidualAttention

rng = np.random.default_rng(9)
X = rng.uniform(-1.0, 1.0, (24, 2))


def model(seed: int = 0) -> Any:
    return nn.MLP([2, 6, 2], dtype="float64", generator=hp.random.Generator(seed))


def residuals(m: Any) -> dict[str, Any]:
    return {"equation": 10.0 * m(X) - 1.0, "initial": m(X[:5])[:, :1], "data": 0.1 * m(X[5:12]) + 0.3}


def jacobian(name: str, m: Any) -> np.ndarray:
    size = residuals(m)[name].size
    found = hp.jacobian(lambda tree: residuals(tree)[name].reshape(-1))(m)
    return np.concatenate([leaf.data.reshape(size, -1) for leaf in found.parameters()], 1)


def test_gradient_norms_become_equal() -> None:
    m = model()
    weights = GradientNorm().update(residuals, m)
    lengths = {}
    for name in residuals(m):
        gradient = hp.grad(lambda tree, name=name: hp.sum(hp.square(residuals(tree)[name])) / residuals(tree)[name].shape[0])(m)
        lengths[name] = np.sqrt(sum((p.data**2).sum() for p in gradient.parameters()))
    mean = np.mean(list(lengths.values()))
    for name, length in lengths.items():
        assert np.isclose(weights[name], mean / (length + 1e-5 * mean), rtol=1e-10)


@pytest.mark.parametrize("probes", [47, 48])
def test_rates_of_the_ntk_become_equal(probes: int) -> None:
    """Exact where no residual has more entries than probes (48, 5, 14), else within the spread of the estimate."""
    m = model()
    weights = NTK(probes=probes).update(residuals, m)
    rates = {name: (jacobian(name, m) ** 2).sum() / residuals(m)[name].shape[0] for name in residuals(m)}
    # A trace estimated by one vector of signs has the variance 2 (|K|^2 - |diag K|^2); four deviations of a mean of 47.
    kernel = jacobian("equation", m) @ jacobian("equation", m).T
    spread = np.sqrt(2.0 * ((kernel**2).sum() - (np.diag(kernel) ** 2).sum()) / 47) / np.trace(kernel)
    shares = {name: 1.0 / weight - 1e-5 for name, weight in weights.items()}        # of the mean rate
    for name in ("initial", "data"):
        ratio = shares["equation"] / shares[name] * rates[name] / rates["equation"]
        assert abs(ratio - 1.0) < (4.0 * spread if probes == 47 else 1e-8)


def test_weights_move_with_momentum_every_so_many_steps() -> None:
    balance, one, other = GradientNorm(every=3, momentum=0.75), model(0), model(1)
    first = balance.update(residuals, one)
    assert balance.update(residuals, other) == first and balance.update(residuals, other) == first
    fourth = balance.update(residuals, other)
    alone = GradientNorm().update(residuals, other)
    for name in first:
        assert np.isclose(fourth[name], 0.75 * first[name] + 0.25 * alone[name], rtol=1e-12)


def test_a_term_without_gradient_gets_a_finite_weight() -> None:
    weights = GradientNorm().update(lambda p: {"a": p, "b": 0.0 * p}, hp.asarray([1.0], dtype="float64"))
    assert np.isclose(weights["b"], 1e5, rtol=1e-9)
    assert GradientNorm().update(lambda p: {"a": 0.0 * p}, hp.asarray([1.0])) == {"a": 1.0}


def test_relobralo_follows_its_formula() -> None:
    losses = iter([{"a": 4.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.25}])

    def given(_: Any) -> dict[str, Any]:
        return {name: hp.asarray([np.sqrt(value)]) for name, value in next(losses).items()}

    balance = ReLoBRaLo(momentum=0.5, memory=1.0, temperature=2.0)
    assert balance.update(given, None) == {"a": 1.0, "b": 1.0}
    softmax = lambda *r: 2.0 * np.exp(r) / np.exp(r).sum()  # noqa: E731
    second = 0.5 * np.ones(2) + 0.5 * softmax(0.25 / 2.0, 1.0 / 2.0)
    np.testing.assert_allclose(list(balance.update(given, None).values()), second, rtol=1e-6)
    third = 0.5 * second + 0.5 * softmax(1.0 / 2.0, 0.25 / 2.0)
    np.testing.assert_allclose(list(balance.update(given, None).values()), third, rtol=1e-6)
    forgetful = ReLoBRaLo(momentum=0.5, memory=0.0, temperature=2.0)
    losses = iter([{"a": 4.0, "b": 1.0}, {"a": 1.0, "b": 1.0}])
    forgetful.update(given, None)
    found = list(forgetful.update(given, None).values())
    np.testing.assert_allclose(found, softmax(0.25 / 2.0, 1.0 / 2.0), rtol=1e-6)       # first and last losses are the same here


@pytest.mark.parametrize("make", [lambda: GradientNorm(every=2), lambda: NTK(every=2, probes=3), lambda: ReLoBRaLo(memory=0.5)])
def test_balances_resume(make: Any) -> None:
    models = [model(seed) for seed in range(6)]
    whole, part, resumed = make(), make(), make()
    expected = [whole.update(residuals, m) for m in models]
    for m in models[:3]:
        part.update(residuals, m)
    resumed.load_state_dict(part.state_dict())
    assert [resumed.update(residuals, m) for m in models[3:]] == expected[3:]


def test_slices_of_time_wait_for_earlier_ones() -> None:
    times = np.array([0.05, 0.15, 0.3, 0.45, 0.95])         # slices 0, 0, 1, 1, 3 of four
    r = rng.normal(size=(5, 2))
    causal = CausalWeights(0.0, 1.0, slices=4, tolerances=(0.7, 5.0))
    squares = (r**2).sum(1)
    parts = np.array([squares[:2].mean(), squares[2:4].mean(), squares[4]])
    weights = np.exp(-0.7 * np.array([0.0, parts[0], parts[0] + parts[1]]))
    assert np.isclose(float(causal.loss(r, times)), (weights * parts).mean(), rtol=1e-12)
    assert np.isclose(causal.smallest, weights.min(), rtol=1e-12)
    gradient = hp.grad(lambda x: causal.loss(x, times))(hp.asarray(r)).data
    share = np.array([weights[0], weights[0], weights[1], weights[1], weights[2]]) / np.array([2, 2, 2, 2, 1]) / 3
    np.testing.assert_allclose(gradient, 2.0 * share[:, None] * r, rtol=1e-12)         # weights are constants


def test_the_tolerance_moves_on_when_all_slices_count() -> None:
    causal = CausalWeights(0.0, 1.0, slices=4, tolerances=(1.0, 10.0))
    times = np.linspace(0.0, 1.0, 20)
    causal.loss(np.ones(20), times)
    assert not causal.update() and causal.tolerance == 1.0
    causal.loss(np.full(20, 0.01), times)
    assert causal.update() and causal.tolerance == 10.0
    other = CausalWeights(0.0, 1.0, slices=4, tolerances=(1.0, 10.0))
    other.load_state_dict(causal.state_dict())
    assert other.tolerance == 10.0 and not other.update()
    assert np.isclose(float(other.loss(np.ones(20), times)), float(causal.loss(np.ones(20), times)))


def test_attention_follows_the_largest_residuals() -> None:
    attention, r = ResidualAttention(0.9, 0.2, start=0.5), rng.normal(size=(6, 2))
    size = np.sqrt((r**2).sum(1))
    attention.update({"equation": r})
    weights = 0.45 + 0.2 * size / size.max()
    np.testing.assert_allclose(attention.weights["equation"], weights, rtol=1e-12)
    np.testing.assert_allclose(float(attention.loss("equation", r)), ((weights[:, None] * r) ** 2).sum() / 6, rtol=1e-12)
    np.testing.assert_allclose(float(attention.loss("other", r)), ((0.5 * r) ** 2).sum() / 6, rtol=1e-12)
    other = ResidualAttention(0.9, 0.2)
    other.load_state_dict(attention.state_dict())
    attention.update({"equation": r})
    other.update({"equation": r})
    np.testing.assert_array_equal(other.weights["equation"], attention.weights["equation"])
    for _ in range(200):
        attention.update({"equation": r})
    assert np.isclose(attention.weights["equation"].max(), 0.2 / (1.0 - 0.9), rtol=1e-6)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: GradientNorm(every=0), InputError, r"GradientNorm\(every\)=0"),
    (lambda: GradientNorm(momentum=1.5), InputError, r"GradientNorm\(momentum\)=1.5"),
    (lambda: NTK(probes=0), InputError, r"NTK\(probes\)=0"),
    (lambda: ReLoBRaLo(temperature=0.0), InputError, "temperature=0.0"),
    (lambda: GradientNorm().load_state_dict({"steps": 1}), InputError, r"a GradientNorm needs \['steps', 'weights'\]"),
    (lambda: GradientNorm().update(lambda p: {}, hp.asarray([1.0])), InputError, r"gives the terms \[\]"),
    (lambda: CausalWeights(1.0, 0.0), InputError, "the first before the second"),
    (lambda: CausalWeights(0.0, 1.0, tolerances=(1.0, 1.0)), InputError, "each larger than the one before"),
    (lambda: CausalWeights(0.0, 1.0, slices=0), InputError, r"CausalWeights\(slices\)=0"),
    (lambda: CausalWeights(0.0, 1.0).loss(np.ones(3), np.ones(2)), ShapeError, r"residual has shape \(3,\), times \(2,\)"),
    (lambda: CausalWeights(0.0, 1.0).load_state_dict({"level": 9, "smallest": 0.0}), InputError, "level=9 is none of the 5"),
    (lambda: ResidualAttention(decay=1.5), InputError, r"ResidualAttention\(decay\)=1.5"),
    (lambda: ResidualAttention(start=-1.0), InputError, "start=-1.0"),
    (lambda: [a.update({"e": np.ones(n)}) for a in [ResidualAttention()] for n in (3, 4)], ShapeError, "e has 4 points"),
    (lambda: [(a.update({"e": np.ones(3)}), a.loss("e", np.ones(4))) for a in [ResidualAttention()]], ShapeError, "e has 4 points"),
])
def test_what_is_refused(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
