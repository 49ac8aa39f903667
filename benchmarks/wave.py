"""Wave cases on the CPU, or larger ones on a GPU: Hyperion beside every peer that is installed, interleaved.

    hyperion bench wave                                    (or: python benchmarks/wave.py)
    hyperion bench wave --cases acoustic_2d acoustic_3d --systems hyperion devito --repeats 7 --json figures.jsonl
    hyperion bench wave --device cuda:0 --systems hyperion deepwave
    HYPERION_BENCH_DEVITO_PYTHON=/path/to/python hyperion bench wave      (a peer that lives in an environment of its own)
"""

import sys

import bandwidth
import runner
import wave_cases

MODULES = {
    "hyperion": "peers.hyperion_wave",
    "hyperion-moving": "peers.hyperion_moving_wave",  # as on a grid in motion everywhere, on the CPU
    "deepwave": "peers.deepwave_wave",
    "deepwave-sampled": "peers.deepwave_sampled_wave",  # its option for less memory, gradient only
    "devito": "peers.devito_wave",
    "jax": "peers.jax_wave",
    "one-sweep": "peers.one_sweep_wave",  # a C loop over the grid, without an absorbing layer
}


def main() -> int:
    names = [case.name for case in (*wave_cases.FULL, *wave_cases.GPU)]
    options = runner.arguments("wave", __doc__, names, list(MODULES), 5, "runs of each system, after one that is not counted", True)
    cases = ("GPU_SMOKE" if options.smoke else "GPU") if options.device != "cpu" else "SMOKE" if options.smoke else "FULL"
    warning = "peers whose threads spin (OpenMP) suffer most, so the ratios are not to be trusted"
    setting = runner.announce(options, warning, 0.25 * options.threads)
    if options.device != "cpu":
        setting["gpu"] = wave_cases.gpu()
    elif not options.smoke:
        setting["bandwidth"] = bandwidth.measure(options.threads)
        print("  a = b + c: " + ", ".join(f"{name} {value:.0f} GB/s" for name, value in setting["bandwidth"].items()))
    records = []
    for index, case in enumerate(getattr(wave_cases, cases)):
        if case.name in options.cases:
            systems = [s for s in options.systems if s in case.systems]
            new = runner.compare(
                case, systems, MODULES, f"wave_cases:{cases}", index, options.threads, options.repeats, **runner.of_waves(case))
            print(runner.table(new, "s"), flush=True)
            records += new
    runner.write(options, setting, records)
    ran = {(r["case"], r["system"]) for r in records}
    asked = [case.name for case in getattr(wave_cases, cases) if case.name in options.cases]
    return 1 if "hyperion" in options.systems and any((name, "hyperion") not in ran for name in asked) else 0


if __name__ == "__main__":
    sys.exit(main())
