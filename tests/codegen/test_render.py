"""The C text of programs: it compiles without a warning, is the same every time, and depends on what it says it depends on."""

import re
import subprocess
from pathlib import Path

import pytest

import hyperion
from hyperion import pde
from hyperion.codegen import adjoint, c_text, linearise
from hyperion.cpu import find_compiler
from hyperion.cpu.compiler import FLAGS
from hyperion.pde.discretise import discretise
from hyperion.pde.experiment import Engine
from tests.pde.cases import Dose, PressureVelocity

KERNELS = Path(hyperion.__file__).parent / "cpu" / "kernels"


def program(ndim=2, order=4, boundary=None, equation=None, ratios=None):
    return discretise(equation or pde.Acoustic(), ndim, order, ratios or (1.0,) * ndim, boundary or pde.CPML(width=5)).program


def texts(one):
    """Return the text of a program with all its histories, and that of its adjoint."""
    engine = Engine(one, "float32")
    return {"forward": c_text(one, engine.histories), "adjoint": c_text(engine.transposed.program, ())}


CASES = {
    "plane": (program(order=2), "float"),
    "volume": (program(ndim=3, order=2), "double"),
    "staggered": (program(equation=Dose(), order=2), "float"),
    "tangent": (linearise(program(order=2), "d."), "double"),
}


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("direction", ["forward", "adjoint"])
@pytest.mark.parametrize("name", CASES)
def test_the_compiler_has_nothing_to_say(name, direction, tmp_path):
    one, real = CASES[name]
    source = tmp_path / "kernel.c"
    parts = [(KERNELS / name).read_text() for name in ("stencil.h", "history.h", "motion.h", "timeloop.c")]
    source.write_text(parts[0] + texts(one)[direction] + "".join(parts[1:]))
    compiler = find_compiler()
    assert compiler is not None
    # Without optimisation, for speed. Kernels share one signature and one runtime: what some of them do not need is no fault.
    flags = [f for f in FLAGS if f not in ("-O3", "-shared")]
    command = [
        *compiler.command,
        *flags,
        "-O0",
        "-c",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Wno-unused-function",
        "-Wno-unknown-pragmas",
        "-Wno-psabi",
        f"-DREAL={real}",
        f"-DAXES={one.ndim}",
        str(source),
        "-o",
        str(tmp_path / "kernel.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_text_is_the_same_every_time():
    assert texts(program()) == texts(program())


def test_one_text_serves_every_grid_of_the_same_shape_of_cell():
    """Sizes, steps, spacings and the layer's strength are arguments: no recompilation per shape."""
    assert texts(program(boundary=pde.CPML(width=5))) == texts(program(boundary=pde.CPML(width=20, reflection=1e-5)))
    made = [
        pde.Solver(pde.Acoustic(), pde.Grid(shape, h)).engine(0, "float32", "p").program for shape, h in (((30, 40), 5.0), ((60, 90), 12.5))
    ]
    assert made[0] == made[1]
    assert texts(program(ratios=(1.0, 0.5))) != texts(program())


def test_the_interior_pays_nothing_for_the_layer():
    """The kernel of the interior is that of a program without layer: no memory variable, no profile."""

    def interior(text):
        return re.search(r"static void main0_\(.*?\n}\n", text, re.DOTALL).group()

    body = interior(c_text(program(), ()))
    assert "q0" not in body
    assert body.count("ST(") == interior(c_text(program(boundary=pde.CPML(width=0)), ())).count("ST(")


def test_every_order_and_equation_renders():
    for order in range(2, 17, 2):
        for ndim in (2, 3):
            assert f"#define REACH {order // 2}\n" in c_text(program(ndim, order), ())
    assert "#define SWEEPS 2\n" in c_text(program(equation=PressureVelocity()), ())
    assert "#define SWEEPS 2\n" in c_text(adjoint(program(equation=PressureVelocity())).program, ())
