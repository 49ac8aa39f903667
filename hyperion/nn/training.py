"""Training: the loop around a model, an optimiser, a loss and batches, and what makes it survive.

    trainer = nn.Trainer(model, optim.AdamW(model.parameters(), lr=1e-3), loss, nn.Batches(data, 64), clip=1.0, folder="runs/names")
    trainer.resume()                                        # goes on from runs/names/checkpoint.h5, if there is one
    for metrics in trainer.run(2000):
        print(metrics["step"], metrics["loss"])

    def loss(model, inputs, targets):                       # of one batch, a scalar
        return nn.cross_entropy(model(inputs), targets)
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.dtypes import BFLOAT16, FLOAT, HALF, as_dtype, is_floating
from hyperion.autograd.random import Generator
from hyperion.errors import FileError, InputError, NonFiniteError, ShapeError
from hyperion.gpu import device as devices
from hyperion.gpu import multitensor
from hyperion.io.checkpoint import load_tree, save_tree
from hyperion.io.tensorboard import EventFile
from hyperion.nn.arguments import as_count
from hyperion.nn.initializers import default_generator
from hyperion.nn.metrics import MetricsFile, make_folder
from hyperion.nn.module import Module, _fits

__all__ = ["LossScale", "Trainer"]

CHECKPOINT, PREVIOUS, BEST = "checkpoint.h5", "checkpoint-previous.h5", "best.h5"
class LossScale:
    """The factor that keeps small gradients of float16 from vanishing. It is halved when one overflows, and that step is left out.

    value: the first factor. growth: what it is multiplied by after `interval` steps without overflow. backoff: and after an overflow.
    lowest: below it training is given up.
    Source: Micikevicius et al., Mixed precision training (ICLR 2018), section 3.2; the numbers are PyTorch's.

    >>> scale = LossScale(1024.0)
    >>> scale.update(overflowed=True), scale
    (None, LossScale 512, 1 skipped)
    """

    def __init__(self, value: float = 65536.0, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000, lowest: float = 2.0**-14):
        if not (math.isfinite(value) and value >= lowest > 0.0 and growth >= 1.0 and 0.0 < backoff < 1.0):
            raise InputError(f"LossScale(value={value!r}, growth={growth!r}, backoff={backoff!r}, lowest={lowest!r}): value must be at "
                             "least lowest, which is above 0, growth at least 1, backoff between 0 and 1")
        self.value, self.growth, self.backoff, self.lowest = float(value), growth, backoff, lowest
        self.interval = as_count(interval, "LossScale(interval)")
        self.good, self.skipped = 0, 0

    def __repr__(self) -> str:
        return f"LossScale {self.value:g}, {self.skipped} skipped"

    def update(self, overflowed: bool) -> None:
        """Adapt the factor to what became of a step."""
        self.good = 0 if overflowed else self.good + 1
        self.skipped += overflowed
        if overflowed:
            self.value *= self.backoff
        elif self.good >= self.interval:
            self.good, self.value = 0, min(self.value * self.growth, 2.0**127)

    def state_dict(self) -> dict[str, Any]:
        """Return the factor and its counters."""
        return {"value": self.value, "good": self.good, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state of `state_dict`."""
        self.value, self.good, self.skipped = float(state["value"]), int(state["good"]), int(state["skipped"])


