"""The Trainer: exact resume after SIGKILL, precision, accumulation, clipping, recomputation, early stop, metrics, refusals."""

import csv
import itertools
import json
import os
import random as chance
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import hyperion as hp
from hyperion import io, nn, optim
from hyperion.errors import FileError, GraphError, InputError, NonFiniteError, ShapeError
from tests.nn.trained import make, squared_error

ROOT = Path(__file__).resolve().parents[2]


def numbers_of(trainer):
    """Everything that the next steps depend on, as bytes and numbers."""
    leaves = hp.tree_map(lambda value: value.tobytes() if isinstance(value, np.ndarray) else value, trainer.state_dict())
    return json.dumps(leaves, default=repr)


def finish(trainer, steps):
    return list(trainer.run(steps))


def linear_case(lr=0.1, rows=32, size=8, **options):
    """A Trainer of one linear layer on y = 3 x0 - x1."""
    nn.seed(1)
    model = nn.Linear(2, 1)
    x = np.random.default_rng(2).standard_normal((rows, 2)).astype(np.float32)
    batches = nn.Batches(nn.Arrays(x, x @ np.array([[3.0], [-1.0]], np.float32)), size, seed=4)
    return nn.Trainer(model, optim.SGD(model.parameters(), lr=lr), squared_error, batches, **options)


# Resume


def test_a_resumed_training_is_bit_identical(tmp_path):
    whole = make()
    rows, expected = finish(whole, 40), numbers_of(whole)
    finish(make(tmp_path), 17)
    second = make(tmp_path)
    assert second.resume() and second.steps == 17
    again = finish(second, 40)
    assert [row["loss"] for row in again] == [row["loss"] for row in rows[17:]]
    assert numbers_of(second) == expected


