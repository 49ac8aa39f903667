"""Losses and normalisers of operators."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, optim
from hyperion.errors import InputError, ShapeError


def wave(n, k, amplitude=1.0):
    x = np.arange(n) / n
    return amplitude * np.sin(2.0 * np.pi * k * x)[None, None]


@pytest.mark.parametrize("n", [16, 17])
def test_spectral_h1_is_the_integral(n):
    """Of sin(2 pi k x): mean square 1/2, slopes (2 pi k)^2 / 2."""
    error, target = wave(n, 3, 0.1), wave(n, 2)
    expected = np.sqrt(0.01 * (1.0 + (6.0 * np.pi) ** 2) / (1.0 + (4.0 * np.pi) ** 2))
    assert float(operators.relative_h1_spectral(target + error, target)) == pytest.approx(expected, rel=1e-12)
    far = np.sqrt(0.01 * (1.0 + (3.0 * np.pi) ** 2) / (1.0 + (2.0 * np.pi) ** 2))
    assert float(operators.relative_h1_spectral(target + error, target, lengths=2.0)) == pytest.approx(far, rel=1e-12)


def test_spectral_h1_and_differences_agree_on_smooth_fields():
    n = 256
    x, y = wave(n, 2) + wave(n, 1, 0.3), wave(n, 2)
    assert float(operators.relative_h1_spectral(x, y)) == pytest.approx(float(nn.relative_h1(x, y, 1.0 / n, periodic=True)), rel=2e-3)


def test_spectral_h1_in_two_dimensions_and_its_gradient():
    random = np.random.default_rng(0)
    x, y, v = (random.standard_normal((2, 1, 8, 7)) for _ in range(3))
    gradient = hp.grad(lambda x: operators.relative_h1_spectral(x, y))(hp.asarray(x)).numpy()
    step = 1e-5
    slope = (float(operators.relative_h1_spectral(x + step * v, y)) - float(operators.relative_h1_spectral(x - step * v, y))) / (2 * step)
    assert np.sum(gradient * v) == pytest.approx(slope, rel=1e-8)
    assert not np.any(hp.grad(lambda x: operators.relative_h1_spectral(x, y))(hp.asarray(y)).numpy())        # 0, not NaN, where they agree


def test_physics_loss_finds_a_solution_without_data():
    """u' = cos over a period, mean zero: the operator learns it from the residual alone."""
    n = 32
    x = np.arange(n) / n
    force = np.stack([np.cos(2.0 * np.pi * (k + 1) * x) for k in range(2)])[:, None].astype(np.float32)
    truth = np.stack([np.sin(2.0 * np.pi * (k + 1) * x) / (2.0 * np.pi * (k + 1)) for k in range(2)])[:, None]

    def residual(u, force):
        slopes = (hp.roll(u, -1, axis=2) - hp.roll(u, 1, axis=2)) * (0.5 * n)
        return slopes - force, hp.mean(u, axis=2)

    nn.seed(3)
    model, loss = operators.FNO((8,), 12, 2), operators.PhysicsLoss(residual, nn.relative_l2)
    optimiser = optim.Adam(model.parameters(), lr=optim.Cosine(1e-2, 0.0, 300))
    for _ in range(300):
        optimiser.zero_grad()
        loss(model, force).backward()
        optimiser.step()
    assert np.linalg.norm(model(force).detach().numpy() - truth) < 0.1 * np.linalg.norm(truth)


def test_physics_loss_adds_its_parts():
    loss = operators.PhysicsLoss(lambda u, x: (u, u - x), nn.mse, 2.0)
    x = hp.asarray([1.0, 1.0])
    assert float(loss(lambda x: 3.0 * x, x, hp.asarray([2.0, 2.0]))) == pytest.approx(1.0 + 2.0 * 9.0 + 2.0 * 4.0)
    assert float(loss(lambda x: 3.0 * x, x)) == pytest.approx(26.0)


def test_normaliser_fits_inverts_and_is_saved(tmp_path):
    scale, offset = np.array([3.0, 0.1])[:, None, None], np.array([1.0, -2.0])[:, None, None]
    data = np.random.default_rng(0).standard_normal((50, 2, 6, 5)) * scale + offset
    normal = operators.UnitGaussian((2,), dtype="float64").fit(data)
    out = normal(data).numpy()
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0.0, atol=1e-12)
    np.testing.assert_allclose(out.std((0, 2, 3)), 1.0, atol=2e-4)
    np.testing.assert_allclose(normal.inverse(out).numpy(), data, rtol=1e-12, atol=1e-12)
    assert not normal.parameters()
    nn.save(normal, tmp_path / "normal.safetensors")
    other = operators.UnitGaussian((2,), dtype="float64")
    other.load_state_dict(nn.load(tmp_path / "normal.safetensors"))
    assert np.array_equal(other(data).numpy(), out)
    each = operators.UnitGaussian((2, 6, 5), dtype="float64").fit(data)
    np.testing.assert_allclose(each(data).numpy().mean(0), 0.0, atol=1e-12)
    gradient = hp.grad(lambda x: hp.sum(normal(x)))(hp.asarray(data[:1])).numpy()
    slopes = (1.0 / (normal.std.numpy() + normal.eps))[:, None, None]
    np.testing.assert_allclose(gradient, np.broadcast_to(slopes, (1, 2, 6, 5)), rtol=1e-12)


