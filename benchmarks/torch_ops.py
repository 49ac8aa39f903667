"""Every operation shared with PyTorch, compared with it in float64 and complex128 over PyTorch's own sample inputs (its op_db).

    hyperion bench torch_ops --json FILE                   (or: python benchmarks/torch_ops.py --json FILE)
    hyperion bench torch_ops --ops sum linalg.svd fft.rfft --samples 100

op_db (`torch.testing._internal.common_methods_invocations`, needs `pip install expecttest`) lists PyTorch's operations, each with inputs to
test it on. `torch_ops_table.py` says which Hyperion function has the meaning of each, and why the others have none. For every sample:

value    of every output: shape, and the largest difference, relative to the largest element (to 1 where all are smaller); integers exactly
grad     gradient of a random real projection of the floating outputs, with respect to every input that PyTorch differentiates
jvp      derivative along random tangents of all those inputs: PyTorch's forward mode, or two backward sweeps where it has none
second   gradient of <that gradient, random vectors>

PyTorch gives the conjugate of Hyperion's gradient of a real function of complex inputs; it is conjugated before it is compared.
"""

import argparse
import collections
import json
import math
import random
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import runner
import torch_ops_table as table

from hyperion.errors import DtypeError, SingularError

SAMPLES = 20          # of each variant and dtype at most, evenly spaced over op_db's
TOLERANCE = 1e-10     # float64: about 1e6 roundings; where a sample's condition number needs more, the table says so with the reason
KINDS = ("value", "grad", "jvp", "second")
LIMIT = 20_000        # elements of all inputs of a sample: larger ones test the same formulas


class NoDerivative(Exception):
    """PyTorch has no derivative of this order here."""


