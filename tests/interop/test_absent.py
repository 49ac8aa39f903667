"""Without PyTorch: the package imports, and says what is missing when a function is wrapped. It never imports PyTorch by itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError("No module named 'torch'")
sys.meta_path.insert(0, Blocker())
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_clear_error_without_pytorch() -> None:
    out = run(BLOCK + """
from hyperion import interop
from hyperion.errors import InputError
for name in ("to_torch", "from_torch"):
    try:
        getattr(interop, name)(lambda x: x)
    except InputError as error:
        print(error)
""")
    for name in ("to_torch", "from_torch"):
        missing = f"interop.{name}(function) needs PyTorch, which is not installed (No module named 'torch')"
        assert f"{missing}; install it with the extra interop" in out


def test_importing_hyperion_never_imports_pytorch() -> None:
    out = run("""
import sys, numpy, hyperion, hyperion.interop
hyperion.autograd.exchange.from_dlpack(numpy.ones(2))
print("torch" in sys.modules)
""")
    assert out.strip() == "False"
