"""A fixed part of the comparison with PyTorch over its own sample inputs (benchmarks/torch_ops.py does it for all operations)."""

import importlib
import sys
from pathlib import Path

import pytest

import hyperion as hp

# PyTorch's samples divide by zero and overflow on purpose, and its test utilities use what its own packages deprecate.
pytestmark = pytest.mark.filterwarnings("ignore")

WITH_DERIVATIVES = (
    "add", "mul", "true_divide", "pow", "abs", "exp", "log", "sqrt", "sin", "tanh", "atan2", "sigmoid", "erf", "lgamma", "logaddexp",
    "maximum", "clamp", "where", "xlogy", "nn.functional.gelu", "nn.functional.softplus", "softmax", "log_softmax", "logsumexp",
    "sum", "mean", "prod", "var", "amax", "cumsum", "cumprod", "sort", "topk", "matmul", "einsum", "kron", "tensordot",
    "linalg.inv", "linalg.det", "linalg.slogdet", "linalg.solve", "linalg.cholesky", "linalg.qr", "linalg.eigh", "linalg.svd",
    "linalg.vector_norm", "fft.fft", "fft.irfftn", "fft.hfft", "nn.functional.conv2d", "nn.functional.conv_transpose2d",
    "nn.functional.max_pool2d", "nn.functional.pad", "__getitem__", "gather", "cat", "diagonal", "real", "angle",
)
VALUES_ONLY = ("isfinite", "logical_xor", "argmax", "argsort", "searchsorted", "nonzero")
SAMPLES = 3     # of each variant and dtype, evenly spaced


@pytest.fixture(scope="module")
def torch_ops():
    pytest.importorskip("torch", reason="PyTorch is not installed (extra bench)")
    pytest.importorskip("expecttest", reason="expecttest, which PyTorch's op_db needs, is not installed (extra bench)")
    folder = str(Path(__file__).resolve().parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("torch_ops")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def operations(torch_ops):
    return torch_ops.database()


@pytest.mark.parametrize("name", WITH_DERIVATIVES)
def test_values_and_derivatives_are_those_of_pytorch(torch_ops, operations, name):
    row = torch_ops.compare(name, operations[name], SAMPLES)
    assert row["status"] == "match", (row["note"], row.get("mismatches"))
    assert row["samples"] and None not in (row["value"], row["grad"], row["jvp"], row["second"])


@pytest.mark.parametrize("name", VALUES_ONLY)
def test_values_are_those_of_pytorch(torch_ops, operations, name):
    row = torch_ops.compare(name, operations[name], SAMPLES)
    assert row["status"] == "value only", (row["note"], row.get("mismatches"))


def test_every_operation_of_pytorch_is_in_the_table(torch_ops, operations):
    table = torch_ops.table
    labels = {f"{name}.{op.variant_test_name}" for name, variants in operations.items() for op in variants}
    known = {*table.TABLE, *table.OTHER, *table.MISSING}
    variants_of = {name: {f"{name}.{op.variant_test_name}" for op in variants} for name, variants in operations.items()}
    assert [name for name in operations if name not in known and not variants_of[name] & known] == []
    assert sorted(known - set(operations) - labels) == []


@pytest.mark.parametrize(("wrong", "kind"), [
    (lambda x: hp.sin(x) + 1e-9, "value"),
    (lambda x: hp.stop_gradient(hp.sin(x)), "grad"),
    (lambda x: hp.sin(x) + 1e-9 * (x - hp.stop_gradient(x)), "grad"),
    (lambda x: hp.sin(hp.stop_gradient(x)) + (x - hp.stop_gradient(x)) * hp.stop_gradient(hp.cos(x)), "second"),
])
def test_a_wrong_value_or_derivative_is_found(torch_ops, operations, monkeypatch, wrong, kind):
    monkeypatch.setitem(torch_ops.table.TABLE, "sin", torch_ops.table.Entry(wrong))
    row = torch_ops.compare("sin", operations["sin"], SAMPLES)
    assert row["status"] == "mismatch" and row[kind] > torch_ops.TOLERANCE