def outputs_of(tree: Any) -> list[Any]:
    """Return the Tensors of a result, PyTorch's or Hyperion's, in order; numbers and None are left out."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, (tuple, list)):
        return [x for part in tree for x in outputs_of(part)]
    return [] if tree is None or isinstance(tree, (str, bytes)) else [tree]


def to_numpy(x: Any) -> np.ndarray:
    """Return any result as an array."""
    import torch

    if isinstance(x, torch.Tensor):
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)
    return np.asarray(x.detach().numpy() if hasattr(x, "detach") else x)


def difference(ours: Any, theirs: Any) -> float:
    """Return max |ours - theirs| / max(1, max |theirs|); NaN and infinities must stand in the same places. inf if the shapes differ."""
    a, b = to_numpy(ours), to_numpy(theirs)
    if a.shape != b.shape:
        return math.inf
    if not a.size:
        return 0.0
    exact = a.dtype.kind in "biu" and b.dtype.kind in "biu"
    if exact:
        return 0.0 if np.array_equal(a, b) else math.inf
    wide = np.complex128 if "c" in a.dtype.kind + b.dtype.kind else np.float64
    a, b = a.astype(wide), b.astype(wide)
    finite = np.isfinite(b)
    if not np.array_equal(finite, np.isfinite(a)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return 0.0
    return float(np.max(np.abs(a[finite] - b[finite])) / max(1.0, float(np.max(np.abs(b[finite])))))


class Case:
    """One sample of one operation: the same function in both libraries, of the same differentiable inputs."""

    def __init__(self, hp: Any, op: Any, sample: Any, entry: table.Entry, seed: int) -> None:
        import torch
        from torch.utils import _pytree as pytree

        self.torch, self.hp, self.entry, self.op = torch, hp, entry, op
        whole = (sample.input, tuple(sample.args), {k: v for k, v in sample.kwargs.items() if k not in entry.drop})
        leaves, self.structure = pytree.tree_flatten(whole)
        self.unflatten = pytree.tree_unflatten
        self.leaves = leaves
        tensors = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]
        for i in tensors:
            x = leaves[i]
            if x.layout != torch.strided or x.is_quantized or x.is_nested:
                raise table.Skip("an input is sparse, quantised or nested")
        if sum(leaves[i].numel() for i in tensors) > LIMIT:
            raise table.Skip(f"inputs of more than {LIMIT} elements")
        self.arrays = {i: to_numpy(leaves[i]).copy() for i in tensors}
        self.active = [i for i in tensors if leaves[i].requires_grad]
        self.random = np.random.default_rng(seed)
        self.remarks: list[str] = []

    def draw(self, like: Any) -> np.ndarray:
        """Return random numbers of an array's shape and dtype, uniform in [-1, 1]."""
        shape, kind = tuple(like.shape), str(like.dtype)
        values = self.random.uniform(-1.0, 1.0, shape)
        return values + 1j * self.random.uniform(-1.0, 1.0, shape) if "complex" in kind else values

    # PyTorch

    def theirs(self, parts: list[Any]) -> list[Any]:
        """Return PyTorch's outputs with the differentiable inputs given."""
        torch = self.torch
        leaves = [x.detach().clone() if isinstance(x, torch.Tensor) else x for x in self.leaves]
        for i, part in zip(self.active, parts, strict=True):
            leaves[i] = part
        first, args, kwargs = self.unflatten(leaves, self.structure)
        torch.manual_seed(0)
        return outputs_of(self.entry.process(self.entry.run_torch(self.op, first, *args, **kwargs)))

    def their_leaves(self) -> list[Any]:
        return [self.torch.tensor(self.arrays[i], requires_grad=True) for i in self.active]

    def projection(self, outputs: list[Any], weights: list[Any]) -> Any:
        total: Any = 0.0
        for x, w in zip(outputs, weights, strict=True):
            if w is not None:
                weight = self.torch.tensor(w)
                product = x * weight.conj()
                total = total + (product.real if product.is_complex() else product).sum()
        return total

    # Hyperion

    def ours(self, parts: list[Any]) -> list[Any]:
        """Return Hyperion's outputs with the differentiable inputs given."""
        leaves = list(self.leaves)
        for i, array in self.arrays.items():
            leaves[i] = self.hp.asarray(array)
        for i, part in zip(self.active, parts, strict=True):
            leaves[i] = part
        first, args, kwargs = self.unflatten(leaves, self.structure)
        return outputs_of(self.entry.process(self.entry.run(first, *args, **kwargs)))

    def our_leaves(self) -> list[Any]:
        return [self.hp.asarray(self.arrays[i]) for i in self.active]

    def our_projection(self, outputs: list[Any], weights: list[Any]) -> Any:
        hp, total = self.hp, None
        for x, w in zip(outputs, weights, strict=True):
            if w is not None:
                product = x * hp.asarray(np.conj(w))
                term = hp.sum(hp.real(product) if product.dtype.kind == "c" else product)
                total = term if total is None else total + term
        return total

    def compare(self) -> dict[str, float]:
        """Return the largest relative difference of value, gradient, jvp and second order; kinds without a meaning here are left out."""
        torch, hp, errors = self.torch, self.hp, {}
        leaves = self.their_leaves()
        try:
            reference = self.theirs(leaves)
        except Exception as error:
            raise table.Skip(f"PyTorch refuses it: {str(error).splitlines()[0][:80]}") from error
        with hp.no_grad():
            value = self.ours(self.our_leaves())
        if len(value) != len(reference):
            raise table.Different(f"{len(value)} outputs instead of {len(reference)}")
        errors["value"] = max((difference(a, b) for a, b in zip(value, reference, strict=True)), default=0.0)
        weights = [self.draw(x) if isinstance(x, torch.Tensor) and x.requires_grad else None for x in reference]
        if errors["value"] == math.inf:
            shapes = [(tuple(to_numpy(a).shape), tuple(to_numpy(b).shape)) for a, b in zip(value, reference, strict=True)]
            wrong = [f"shape {a} instead of {b}" for a, b in shapes if a != b]
            raise table.Different("value: " + (wrong[0] if wrong else "other integers, or NaN and infinities in other places"))
        if self.entry.value_only or not self.active or all(w is None for w in weights):
            return errors
        tangents = [self.draw(self.arrays[i]) for i in self.active]
        vectors = [self.draw(self.arrays[i]) for i in self.active]
        count = tuple(range(len(self.active)))

        def loss(*parts: Any) -> Any:
            return self.our_projection(self.ours(list(parts)), weights)

        def paired(*parts: Any) -> Any:
            total = None
            for g, u in zip(hp.grad(loss, argnums=count)(*parts), vectors, strict=True):
                product = g * hp.asarray(u)
                term = hp.sum(hp.real(product) if product.dtype.kind == "c" else product)
                total = term if total is None else total + term
            return total

        try:
            first = self.torch_gradient(self.projection(reference, weights), leaves)
            errors["grad"] = self.gap(hp.grad(loss, argnums=count)(*self.our_leaves()), first)
        except NoDerivative:
            return errors
        expected = self.torch_jvp(tangents, weights, first)
        if expected is not None:
            arguments = tuple(self.our_leaves()), tuple(hp.asarray(t) for t in tangents)
            _, moved = hp.jvp(lambda *parts: self.chosen(self.ours(list(parts)), weights), *arguments)
            errors["jvp"] = max((difference(a, b) for a, b in zip(moved, expected, strict=True)), default=0.0)
        if not self.entry.second:
            return errors
        try:
            total: Any = 0.0
            for g, u in zip(first, vectors, strict=True):
                product = g * torch.tensor(u).conj()
                total = total + (product.real if product.is_complex() else product).sum()
            second = self.torch_gradient(total, leaves)
        except NoDerivative:
            return errors
        errors["second"] = self.gap(hp.grad(paired, argnums=count)(*self.our_leaves()), second)
        return errors

    @staticmethod
    def chosen(outputs: list[Any], weights: list[Any]) -> list[Any]:
        return [x for x, w in zip(outputs, weights, strict=True) if w is not None]

    def gap(self, ours: Any, theirs: list[Any]) -> float:
        return max(difference(np.conj(to_numpy(a)), b) for a, b in zip(ours, theirs, strict=True))

    def torch_gradient(self, loss: Any, leaves: list[Any]) -> list[Any]:
        torch = self.torch
        if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
            return [torch.zeros_like(x) for x in leaves]
        try:
            found = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
        except (RuntimeError, NotImplementedError) as error:
            raise NoDerivative(str(error)) from error
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]

    def torch_jvp(self, tangents: list[np.ndarray], weights: list[Any], gradient: list[Any]) -> list[Any] | None:
        """Return PyTorch's directional derivative: forward mode, or the derivative of a pullback by its cotangent where there is none.

        None if it has neither, or if what it has contradicts its own gradient: <weights, jvp> must be <gradient, tangents>.
        """
        pairing = sum(self.pair(g, t) for g, t in zip(gradient, tangents, strict=True))
        size = 1.0 + sum(float(np.sum(np.abs(to_numpy(g) * t))) for g, t in zip(gradient, tangents, strict=True))
        for way in (self.torch_forward, self.torch_twice_backward):
            try:
                found = way(tangents, weights)
            except (RuntimeError, NotImplementedError):
                continue
            chosen = [w for w in weights if w is not None]
            other = sum(self.pair(x, w) for x, w in zip(found, chosen, strict=True))
            if not np.isfinite(pairing) or abs(other - pairing) <= (self.entry.tolerance or TOLERANCE) * size:
                return found
            self.remarks.append(f"PyTorch's {'forward mode' if way == self.torch_forward else 'second backward'} contradicts its gradient")
        return None

    def pair(self, x: Any, w: np.ndarray) -> float:
        """Return the real part of sum(conj(w) x)."""
        return float(np.real(np.sum(np.conj(w) * to_numpy(x))))

    def torch_forward(self, tangents: list[np.ndarray], weights: list[Any]) -> list[Any]:
        torch = self.torch
        forward = torch.autograd.forward_ad
        with forward.dual_level():
            duals = [forward.make_dual(x.detach(), torch.tensor(t)) for x, t in zip(self.their_leaves(), tangents, strict=True)]
            parts = [forward.unpack_dual(x) for x in self.chosen(self.theirs(duals), weights)]
            return [torch.zeros_like(p.primal) if p.tangent is None else p.tangent.clone() for p in parts]

    def torch_twice_backward(self, tangents: list[np.ndarray], weights: list[Any]) -> list[Any]:
        torch = self.torch
        leaves = self.their_leaves()
        outputs = self.chosen(self.theirs(leaves), weights)
        seeds = [torch.zeros_like(x, requires_grad=True) for x in outputs]
        pulled = torch.autograd.grad(outputs, leaves, seeds, create_graph=True, allow_unused=True)
        total: Any = 0.0
        for g, t in zip(pulled, tangents, strict=True):
            if g is not None:
                product = g * torch.tensor(t).conj()
                total = total + (product.real if product.is_complex() else product).sum()
        found = torch.autograd.grad(total, seeds, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, outputs, strict=True)]