class Trainer:
    """Trains a model: steps of an optimiser on batches, with evaluation, checkpoints and exact resume.

    model: a Module, whose parameters the optimiser was made with. optimizer: of hyperion.optim, with its schedules.
    loss(model, *batch): a scalar, the mean over the batch; it computes the output by calling the model.
    batches: an endless iterator of tuples, such as Batches.

    precision: dtype of the arithmetic: float32, or bfloat16 or float16 on weights that stay in float32 (the loss is float32 too). float16
        scales the loss by `loss_scale` (default LossScale()) and leaves out steps whose gradients overflow.
    accumulate: batches whose mean gradient makes one step. clip: largest norm of the gradient; None only measures it.
    recompute: paths of Modules ("blocks.*") that keep no intermediate values for the gradient but are run again; not for Modules that
        count, as batch normalisation does.
    evaluate(model): a dict of numbers, computed after every `evaluate_every` steps (0: never) and after the last, in evaluation behaviour.
    patience: evaluations after which training ends if the first number has not become lower; None: never.
    average: an optim.EMA of the parameters, kept up with and used in evaluations.
    folder: where metrics.csv, metrics.jsonl, best.h5 (the parameters with the lowest first number of an evaluation) and checkpoint.h5 go.
    tensorboard: write the metrics as event files into the folder too.
    checkpoint_every: seconds between checkpoints in the folder; None leaves them to the caller. progress: a bar on the terminal.

    Attributes: steps (made so far), best ({"step", "value"} of the lowest evaluation, or None), stopped (True after an early stop).
    Raises, while running: NonFiniteError that names the step if loss or gradient is not finite; the parameters are then those before it,
    and the last checkpoint stays. ShapeError if the loss is no scalar.

    >>> from hyperion import nn, optim
    >>> nn.seed(1)
    >>> model, x = nn.Linear(1, 1), np.linspace(-1.0, 1.0, 32, dtype=np.float32)[:, None]
    >>> batches = nn.Batches(nn.Arrays(x, 3.0 * x), size=8)
    >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.3), lambda m, x, y: hp.mean((m(x) - y) ** 2), batches)
    >>> for metrics in trainer.run(200):
    ...     pass
    >>> metrics["step"], bool(metrics["loss"] < 1e-6)
    (200, True)
    """

    def __init__(
        self, model: Module, optimizer: Any, loss: Callable[..., Any], batches: Any, *,
        precision: Any = "float32", loss_scale: LossScale | None = None, accumulate: int = 1, clip: float | None = None,
        recompute: Sequence[str] = (), evaluate: Callable[[Module], Mapping[str, float]] | None = None, evaluate_every: int = 0,
        patience: int | None = None, average: Any = None, folder: str | Path | None = None, checkpoint_every: float | None = 60.0,
        progress: bool = False, tensorboard: bool = False,
    ):
        if not model.parameters():
            raise InputError(f"Trainer(model): {type(model).__name__} has no parameters; there is nothing to train")
        if not hasattr(optimizer, "step") or not hasattr(optimizer, "zero_grad"):
            raise InputError(f"Trainer(optimizer): got a {type(optimizer).__name__}; give an optimiser of hyperion.optim")
        if not hasattr(batches, "__next__"):
            raise InputError(f"Trainer(batches): a {type(batches).__name__} is no iterator; give nn.Batches(...), or another endless one")
        if checkpoint_every is not None and not isinstance(checkpoint_every, float | int):
            raise InputError(f"Trainer(checkpoint_every={checkpoint_every!r}): must be seconds, or None")
        self.model, self.optimizer, self.loss, self.batches = model, optimizer, loss, batches
        self.precision = as_dtype(precision)
        if self.precision not in (FLOAT, HALF, BFLOAT16):
            raise InputError(f"Trainer(precision={precision!r}): must be float32, bfloat16 or float16; for float64 make the model float64")
        if loss_scale is not None and self.precision != HALF:
            raise InputError(f"Trainer(loss_scale=..., precision={self.precision}): only float16 needs a loss scale; leave it out")
        self.loss_scale = loss_scale or (LossScale() if self.precision == HALF else None)
        self.accumulate = as_count(accumulate, "Trainer(accumulate)")
        if clip is not None and not (isinstance(clip, float | int) and clip > 0.0):
            raise InputError(f"Trainer(clip={clip!r}): must be above 0, or None")
        self.clip = clip
        self.recompute = (recompute,) if isinstance(recompute, str) else tuple(recompute)
        names = [name for name, _ in model.named_modules() if name]
        for pattern in self.recompute:
            if not any(_fits(pattern, name) for name in names):
                raise InputError(f"Trainer(recompute={pattern!r}): the model has no such part; it has {', '.join(names) or 'none'}")
        self.evaluate, self.evaluate_every = evaluate, as_count(evaluate_every, "Trainer(evaluate_every)", 0)
        if patience is not None and (evaluate is None or not evaluate_every):
            raise InputError("Trainer(patience=...): early stop needs evaluate= and evaluate_every=")
        self.patience = None if patience is None else as_count(patience, "Trainer(patience)")
        self.average, self.progress, self.checkpoint_every = average, progress, checkpoint_every
        self.folder = None if folder is None else Path(folder)
        self.metrics = None if self.folder is None else MetricsFile(self.folder)
        if tensorboard and self.folder is None:
            raise InputError("Trainer(tensorboard=True): needs folder=, where the event files go")
        self._tensorboard = tensorboard
        self._events: EventFile | None = None
        self.steps, self.stopped = 0, False
        self.best: dict[str, Any] | None = None
        self._since = 0                            # evaluations since the best
        self._parameters = model.parameters()
        self._options = {                          # as they were given: some set lr between steps
            f"optimizer.groups[{i}].{name}": repr(value.state_dict() if hasattr(value, "state_dict") else value)
            for i, group in enumerate(getattr(optimizer, "groups", [])) for name, value in group.rule.options().items()
        }

    def __repr__(self) -> str:
        return f"Trainer of {self.model!r}, {self.precision}, at step {self.steps}"

    def run(self, steps: int) -> Iterator[dict[str, Any]]:
        """Make steps until `steps` were made in all, and yield the metrics of each: step, loss, lr, gradient_norm, seconds, evaluations.

        An evaluation, the metrics file and the checkpoint of the folder are done before the step is yielded. Early stop ends it.
        """
        steps = as_count(steps, "Trainer.run(steps)", 0)
        written = time.monotonic()
        with self._bar(steps) as bar:
            while self.steps < steps and not self.stopped:
                row = self.step()
                if self.evaluate is not None and self.evaluate_every and (self.steps % self.evaluate_every == 0 or self.steps == steps):
                    row |= self._evaluated(self.evaluate)
                if self.metrics is not None:
                    self.metrics.write(row)
                    self._show(row)
                    due = self.checkpoint_every is not None and time.monotonic() - written >= self.checkpoint_every
                    if due or (self.checkpoint_every is not None and (self.steps == steps or self.stopped)):
                        self.save()
                        written = time.monotonic()
                if bar is not None:
                    bar.set_postfix(loss=f"{row['loss']:.4g}", refresh=False)
                    bar.update()
                yield row

    def _show(self, row: Mapping[str, Any]) -> None:
        if self._tensorboard and self.folder is not None:
            self._events = self._events or EventFile(self.folder)
            self._events.write(row["step"], {name: value for name, value in row.items() if name != "step" and value is not None})

    def history(self) -> list[dict[str, Any]]:
        """Return the metrics of all steps so far, those before a resume among them, from the folder."""
        self._folder("history")
        return [] if self.metrics is None else self.metrics.rows()

    def step(self) -> dict[str, Any]:
        """Make one step of the optimiser and return its metrics."""
        began = time.perf_counter()
        number = self.steps + 1
        self.model.train()
        self.optimizer.zero_grad()
        scale = 1.0 if self.loss_scale is None else self.loss_scale.value
        total = 0.0
        before = {id(buffer): (buffer, buffer.data) for buffer in self.model.named_buffers().values()}
        try:
            for _ in range(self.accumulate):
                total += self._backward(self._batch(), number, scale / self.accumulate) / self.accumulate
        except NonFiniteError:
            for buffer, data in before.values():
                buffer.data = data
            raise
        row: dict[str, Any] = {"step": number, "loss": total, "lr": float(getattr(self.optimizer, "lr", math.nan))}
        row["gradient_norm"] = norm = self._scaled_gradients(scale)
        overflowed = not math.isfinite(norm)
        if self.loss_scale is not None:
            self.loss_scale.update(overflowed)
            row |= {"loss_scale": self.loss_scale.value, "skipped": self.loss_scale.skipped}
            if self.loss_scale.value < self.loss_scale.lowest:
                self._fail(f"step {number}: gradients overflow float16 even with a loss scale of {self.loss_scale.value:g}")
        elif overflowed:
            self._fail(f"step {number}: the loss is {total:g}, but its gradient is not finite")
        if not overflowed:
            self.optimizer.step()
            if self.average is not None:
                self.average.update()
        else:
            row["gradient_norm"] = None            # JSON has no word for infinity
        self.optimizer.zero_grad()
        self.steps = number
        row["seconds"] = time.perf_counter() - began
        return row

    def _batch(self) -> Sequence[Any]:
        try:
            batch = next(self.batches)
        except StopIteration:
            raise InputError(f"Trainer(batches): it ended before step {self.steps + 1}; give an endless one: nn.Batches") from None
        if not isinstance(batch, tuple | list):
            raise InputError(f"Trainer(batches): it gave a {type(batch).__name__}; each batch must be a tuple of what the loss takes")
        return batch

    def _backward(self, batch: Sequence[Any], number: int, factor: float) -> float:
        """Add the gradient of a batch's loss times a factor to the parameters; return the loss."""
        reduced = self.precision != FLOAT
        with np.errstate(over="ignore", invalid="ignore") if reduced else contextlib.nullcontext():
            model = self._working_model() if reduced or self.recompute else self.model
            loss = self.loss(model, *batch)
            if model is not self.model:
                _take_buffers(self.model, model)
            if not isinstance(loss, Tensor) or loss.shape != ():
                got = f"a Tensor of shape {loss.shape}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
                raise ShapeError(f"Trainer: the loss function returned {got}; it must return a Tensor of shape (): take .mean()")
            value = float(loss)
            if not math.isfinite(value):
                self._fail(f"step {number}: the loss is {value}")
            (loss if factor == 1.0 else loss * factor).backward()
        return value

    def _fail(self, what: str) -> None:
        self.optimizer.zero_grad()
        file = None if self.folder is None else self.folder / CHECKPOINT
        kept = f", the last checkpoint is {file}" if file is not None and file.exists() else ""
        raise NonFiniteError(f"{what}; the parameters are those before that step{kept}. Lower lr, clip the gradient (clip=1.0), use "
                             "bfloat16 instead of float16, or look for the cause with hyperion.debug(nan=True)")

    def _working_model(self) -> Module:
        """Return a copy of the model, on the same parameters, that computes in the chosen precision and recomputes the chosen parts."""
        model = hp.tree_map(lambda p: _cast(p, self.precision), self.model)
        for name, module in model.named_modules():
            if any(_fits(pattern, name) for pattern in self.recompute):
                object.__setattr__(module, "forward", hp.checkpoint(module.forward))
        if self.precision != FLOAT:
            inner, dtype = model.forward, self.precision

            def forward(*args: Any, **kwargs: Any) -> Any:
                args, kwargs = hp.tree_map(lambda x: _cast(x, dtype), (args, kwargs))
                return hp.tree_map(lambda x: _cast(x, FLOAT), inner(*args, **kwargs))

            object.__setattr__(model, "forward", forward)
        return model

    def _scaled_gradients(self, scale: float) -> float:
        """Take the loss scale out of the gradients, clip them, and return their norm before."""
        leaves = [p for p in self._parameters if p.grad is not None]
        if not leaves:
            raise InputError("Trainer: no parameter got a gradient; the loss must be computed by calling the model it is given")
        xp = devices.namespace(leaves[0].data)
        with np.errstate(over="ignore", invalid="ignore"):
            arrays = [p.grad.data for p in leaves]                                                       # pyright: ignore[reportOptionalMemberAccess]
            there = multitensor.squares(arrays)
            others = [xp.vdot(g, g).real.astype(np.float64) for i, g in enumerate(arrays) if i not in there]
            total = sum(there.values()) + (float(xp.stack(others).sum()) if others else 0.0)
            norm = math.sqrt(total) / scale
            factor = 1.0 / scale
            if self.clip is not None and self.clip < norm < math.inf:
                factor *= self.clip / norm
            if factor != 1.0 and math.isfinite(norm):
                new = multitensor.scaled(arrays, factor)
                for i, (p, array) in enumerate(zip(leaves, arrays, strict=True)):
                    p.grad = Tensor(new[i] if i in new else array * array.dtype.type(factor))
        return norm

    def _evaluated(self, evaluate: Callable[[Module], Mapping[str, float]]) -> dict[str, float]:
        """Return the evaluation at this step, and note whether it is the best so far."""
        self.model.eval()
        with hp.no_grad(), contextlib.nullcontext() if self.average is None else self.average.applied():
            given: Any = evaluate(self.model)
            if not isinstance(given, Mapping):
                raise InputError(f"Trainer(evaluate): the function returned a {type(given).__name__}; it must return a dict of numbers")
            found = {name: float(value) for name, value in given.items()}
            if not found:
                raise InputError("Trainer(evaluate): the function returned no number; it must return a dict of at least one")
            name, value = next(iter(found.items()))
            if math.isnan(value):
                self._fail(f"evaluation after step {self.steps}: {name} is {value}")
            if self.best is None or value < self.best["value"]:
                self.best, self._since = {"step": self.steps, "value": value}, 0
                if self.folder is not None:
                    make_folder(self.folder)
                    save_tree(self.folder / BEST, {**self.best, "model": _arrays(self.model.state_dict())})
            else:
                self._since += 1
        self.model.train()
        self.stopped = self.patience is not None and self._since >= self.patience
        return found

    @contextlib.contextmanager
    def _bar(self, steps: int) -> Iterator[Any]:
        if not self.progress:
            yield None
            return
        import tqdm

        with tqdm.tqdm(total=steps, initial=self.steps, desc="training", disable=None, dynamic_ncols=True) as bar:
            yield bar

    # State

    def configuration(self) -> dict[str, Any]:
        """Return what a resumed training must have in common with the one before, as names and numbers or text."""
        batches = self.batches.state_dict() if hasattr(self.batches, "state_dict") else {}
        return {
            "model": type(self.model).__name__,
            "parameters": sum(p.size for p in self._parameters),
            "optimizer": type(self.optimizer).__name__,
            **self._options,
            "precision": str(self.precision), "accumulate": self.accumulate, "clip": self.clip,
            "average": type(self.average).__name__ if self.average is not None else None,
            **_settings(self.model),
            **{f"batches.{name}": value for name, value in batches.items() if name != "position"},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on, as a tree of NumPy arrays, numbers and text."""
        return {
            "configuration": self.configuration(), "steps": self.steps, "stopped": self.stopped, "best": self.best, "since": self._since,
            "model": _arrays(self.model.state_dict()), "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state_dict() if hasattr(self.batches, "state_dict") else None,
            "generators": {name: generator.state() for name, generator in self._generators().items()},
            "loss_scale": None if self.loss_scale is None else self.loss_scale.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next step is bit-identical, on one device, to the one that followed it.

        Raises: InputError that says what differs if the state is of another configuration; FileError if its parameters do not fit. Then
        nothing was changed.
        """
        if "configuration" not in state:
            raise InputError("Trainer.load_state_dict(state): this is no state of a Trainer; give what state_dict() returned")
        before, now = state["configuration"], self.configuration()
        differ = [f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in dict.fromkeys([*before, *now])
                  if before.get(name) != now.get(name)]
        if differ:
            raise InputError(f"Trainer: the state is of another configuration: {'; '.join(differ)}. Resume with the configuration it began "
                             "with, or start anew from its parameters: model.load_state_dict(state['model'])")
        present = self.model.state_dict()
        self.model.load_state_dict(state["model"])
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except InputError:
            self.model.load_state_dict(present)
            raise
        if state["batches"] is not None:
            self.batches.load_state_dict(state["batches"])
        generators = self._generators()
        for name, kept in state["generators"].items():
            if name in generators:
                generators[name].restore(kept)
        if self.loss_scale is not None:
            self.loss_scale.load_state_dict(state["loss_scale"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.steps, self.stopped, self.best, self._since = state["steps"], state["stopped"], state["best"], state["since"]
        self.optimizer.zero_grad()
        if self.metrics is not None:
            self.metrics.keep(self.steps)

    def save(self) -> None:
        """Write the checkpoint in the folder, in one step; the one before is kept beside it. Raises: FileError if the disk is full."""
        folder = self._folder("save")
        make_folder(folder)
        save_tree(folder / CHECKPOINT, self.state_dict(), folder / PREVIOUS)

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint in the folder; return False if there is none.

        Raises: FileError if there are checkpoints and none is whole; otherwise as `load_state_dict`.
        """
        folder = self._folder("resume")
        files = [folder / name for name in (CHECKPOINT, PREVIOUS) if (folder / name).exists()]
        for place, file in enumerate(files):
            try:
                state = load_tree(file, "Trainer.resume(): checkpoint")
            except FileError:
                if place + 1 == len(files):
                    raise
                continue
            if not isinstance(state, dict):
                raise FileError(f"Trainer.resume(): {file} is no checkpoint of a Trainer; give another folder")
            self.load_state_dict(state)
            return True
        return False

    def _folder(self, name: str) -> Path:
        if self.folder is None:
            raise InputError(f"Trainer.{name}(): this Trainer was made without folder=; give one, or keep state_dict() yourself")
        return self.folder

    def _generators(self) -> dict[str, Generator]:
        """Return the random generators that the model draws from, by path; "" is the one that layers share."""
        found = {f"{path}.{name}": value for path, module in self.model.named_modules() for name, value in module.__dict__.items()
                 if isinstance(value, Generator)}
        return {"": default_generator(), **found}


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a real floating Tensor or array as a Tensor of a dtype, anything else as it is."""
    if not isinstance(value, Tensor) and not devices.is_array(value):
        return value
    tensor = as_tensor(value)
    return tensor.astype(dtype) if is_floating(tensor.dtype) and tensor.dtype != dtype else tensor


def _take_buffers(model: Module, worked: Module) -> None:
    """Give the buffers of a copy that has computed, such as running statistics, to the model, in the model's dtype."""
    buffers = model.named_buffers()
    modules = dict(model.named_modules())
    for path, value in worked.named_buffers().items():
        if path in buffers and value is not buffers[path]:
            parent, _, name = path.rpartition(".")
            object.__setattr__(modules[parent], name, value.detach().astype(buffers[path].dtype))


def _arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state as NumPy arrays that a checkpoint holds; bfloat16 becomes float32, which holds all its values."""
    arrays = {name: devices.to_numpy(array) for name, array in state.items()}
    return {name: array.astype(np.float32) if array.dtype == BFLOAT16 else array for name, array in arrays.items()}


def _settings(model: Module) -> dict[str, Any]:
    """Return the numbers, texts and switches that Modules were made with, by path: what a state does not hold."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in module.__dict__.items():
            if not name.startswith("_") and name != "training" and isinstance(value, int | float | str):
                found[f"model.{path}.{name}" if path else f"model.{name}"] = value
    return found
