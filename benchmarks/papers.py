"""The settings of published papers, run side by side on one GPU: errors beside the published figures.

    python benchmarks/papers.py --device cuda:0 --out figures                  (or: hyperion bench papers ...)
    python benchmarks/papers.py --runs darcy --seconds 570 --set epochs=300    # a part; stops in time, and goes on when called again

burgers        fno_burgers with fno_burgers_paper.toml: Li et al. 2021, section 5.1, 1024 points
darcy          fno_darcy with fno_darcy_paper.toml: section 5.2, 85 x 85 nodes
navier_stokes  fno_navier_stokes with fno_navier_stokes_paper.toml: section 5.3, viscosity 1e-3, FNO-3D
deeponet       deeponet_advection with deeponet_advection_paper.toml: Lu et al. 2022, section 5.4

Each is a process of its own (a step is many small kernels: one process leaves most of a GPU idle), started with `hyperion run`, in a run
directory under --work. After --seconds those that are not done are told to stop: they write a checkpoint, and go on when the command is
given again. Reports, figures and a table of the figures of merit go to --out.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import h5py
import runner

FOLDER = Path(__file__).resolve().parent
RUNS = {"burgers": "fno_burgers", "darcy": "fno_darcy", "navier_stokes": "fno_navier_stokes", "deeponet": "deeponet_advection"}
PATIENCE = 60.0         # [s] for a checkpoint after the stop


def start(name: str, options: argparse.Namespace, work: Path) -> subprocess.Popen[str]:
    """Start a run, or go on with it."""
    scenario, directory = RUNS[name], work / name
    words = [sys.executable, "-m", "hyperion", "run", scenario, "--device", options.device, "--out", str(directory)]
    if (directory / "config.toml").exists():
        words += ["--resume"]
    else:
        words += ["--overwrite", *(["--smoke"] if options.smoke else ["--config", f"scenarios/{scenario}_paper.toml"])]
        words += [word for item in options.set for word in (f"--{item.partition('=')[0]}", item.partition("=")[2])]
    environment = dict(os.environ, OMP_NUM_THREADS="2", HYPERION_THREADS="2")
    environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), *filter(None, [environment.get("PYTHONPATH")])])
    console = open(work / f"{name}.txt", "a", encoding="utf-8")
    return subprocess.Popen(words, cwd=FOLDER.parent, env=environment, stdout=console, stderr=subprocess.STDOUT, text=True)


def wait(runs: dict[str, subprocess.Popen[str]], seconds: float) -> None:
    """Wait for all; after `seconds` ask the rest to stop, and after `PATIENCE` more end them."""
    end = time.monotonic() + seconds
    for stop in (None, signal.SIGINT, signal.SIGKILL):
        for process in runs.values():
            if stop is not None and process.poll() is None:
                process.send_signal(stop)
        while any(process.poll() is None for process in runs.values()) and time.monotonic() < end:
            time.sleep(0.5)
        end = time.monotonic() + PATIENCE


def found(name: str, work: Path) -> dict[str, Any]:
    """Return the figures of merit of a run, as its result file has them."""
    file = work / name / "result.h5"
    if not file.exists():
        return {}
    with h5py.File(file) as result:
        facts = {key: value.item() if hasattr(value, "item") else value for key, value in result.attrs.items()}
    return {key: value for key, value in facts.items() if isinstance(value, int | float | str)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS), metavar="RUN", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--device", default="cuda:0", help="default cuda:0")
    parser.add_argument("--work", type=Path, default=Path("runs/papers"), help="where run directories are kept (default runs/papers)")
    parser.add_argument("--out", type=Path, default=Path("."), help="where papers.json, reports and figures go")
    parser.add_argument("--seconds", type=float, default=1e9, help="after which runs are stopped, to go on later")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="options of the scenarios, for a first start")
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that everything runs; the figures mean nothing")
    options = parser.parse_args()
    work = options.work.resolve()
    for folder in (work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    runs = {name: start(name, options, work) for name in options.runs}
    wait(runs, options.seconds)
    setting = runner.environment(2) | {"device": options.device}
    records: list[dict[str, Any]] = []
    for name, process in runs.items():
        text = (work / f"{name}.txt").read_text(encoding="utf-8")
        facts, target = found(name, work), options.out / name
        state = {0: "done", 130: "stopped, to go on", -signal.SIGKILL: "killed"}.get(process.returncode, f"exit code {process.returncode}")
        print(f"\n{name}: {state} after {time.monotonic() - began:.0f} s\n" + "\n".join(text.splitlines()[-6:]))
        for key, value in facts.items():
            print(f"  {key}: {value}")
        target.mkdir(exist_ok=True)
        for part in ("report.html", "log.txt", "config.toml"):
            if (work / name / part).exists():
                shutil.copy(work / name / part, target / part)
        if (work / name / "figures").is_dir():
            shutil.copytree(work / name / "figures", target / "figures", dirs_exist_ok=True)
        (target / "console.txt").write_text(text, encoding="utf-8")
        tables = {part: tomllib.loads((work / name / f"{part}.toml").read_text(encoding="utf-8")) for part in ("config", "versions")
                  if (work / name / f"{part}.toml").exists()}
        records.append({"case": name, "scenario": RUNS[name], "state": state, "facts": facts, **tables})
    (options.out / "papers.json").write_text(json.dumps({**setting, "records": records}, indent=1) + "\n", encoding="utf-8")
    return 0 if all(process.returncode in (0, 130) for process in runs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