def database() -> dict[str, list[Any]]:
    """Return op_db as {name: its variants}. Raises: ModuleNotFoundError without torch or expecttest."""
    import torch  # noqa: F401
    from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, list[Any]] = collections.defaultdict(list)
    for op in op_db:
        found[op.name].append(op)
    return dict(found)


def samples_of(op: Any, count: int) -> tuple[list[tuple[str, int, Any]], int]:
    """Return [(dtype, index, sample)], at most `count` a dtype, evenly spaced; and how many op_db has.

    float64 and complex128; an operation that takes neither is compared on int64 and bool.
    """
    import torch

    dtypes = [d for d in (torch.float64, torch.complex128) if d in op.dtypes] or [d for d in (torch.int64, torch.bool) if d in op.dtypes]
    chosen, total = [], 0
    for dtype in dtypes:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002  (op_db draws from it)
        random.seed(0)
        gradient = op.supports_autograd and (dtype.is_floating_point or dtype.is_complex)
        everything = list(op.sample_inputs("cpu", dtype, requires_grad=gradient))
        total += len(everything)
        indices = range(len(everything))
        if len(everything) > count:
            indices = sorted({round(i * (len(everything) - 1) / max(1, count - 1)) for i in range(count)})
        chosen += [(str(dtype).removeprefix("torch."), i, everything[i]) for i in indices]
    return chosen, total


