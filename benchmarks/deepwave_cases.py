"""deepwave's published tests against Hyperion: a checkout of deepwave in, a list of passes out.

    python benchmarks/deepwave_cases.py CHECKOUT [-k WORDS]
The tests run as they are; the functions they call are those of `peers/deepwave_adapter.py`. Needs deepwave and PyTorch (extra bench).
"""

import argparse
import os
import sys
from pathlib import Path

import deepwave
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from peers import deepwave_adapter

CASES = {
    "tests/test_scalar.py": ["test_pml_width_list", "test_direct", "test_wavefield_decays", "test_scatter_2d", "test_reciprocity"],
    "tests/test_elastic.py": ["test_forward", "test_direct", "test_wavefield_decays", "test_reciprocity", "test_travel_time",
                              "test_stress_symmetry"],
}


class Results:
    """Notes what passed."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test."""
        if report.when == "call":
            why = "" if report.passed else str(report.longrepr).strip().splitlines()[-1][:160]
            self.lines.append(f"{report.outcome:8}{report.nodeid.split('::')[0].split('_')[-1]:12}{report.nodeid.split('::')[1]:60}{why}")


def gradients() -> list[str]:
    """Return what PyTorch's own checks say of the adapter's gradients, first and second."""
    generator = torch.Generator().manual_seed(1)
    speed = (1500.0 + 100.0 * torch.rand(5, 4, generator=generator, dtype=torch.double)).requires_grad_()
    samples = torch.randn(2, 2, 12, generator=generator, dtype=torch.double).requires_grad_()
    sent, heard = torch.tensor([[[1, 1], [2, 3]]] * 2), torch.tensor([[[3, 2], [0, 1]]] * 2)

    def gathers(v: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        return deepwave_adapter.scalar(v, 5.0, 1e-3, f, sent, heard, pml_width=3, max_vel=2000.0, accuracy=2)[-1]

    checks = {"gradcheck": torch.autograd.gradcheck, "gradgradcheck": torch.autograd.gradgradcheck}
    out = []
    for name, check in checks.items():
        try:
            ok, why = bool(check(gathers, (speed, samples), atol=1e-6, rtol=1e-4)), ""
        except Exception as error:
            ok, why = False, str(error).splitlines()[0][:160]
        out.append(f"{'passed' if ok else 'failed':8}{'':12}torch.autograd.{name:45}{why}")
    return out


def main() -> int:
    """Run the tests; the exit code is the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of deepwave's repository")
    parser.add_argument("-k", default="", help="only tests whose names match")
    options = parser.parse_args()
    deepwave.scalar, deepwave.elastic = deepwave_adapter.scalar, deepwave_adapter.elastic
    os.chdir(options.checkout)
    results = Results()
    words = [f"{file}::{name}" for file, names in CASES.items() for name in names]
    chosen = ["-k", options.k] if options.k else []
    pytest.main([*words, "-qq", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-W", "ignore", *chosen], plugins=[results])
    lines = [*results.lines, *gradients()]
    print("\n".join(lines))
    failed = sum(not line.startswith("passed") for line in lines)
    print(f"{len(lines) - failed} passed, {failed} failed; deepwave {deepwave.__version__}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