def test_killed_and_resumed_equals_undisturbed(tmp_path):
    """SIGKILL at random moments: the run that goes on ends with the same bits, and its metrics files have every step once."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT), HYPERION_THREADS="1", OMP_NUM_THREADS="1")
    command = [sys.executable, str(ROOT / "tests" / "nn" / "trained.py")]

    def start(folder, steps):
        return subprocess.Popen([*command, str(folder), str(steps)], env=environment, stdout=subprocess.PIPE, text=True)

    whole, broken, steps = tmp_path / "whole", tmp_path / "broken", 60
    with start(whole, steps) as process:
        process.communicate(timeout=120)
        assert process.returncode == 0
    generator = chance.Random(1)
    killed = 0
    for _ in range(3):
        with start(broken, steps) as process:
            for _ in range(generator.randint(4, 12)):
                process.stdout.readline()
            time.sleep(0.005 * generator.random())
            process.kill()
            killed += process.wait() != 0
    assert killed == 3
    with start(broken, steps) as process:
        process.communicate(timeout=120)
        assert process.returncode == 0
    states = [io.load_tree(folder / "checkpoint.h5") for folder in (whole, broken)]
    assert states[0]["steps"] == states[1]["steps"] == steps
    a, b = (json.dumps(hp.tree_map(lambda v: v.tobytes() if isinstance(v, np.ndarray) else v, state), default=repr) for state in states)
    assert a == b
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in nn.MetricsFile(folder).rows()] for folder in (whole, broken)]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == list(range(1, steps + 1))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    finish(make(tmp_path), 5)
    path = tmp_path / "checkpoint.h5"
    path.write_bytes(path.read_bytes()[:500])
    trainer = make(tmp_path)
    assert trainer.resume() and trainer.steps == 4
    (tmp_path / "checkpoint-previous.h5").write_bytes(b"")
    with pytest.raises(FileError, match=r"checkpoint-previous\.h5"):
        make(tmp_path).resume()
    io.save_tree(path, [1, 2])
    with pytest.raises(FileError, match="no checkpoint of a Trainer"):
        make(tmp_path).resume()


def test_nothing_to_resume(tmp_path):
    assert not make(tmp_path / "new").resume()
    with pytest.raises(InputError, match="without folder"):
        make().resume()
    with pytest.raises(InputError, match="without folder"):
        make().save()
    with pytest.raises(InputError, match="without folder"):
        make().history()


@pytest.mark.parametrize("changed, message", [
    ({"size": 4}, r"batches\.size was 8, is 4"),
    ({"seed": 9}, r"batches\.seed was 2, is 9"),
    ({"lr": 1e-2}, r"optimizer\.groups\[0\]\.lr was \"\{.*Cosine.*\}\", is '0\.01'"),
    ({"lr": optim.Cosine(1e-2, 1e-3, 61)}, "'steps': 60.*'steps': 61"),
    ({"clip": None}, r"clip was 1\.0, is None"),
    ({"accumulate": 1}, "accumulate was 2, is 1"),
    ({"precision": "bfloat16"}, "precision was 'float32', is 'bfloat16'"),
    ({"size": 4, "clip": 2.0}, r"clip was 1\.0, is 2\.0; batches\.size was 8, is 4"),
])
def test_a_resume_with_another_configuration_says_what_differs(tmp_path, changed, message):
    finish(make(tmp_path), 2)
    other = make(tmp_path, **changed)
    before = numbers_of(other)
    with pytest.raises(InputError, match=message):
        other.resume()
    assert numbers_of(other) == before


def test_a_state_of_another_model_is_refused_whole():
    trainer = linear_case()
    state = finish(trainer, 3) and trainer.state_dict()
    other = linear_case()
    other.model.weight.assign(np.ones((1, 2), np.float32))
    state["model"]["weight"] = np.zeros((2, 1), np.float32)
    with pytest.raises(FileError, match=r"weight is \(2, 1\), must be \(1, 2\)"):
        other.load_state_dict(state)
    state["model"]["weight"] = np.zeros((1, 2), np.float32)
    state["optimizer"]["parameters"] = []
    with pytest.raises(InputError, match="0 parameters"):
        other.load_state_dict(state)
    np.testing.assert_array_equal(other.model.weight.data, 1.0)
    with pytest.raises(InputError, match="no state of a Trainer"):
        other.load_state_dict({"model": {}})


def test_a_learning_rate_set_between_steps_is_resumed():
    first, second = linear_case(), linear_case()
    finish(first, 2)
    first.optimizer.lr = 0.01
    second.load_state_dict(first.state_dict())
    assert second.optimizer.lr == 0.01
    assert finish(first, 5)[-1]["loss"] == finish(second, 5)[-1]["loss"]


# Steps


def test_a_step_is_what_is_written_by_hand():
    trainer = linear_case()
    model, batches = linear_case().model, linear_case().batches
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for row in trainer.run(5):
        loss = squared_error(model, *next(batches))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert row["loss"] == loss.item()
    np.testing.assert_array_equal(trainer.model.weight.data, model.weight.data)


def test_accumulation_equals_a_larger_batch():
    small, large = linear_case(size=4, accumulate=4), linear_case(size=16)
    for a, b in zip(small.run(20), large.run(20), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5, abs=1e-9)     # float32; the order of sums differs
    np.testing.assert_allclose(small.model.weight.data, large.model.weight.data, rtol=1e-5)


def test_clipping_bounds_the_change():
    trainer = linear_case(lr=1.0, clip=0.05)
    before = [p.data.copy() for p in trainer.model.parameters()]
    row = trainer.step()
    change = np.sqrt(sum(np.sum((p.data - b) ** 2) for p, b in zip(trainer.model.parameters(), before, strict=True)))
    assert row["gradient_norm"] > 0.05
    assert change == pytest.approx(0.05, rel=1e-5)
    free = linear_case(lr=1.0, clip=1e6)
    assert free.step()["gradient_norm"] == row["gradient_norm"]


class Deep(nn.Module):
    """Blocks that a test counts the runs of."""

    def __init__(self):
        self.blocks = [nn.Sequential(nn.Linear(4, 4), nn.Activation(hp.tanh), nn.Dropout(0.3)) for _ in range(3)]
        self.runs = []

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_recomputed_blocks_give_the_same_training():
    def trained(**options):
        nn.seed(5)
        model = Deep()
        for block in model.blocks:
            block.register_forward_hook(lambda *_: model.runs.append(1))
            block.children()["0"].register_forward_hook(lambda *_: model.runs.append(2))
        x = np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)
        batches = nn.Batches(nn.Arrays(x, x[:, ::-1].copy()), 8)
        trainer = nn.Trainer(model, optim.SGD(model.parameters(), lr=0.1), squared_error, batches, **options)
        finish(trainer, 5)
        return [p.data for p in model.parameters()], model.runs.count(2)

    plain, once = trained()
    again, twice = trained(recompute=["blocks.*"])
    assert (once, twice) == (15, 30)
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)               # the same dropout; gradients are summed in another order


@pytest.mark.parametrize("precision, scale, tolerance", [                    # tolerances: a few units of the mantissa's last place
    ("bfloat16", None, 2e-2), ("float16", nn.LossScale(256.0), 3e-3),
])
def test_reduced_precision_keeps_masters_in_float32(precision, scale, tolerance):
    seen = []
    half, full = linear_case(precision=precision, loss_scale=scale), linear_case()
    half.model.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype.name, module.weight.dtype.name, out.dtype.name)))
    a, b = half.step(), full.step()
    assert seen[0][1] == precision
    assert a["loss"] == pytest.approx(b["loss"], rel=tolerance)
    for p, q in zip(half.model.parameters(), full.model.parameters(), strict=True):
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.data, q.data, rtol=tolerance, atol=tolerance)
    finish(half, 200)
    np.testing.assert_allclose(half.model.weight.data, [[3.0, -1.0]], atol=5 * tolerance)


def test_reduced_precision_follows_buffers():
    half, full = make(precision="bfloat16", accumulate=1), make(accumulate=1)
    half.step(), full.step()
    for (name, a), b in zip(half.model.named_buffers().items(), full.model.named_buffers().values(), strict=True):
        assert a.dtype == b.dtype, name
        np.testing.assert_allclose(a.data, b.data, rtol=2e-2, atol=2e-2)     # bfloat16 has 8 bits


def test_float16_overflow_skips_the_step_and_rescales():
    scale = nn.LossScale(2.0**40, interval=3)
    trainer = linear_case(precision="float16", loss_scale=scale)
    before = [p.data.copy() for p in trainer.model.parameters()]
    row = trainer.step()
    assert row["skipped"] == 1 and row["loss_scale"] == 2.0**39 and row["gradient_norm"] is None and trainer.optimizer.count == 0
    for p, kept in zip(trainer.model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, kept)
    rows = finish(trainer, 60)
    skipped = rows[-1]["skipped"]
    assert 1 < skipped < 59 and trainer.optimizer.count == 60 - skipped
    fine = [row for row in rows if row["gradient_norm"] is not None]
    assert fine[-1]["loss"] < 1e-3
    scales = [row["loss_scale"] for row in rows]
    assert any(b == 2.0 * a for a, b in itertools.pairwise(scales))          # grows after 3 good steps
    other = linear_case(precision="float16", loss_scale=nn.LossScale())
    other.load_state_dict(trainer.state_dict())
    assert (other.loss_scale.value, other.loss_scale.skipped) == (scale.value, scale.skipped)


def test_float16_that_always_overflows_is_given_up():
    trainer = linear_case(precision="float16", loss_scale=nn.LossScale(4.0, lowest=1.0))
    trainer.loss = lambda model, x, y: squared_error(model, x, y) * 1e30      # finite in float32, its gradient not in float16
    with pytest.raises(NonFiniteError, match="step 3: gradients overflow float16"):
        finish(trainer, 10)


# NaN


def nan_after(steps):
    calls = []

    def loss(model, x, y):
        calls.append(1)
        return squared_error(model, x, y) * (float("nan") if len(calls) > steps else 1.0)

    return loss


def test_a_nan_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    trainer = linear_case(folder=tmp_path, checkpoint_every=0.0)
    trainer.loss = nan_after(4)
    with pytest.raises(NonFiniteError, match=r"step 5: the loss is nan; .*the last checkpoint is .*checkpoint\.h5"):
        finish(trainer, 10)
    good = linear_case()
    finish(good, 4)
    np.testing.assert_array_equal(trainer.model.weight.data, good.model.weight.data)
    resumed = linear_case(folder=tmp_path)
    assert resumed.resume() and resumed.steps == 4
    np.testing.assert_array_equal(resumed.model.weight.data, good.model.weight.data)


def test_a_gradient_that_is_not_finite_stops(tmp_path):
    trainer = linear_case()
    trainer.loss = lambda model, x, y: hp.sqrt(hp.abs(hp.mean(model(x) - model(x))))         # 0, with an infinite slope
    before = trainer.model.weight.data.copy()
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="step 1: the loss is 0, but its gradient is not finite"):
        trainer.step()
    np.testing.assert_array_equal(trainer.model.weight.data, before)


def test_an_evaluation_that_is_nan_stops():
    trainer = linear_case(evaluate=lambda model: {"validation loss": float("nan")}, evaluate_every=2)
    with pytest.raises(NonFiniteError, match="evaluation after step 2: validation loss is nan"):
        finish(trainer, 4)


# Evaluation, early stop, metrics


def test_early_stop_keeps_the_best(tmp_path):
    values = iter([3.0, 2.0, 2.5, 2.25, 1.0])
    trainer = linear_case(folder=tmp_path, evaluate=lambda model: {"validation loss": next(values)}, evaluate_every=3, patience=2)
    weights = {}
    for row in trainer.run(100):
        weights[row["step"]] = trainer.model.weight.data.copy()
    assert trainer.stopped and trainer.steps == 12 and trainer.best == {"step": 6, "value": 2.0}
    best = io.load_tree(tmp_path / "best.h5")
    assert best["step"] == 6
    np.testing.assert_array_equal(best["model"]["weight"], weights[6])
    assert finish(trainer, 100) == []
    again = linear_case(folder=tmp_path, evaluate=lambda model: {"validation loss": 0.0}, evaluate_every=3, patience=2)
    assert again.resume() and again.stopped and again.best == trainer.best


def test_evaluation_uses_the_average_and_evaluation_behaviour():
    seen = []
    trainer = make(accumulate=1)
    trainer.evaluate = lambda model: seen.append((model.training, model.parameters()[0].data.copy())) or {"validation loss": 1.0}
    finish(trainer, 10)
    (training, weight), = seen
    assert not training and trainer.model.training
    np.testing.assert_array_equal(weight, trainer.average.average[0].data)
    assert not np.array_equal(weight, trainer.model.parameters()[0].data)


def test_mean_loss_weighs_batches_and_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.5))
    model.children()["0"].eval()
    x = np.random.default_rng(1).standard_normal((10, 2)).astype(np.float32)
    batches = nn.Batches(nn.Arrays(x, np.zeros((10, 1), np.float32)), 4)
    whole = nn.mean_loss(model, squared_error, [(x, np.zeros((10, 1), np.float32))])
    assert nn.mean_loss(model, squared_error, batches.once()) == pytest.approx(whole, rel=1e-6)
    assert [module.training for _, module in model.named_modules()] == [True, False, True]
    with pytest.raises(InputError, match="there is no batch"):
        nn.mean_loss(model, squared_error, [])


def test_metrics_go_to_csv_and_json_lines(tmp_path):
    trainer = linear_case(folder=tmp_path, evaluate=lambda model: {"validation loss": 0.5}, evaluate_every=2)
    rows = finish(trainer, 4)
    assert trainer.history() == rows
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows
    with open(tmp_path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["step"] for row in table] == ["1", "2", "3", "4"]
    assert [row["validation loss"] for row in table] == ["", "0.5", "", "0.5"]
    assert float(table[3]["loss"]) == rows[3]["loss"] and set(rows[0]) == {"step", "loss", "lr", "gradient_norm", "seconds"}


def test_a_line_of_metrics_that_was_cut_off_is_dropped(tmp_path):
    finish(linear_case(folder=tmp_path), 3)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    trainer = linear_case(folder=tmp_path)
    trainer.resume()
    finish(trainer, 5)
    assert [row["step"] for row in nn.MetricsFile(tmp_path).rows()] == [1, 2, 3, 4, 5]


def test_the_progress_bar_is_silent_without_a_terminal(capsys):
    finish(linear_case(progress=True), 3)
    assert capsys.readouterr().err == ""


# Refusals


@pytest.mark.parametrize("options, message", [
    ({"precision": "float64"}, "precision='float64'"),
    ({"precision": "int8"}, "precision='int8'"),
    ({"loss_scale": nn.LossScale()}, "only float16"),
    ({"accumulate": 0}, "accumulate"),
    ({"clip": 0.0}, r"clip=0\.0"),
    ({"recompute": ["blocks.*"]}, "no such part"),
    ({"patience": 2}, "needs evaluate="),
    ({"evaluate_every": -1}, "evaluate_every"),
])
def test_options_that_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        linear_case(**options)


@pytest.mark.parametrize("loss, error, message", [
    (lambda model, x, y: model(x), ShapeError, r"Tensor of shape \(8, 1\)"),
    (lambda model, x, y: 1.0, ShapeError, "a float"),
    (lambda model, x, y: hp.mean(x), GraphError, "does not depend"),
])
def test_losses_that_are_refused(loss, error, message):
    trainer = linear_case()
    trainer.loss = loss
    with pytest.raises(error, match=message):
        trainer.step()


def test_what_else_is_refused(tmp_path):
    with pytest.raises(InputError, match="no parameters"):
        nn.Trainer(nn.Identity(), None, squared_error, None)
    with pytest.raises(InputError, match="no number"):
        linear_case(evaluate=lambda model: {}, evaluate_every=1).run(1).__next__()
    with pytest.raises(InputError, match="steps"):
        finish(linear_case(), -1)
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be made"):
        finish(linear_case(folder=tmp_path / "file" / "below"), 1)
    with pytest.raises(InputError, match="LossScale"):
        nn.LossScale(backoff=1.0)


def test_a_step_that_fails_leaves_running_statistics_as_they_were():
    nn.seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Linear(3, 1))
    good, bad = np.ones((4, 2), np.float32) * np.arange(4)[:, None].astype(np.float32), np.full((4, 2), np.nan, np.float32)
    batches = iter([(hp.asarray(good),), (hp.asarray(bad),)])
    trainer = nn.Trainer(model, optim.SGD(model.parameters(), lr=0.1), lambda m, x: hp.mean(m(x) ** 2), batches)
    trainer.step()
    before = {name: np.array(x.data) for name, x in model.named_buffers().items()}
    with pytest.raises(NonFiniteError):
        trainer.step()
    for name, x in model.named_buffers().items():
        np.testing.assert_array_equal(x.data, before[name])


def test_another_rate_of_dropout_is_another_configuration():
    def trainer(rate):
        nn.seed(0)
        model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(rate), nn.Linear(3, 1))
        batches = nn.Batches(nn.Arrays(np.ones((8, 2), np.float32)), size=4)
        return nn.Trainer(model, optim.SGD(model.parameters(), lr=0.1), lambda m, x: hp.mean(m(x) ** 2), batches)

    state = trainer(0.2).state_dict()
    with pytest.raises(InputError, match="probability"):
        trainer(0.5).load_state_dict(state)
    trainer(0.2).load_state_dict(state)


@pytest.mark.parametrize(("changes", "message"), [
    ({"batches": [1]}, "is no iterator"), ({"batches": iter([])}, "ended before step 1"),
    ({"batches": iter([np.ones(2)])}, "must be a tuple"),
    ({"clip": "a"}, "clip"), ({"checkpoint_every": "a"}, "checkpoint_every"), ({"optimizer": None}, "optimiser of hyperion.optim"),
])
def test_what_a_trainer_refuses(changes, message):
    model = nn.Linear(1, 1)
    options = {"optimizer": optim.SGD(model.parameters(), lr=0.1), "batches": iter([(np.ones((1, 1), np.float32),)])} | changes
    with pytest.raises(InputError, match=message):
        nn.Trainer(model, options.pop("optimizer"), lambda m, x: hp.mean(m(x)), options.pop("batches"), **options).step()