def compare(name: str, variants: list[Any], count: int = SAMPLES, verbose: bool = False) -> dict[str, Any]:
    """Compare all variants of one operation; return its row.

    status: "match"; "value only" (match, and no derivative is compared); "partial" (match, but Hyperion refuses some samples); "mismatch";
    "missing" (Hyperion has no such function); "other" (no Hyperion function has that meaning; the note says why).
    """
    import hyperion as hp

    row: dict[str, Any] = {"op": name, "function": "", "status": "", "samples": 0, "of": 0, "note": "", **dict.fromkeys(KINDS)}
    notes: collections.Counter[str] = collections.Counter()
    mismatches: list[str] = []
    refused = 0
    if name in table.OTHER:
        return row | {"status": "other", "note": table.OTHER[name]}
    if name in table.MISSING:
        return row | {"status": "missing", "note": "Hyperion has no such function"}
    table.FOUND.clear()
    for op in variants:
        label = f"{name}.{op.variant_test_name}" if op.variant_test_name else name
        entry = table.TABLE.get(label, table.TABLE.get(name))
        if entry is None:
            if label in table.OTHER:
                notes[f"{op.variant_test_name}: {table.OTHER[label]}"] += 1
                continue
            return row | {"status": "missing", "note": "not in the table"}
        if isinstance(entry, str):
            notes[f"{op.variant_test_name}: {entry}".removeprefix(": ")] += 1
            continue
        if entry.note:
            notes[entry.note] += 1
        chosen, total = samples_of(op, count)
        row["of"] += total
        for dtype, index, sample in chosen:
            tolerance = entry.tolerance or TOLERANCE
            where = f"{label} {dtype} sample {index}"
            try:
                case = Case(hp, op, sample, entry, index)
                errors = case.compare()
                notes.update(case.remarks)
            except table.Missing as reason:
                return row | {"status": "missing", "note": f"Hyperion has no {reason}"}
            except table.Skip as reason:
                notes[f"skipped: {reason}"] += 1
                continue
            except table.Different as reason:
                mismatches.append(f"{where}: {reason}")
                continue
            except Exception as error:
                if dtype == "complex128" and isinstance(error, DtypeError):
                    notes["complex inputs are refused"] += 1
                    continue
                if isinstance(error, SingularError):
                    notes["refused, with the reason: the derivative does not exist at equal or zero singular values"] += 1
                    continue
                if "0 axes" in str(error) or "outside an array of shape ()" in str(error):
                    notes["skipped: an axis of a Tensor without axes, which PyTorch takes"] += 1
                    continue
                refused += 1
                text = f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
                notes[f"refused: {text}"] += 1
                if verbose:
                    print(f"-- {where}: {describe(sample)}")
                    traceback.print_exc(limit=-6)
                continue
            row["samples"] += 1
            for kind, error in errors.items():
                row[kind] = max(row[kind] or 0.0, error)
                if not error <= tolerance:
                    mismatches.append(f"{where}: {kind} differs by {error:.1e}")
                    if verbose:
                        print(f"-- {where}: {kind} {error:.2e}: {describe(sample)}")
    if isinstance(entry, table.Entry) and entry.tolerance:
        notes[f"tolerance {entry.tolerance:g}: {entry.reason}"] += 1
    row["function"] = ", ".join(sorted(table.FOUND))
    if mismatches:
        row["status"] = "mismatch"
        row["mismatches"] = mismatches
    elif refused:
        row["status"] = "partial"
    elif not row["samples"]:
        row["status"] = "other"
    else:
        row["status"] = "value only" if row["grad"] is None else "match"
    row["note"] = "; ".join(f"{text} ({n} x)" if n > 1 else text for text, n in notes.most_common())
    return row