def test_a_network_between_normalisers_in_the_units_of_the_data(tmp_path):
    x, y = np.random.default_rng(0).standard_normal((2, 30, 2, 8)) * 5.0 + 3.0
    model = operators.Normalized(operators.FNO((4,), 4, 1, 2, 2), x, 100.0 * y)
    seen = []
    model.network.forward = lambda z: seen.append(z.numpy()) or hp.asarray(np.ones_like(z.numpy()))
    out = model(x.astype(np.float32)).numpy()
    assert abs(seen[0].mean()) < 1e-6
    np.testing.assert_allclose(seen[0].std((0, 2)), 1.0, atol=1e-4)
    np.testing.assert_allclose(out[0, :, 0], 100.0 * (y.mean((0, 2)) + y.std((0, 2))), rtol=1e-5)
    nn.save(model, tmp_path / "model.safetensors")
    other = operators.Normalized(operators.FNO((4,), 4, 1, 2, 2), x + 1.0, y)
    other.load_state_dict(nn.load(tmp_path / "model.safetensors"))      # the statistics are part of the state
    assert np.array_equal(other.after.std.numpy(), model.after.std.numpy())


class Pair(nn.Module):
    def forward(self, x):
        return x, 2.0 * x


def test_predictions_in_batches_are_those_of_one_call():
    model = nn.Sequential(operators.FNO((4,), 4, 1), nn.Dropout(0.5))
    x = np.random.default_rng(0).standard_normal((7, 1, 8)).astype(np.float32)
    out = operators.predict(model, x, batch=3)
    assert type(out) is np.ndarray
    assert model.training
    np.testing.assert_allclose(out, model[0](x).detach().numpy(), rtol=0, atol=1e-6)       # no dropout
    with pytest.raises(ShapeError, match="at least one example"):
        operators.predict(model, x[:0])
    for wrong in (np.nan, np.inf):
        broken = np.array(x)
        broken.reshape(len(x), -1)[4, 0] = wrong
        with pytest.raises(InputError, match=r"predict\(inputs\): example 4 has values that are NaN or infinite"):
            operators.predict(model, broken, batch=3)
    with pytest.raises(InputError, match=r"predict\(batch\)"):
        operators.predict(model, x, batch=0)
    with pytest.raises(InputError, match=r"Pair returns 2 outputs; .* whose forward picks it"):
        operators.predict(Pair(), x)
    with pytest.raises(InputError, match="got a function; give a Module"):
        operators.predict(lambda x: x, x)


def test_what_cannot_be():
    with pytest.raises(ShapeError, match=r"Normalized\(outputs\)"):
        operators.Normalized(nn.Identity(), np.ones((2, 1, 3)), np.ones((2, 3)))
    with pytest.raises(ShapeError, match="one shape"):
        operators.relative_h1_spectral(np.ones((1, 1, 4)), np.ones((1, 1, 5)))
    with pytest.raises(InputError, match="lengths"):
        operators.relative_h1_spectral(np.ones((1, 1, 4)), np.ones((1, 1, 4)), lengths=0.0)
    with pytest.raises(InputError, match="weight"):
        operators.PhysicsLoss(lambda u, x: u, nn.mse, -1.0)
    with pytest.raises(InputError, match=r"PhysicsLoss\(residual\): got 3"):
        operators.PhysicsLoss(3, nn.mse)
    with pytest.raises(InputError, match=r"PhysicsLoss\(data\): got None; give a function"):
        operators.PhysicsLoss(lambda u, x: u, None)
    with pytest.raises(ShapeError, match="inputs have 2 examples, outputs 3"):
        operators.Normalized(nn.Identity(), np.ones((2, 1, 3)), np.ones((3, 1, 3)))
    with pytest.raises(InputError, match="no target"):
        operators.PhysicsLoss(lambda u, x: u, nn.mse, 0.0)(lambda x: x, hp.ones((1,)))
    normal = operators.UnitGaussian((2,))
    with pytest.raises(ShapeError, match="after the batch"):
        normal(np.ones((1, 3, 4)))
    broken = np.ones((4, 2, 3))
    broken[2, 1, 0] = np.nan
    with pytest.raises(InputError, match="example 2"):
        normal.fit(broken)
    with pytest.raises(ShapeError, match="more than one value"):
        operators.UnitGaussian((2, 3)).fit(np.ones((1, 2, 3)))


def test_a_complex_residual_counts_by_its_absolute_value():
    loss = operators.PhysicsLoss(lambda u, x: u * (3.0 + 4.0j), nn.mse)
    assert abs(float(loss(lambda x: x, np.ones(3))) - 25.0) < 1e-6
