"""The four PINN scenarios side by side, on the CPU at their defaults or on a GPU at the papers' settings: errors beside the published ones.

    python benchmarks/pinns.py --data FOLDER --threads 4 --out figures              # 16 cores: about 6 minutes
    python benchmarks/pinns.py --paper --device cuda:0 --data FOLDER --seconds 540  # stops in time, and goes on when called again

FOLDER holds burgers_shock.mat and NLS.mat of github.com/maziarraissi/PINNs; without it the references are Hyperion's own solutions.
Each run is a process of its own, `hyperion run pinn_...`, in a folder under --work; --set KEY=VALUE for options that all of them have.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from papers import found, wait

FOLDER = Path(__file__).resolve().parent
REFERENCES = {"burgers": "burgers_shock.mat", "schroedinger": "NLS.mat", "allen_cahn": "", "inverse_burgers": "burgers_shock.mat"}


def start(name: str, options: argparse.Namespace, work: Path) -> "subprocess.Popen[str]":
    """Start a run, or go on with it."""
    scenario = f"pinn_{name}"
    words = [sys.executable, "-m", "hyperion", "run", scenario, "--device", options.device, "--out", str(work / name)]
    if (work / name / "config.toml").exists():
        words += ["--resume"]
    else:
        words += ["--overwrite", *(["--smoke"] if options.smoke else [])]
        words += ["--config", f"scenarios/{scenario}_paper.toml"] if options.paper else []
    words += ["--reference", str((options.data / REFERENCES[name]).resolve())] if options.data and REFERENCES[name] else []
    words += [word for item in options.set for word in (f"--{item.partition('=')[0]}", item.partition("=")[2])]
    threads = str(options.threads)
    environment = dict(os.environ, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads, HYPERION_THREADS=threads)
    environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), *filter(None, [environment.get("PYTHONPATH")])])
    console = open(work / f"{name}.txt", "a", encoding="utf-8")
    return subprocess.Popen(words, cwd=FOLDER.parent, env=environment, stdout=console, stderr=subprocess.STDOUT, text=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", choices=list(REFERENCES), default=list(REFERENCES), metavar="RUN", help=", ".join(REFERENCES))
    parser.add_argument("--device", default="cpu", help="default cpu")
    parser.add_argument("--threads", type=int, default=2, help="of each run (default 2)")
    parser.add_argument("--paper", action="store_true", help="the papers' settings instead of the defaults")
    parser.add_argument("--data", type=Path, help="folder of the published solutions")
    parser.add_argument("--work", type=Path, default=Path("runs/pinns"), help="where run directories are kept (default runs/pinns)")
    parser.add_argument("--out", type=Path, default=Path("."), help="where pinns.json, reports and figures go")
    parser.add_argument("--seconds", type=float, default=1e9, help="after which runs are stopped, to go on later")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="options of all scenarios, for a first start")
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that everything runs; the figures mean nothing")
    options = parser.parse_args()
    work = options.work.resolve()
    for folder in (work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    runs = {name: start(name, options, work) for name in options.runs}
    wait(runs, options.seconds)
    records = []
    for name, process in runs.items():
        facts, state = found(name, work), {0: "done", 130: "stopped, to go on"}.get(process.returncode, f"exit code {process.returncode}")
        print(f"\n{name}: {state} after {time.monotonic() - began:.0f} s", *(f"  {key}: {value}" for key, value in facts.items()), sep="\n")
        if process.returncode:
            print("\n".join((work / f"{name}.txt").read_text(encoding="utf-8").splitlines()[-8:]))
        for part in ("report.html", "log.txt", "config.toml", "figures"):
            source, target = work / name / part, options.out / name / part
            if source.exists():
                (options.out / name).mkdir(exist_ok=True)
                shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, target)
        records.append({"case": name, "state": state, "device": options.device, "threads": options.threads, "facts": facts})
    (options.out / "pinns.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return 0 if all(process.returncode in (0, 130) for process in runs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