def describe(sample: Any) -> str:
    """Return a sample in one line: shapes of its Tensors, values of everything else."""
    import torch
    from torch.utils import _pytree as pytree

    def short(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        return f"<{table.dtype_name(x.dtype)} {tuple(x.shape)}{', differentiated' if x.requires_grad else ''}>"

    return str(pytree.tree_map(short, (sample.input, *sample.args, sample.kwargs)))


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many operations have each status."""
    return dict(collections.Counter(row["status"] for row in rows).most_common())


def shortened(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its errors to two digits."""
    return row | {kind: None if row[kind] is None else float(f"{row[kind]:.1e}") for kind in KINDS}


def line(row: dict[str, Any]) -> str:
    errors = "".join(f"{'-' if row[kind] is None else f'{row[kind]:.0e}':>8}" for kind in KINDS)
    return f"{row['op'][:44]:<45}{row['status']:<11}{row['samples']:>4}/{row['of']:<5}{errors}  {row['note'][:110]}"


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="hyperion bench torch_ops", description=__doc__, formatter_class=form)
    parser.add_argument("--ops", nargs="+", metavar="NAME", help="names as in op_db; default all")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"of each variant and dtype at most (default {SAMPLES})")
    parser.add_argument("--verbose", action="store_true", help="inputs of samples that differ, tracebacks of those that are refused")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one JSON object: the setting, the counts and a row per operation")
    options = parser.parse_args()
    if options.samples < 1:
        parser.error(f"--samples {options.samples}: it must be at least 1")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.parent}; make it first")
    try:
        operations = database()
    except ModuleNotFoundError as error:
        parser.error(f"op_db cannot be imported ({error}); pip install 'torch' 'expecttest'")
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")     # PyTorch warns about prototypes, NumPy about samples that divide by zero on purpose
    unknown = [name for name in options.ops or () if name not in operations]
    if unknown:
        parser.error(f"--ops {unknown[0]}: op_db has no such operation")
    start = time.perf_counter()
    rows = []
    for name in options.ops or operations:
        rows.append(compare(name, operations[name], options.samples, options.verbose))
        if rows[-1]["status"] != "other" or options.ops:
            print(line(rows[-1]), flush=True)
        if options.verbose and "mismatches" in rows[-1]:
            print("   " + "\n   ".join(rows[-1]["mismatches"][:8]))
    summary = ", ".join(f"{n} {status}" for status, n in counts(rows).items())
    print(f"{len(rows)} operations in {time.perf_counter() - start:.0f} s: {summary}")
    if options.json:
        setting = runner.environment(1)
        setting |= {"torch": torch.__version__, "samples": options.samples, "tolerance": TOLERANCE, "counts": counts(rows)}
        lines = ",\n".join(json.dumps(shortened(row)) for row in rows)      # a line for each operation
        head = json.dumps(setting, indent=1).removesuffix("\n}")
        options.json.write_text(f'{head},\n "rows": [\n{lines}\n]}}\n', encoding="utf-8")
    return 1 if any(row["status"] == "mismatch" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
