"""Check this code on one GPU; see check.sh, which starts it. Prints a table and writes JSON.

Each section runs in a process of its own, for no longer than its budget: one that is slow, crashes or runs out of memory
takes nothing from the others. What it has found until then is kept. Imports nothing that may be missing until it has
looked for it.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path

HERE = Path(__file__).parent

BUDGETS = {
    "peak": 40,
    "agreement": 110,
    "training": 80,
    "speed": 90,
    "chunks": 75,
    "memory": 85,
    "phase_change": 100,
}
"""Seconds that each section may take, start-up included: 580 in all."""
QUICK_BUDGET = 300
"""Of each section of the dry run, which takes a few seconds unless the machine is busy."""

MODULES = ("torch", "numpy", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions",
           "yaml", "safetensors", "tokenizers")  # fmt: skip
ONLY_FOR_TABLES = ("polars", "pyarrow")
"""They read and write tables, which nothing here does: where they are missing, an empty module stands in."""


class Run:
    """A section as it runs: what it has found, written down at every row."""

    def __init__(self, name, device, about, found, *, budget, quick, planted):
        self.name, self.device, self.about, self.quick, self.budget = name, device, about, quick, budget
        self.planted = planted == "disagreement"
        self.rows, self.kept = [], {}
        self._found, self._began = found, time.monotonic()
        self._earlier = {}

    def left(self):
        """Return the seconds that are left of the budget."""
        return self.budget - (time.monotonic() - self._began)

    def earlier(self, section, key):
        """Return what an earlier section has kept, or None."""
        return self._earlier.get(section, {}).get("kept", {}).get(key)

    def row(self, what, value, unit, *, at_most=None, at_least=None):
        """Add a number, and whether it is within its bounds; without bounds nothing is judged. Not a number fails."""
        value = float(value)
        at_most, at_least = (None if bound is None else float(bound) for bound in (at_most, at_least))
        bounds = [bound for bound in (at_most, at_least) if bound is not None]
        passed = math.isfinite(value)
        passed = passed and (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        row = {"what": what, "value": value if math.isfinite(value) else None, "unit": unit}
        row |= {"at_most": at_most, "at_least": at_least, "passed": passed if bounds or not passed else None}
        self._add(row)

    def skip(self, what, why):
        """Add that something was not measured, and why."""
        self._add(
            {"what": what, "value": None, "unit": "", "at_most": None, "at_least": None, "passed": None, "why": why}
        )

    def keep(self, key, value):
        """Keep a value for later sections and for the end."""
        self.kept[key] = value
        self._write()

    def start(self, earlier):
        """Take note of what earlier sections found."""
        self._earlier = earlier
        self._write()

    def _add(self, row):
        self.rows.append(row)
        print(line_of(row), flush=True)
        self._write()

    def _write(self):
        write(self._found, {"rows": self.rows, "kept": self.kept, "about": self.about})


def write(path, value):
    """Write JSON, whole or not at all."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def line_of(row):
    """Return a row of the table."""
    marks = {True: "ok", False: "FAILED", None: ""}
    bounds = [
        f"{sign} {row[name]:.3g}" for name, sign in (("at_most", "<="), ("at_least", ">=")) if row[name] is not None
    ]
    value = row.get("why") or ("not a number" if row["value"] is None else f"{row['value']:.4g} {row['unit']}".rstrip())
    return f"  {row['what']:86} {value:>18}  {' '.join(bounds):20} {marks[row['passed']]}".rstrip()


def missing_modules():
    """Return the names of modules that this Python lacks."""
    return [name for name in MODULES if importlib.util.find_spec(name) is None]


def stand_in_for_tables():
    """Put an empty module where a library for tables is missing."""

    class Nothing(types.ModuleType):
        """A module, and whatever is looked up in it: enough for annotations and tables of types."""

        __path__ = ()

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return sys.modules.setdefault(f"{self.__name__}.{name}", Nothing(f"{self.__name__}.{name}"))

        def __call__(self, *_, **__):
            return self

        def __or__(self, _):
            return self

        __ror__ = __or__

    for name in ONLY_FOR_TABLES:
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = Nothing(name)
            for part in ("parquet", "compute", "types", "dataset", "exceptions"):
                getattr(sys.modules[name], part)


def run_section(args):
    """Run one section in this process; `--run`."""
    stand_in_for_tables()
    import sections
    import torch

    name, found, earlier = args.run[0], Path(args.run[1]), Path(args.run[2])
    device = torch.device("cuda", 0) if args.device == "cuda" else torch.device("cpu")
    sections.prepare(device, quick=args.quick)
    about = sections.about_device(device)
    if sheet := sections.data_sheet_peak(about["name"]):
        about |= {"known_as": sheet[0], "data_sheet_flops": sheet[1]}
    planted = dict(one.split("=") for one in args.plant).get(name)
    run = Run(name, device, about, found, budget=budget_of(name, args), quick=args.quick, planted=planted)
    run.start(json.loads(earlier.read_text(encoding="utf-8")))
    if planted == "hang":
        time.sleep(3600)
    if planted == "crash":
        raise RuntimeError("planted")
    sections.SECTIONS[name](run)


def budget_of(name, args):
    """Return the seconds that a section may take."""
    usual = QUICK_BUDGET if args.quick else BUDGETS[name]
    return float(dict(one.split("=") for one in args.budget).get(name, usual))


def section(name, args, earlier, keep):
    """Run a section in a process of its own; return what became of it.

    Args:
        name: of the section.
        args: of this process.
        earlier: what became of the sections before.
        keep: takes what the section has found so far, every second.
    """
    with tempfile.TemporaryDirectory() as folder:
        found, before = Path(folder) / "found.json", Path(folder) / "earlier.json"
        write(before, earlier)
        command = [sys.executable, __file__, "--device", args.device, "--run", name, str(found), str(before)]
        command += ["--quick"] * args.quick
        command += [f"--budget={one}" for one in args.budget] + [f"--plant={one}" for one in args.plant]
        began = time.monotonic()

        def became(status, error=""):
            kept = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else {"rows": [], "kept": {}}
            passed = status == "done" and not any(row["passed"] is False for row in kept["rows"])
            seconds = round(time.monotonic() - began, 1)
            return {"status": status, "passed": passed, "seconds": seconds, "error": error, **kept}

        with (Path(folder) / "stderr").open("w+", encoding="utf-8") as stderr:
            process = subprocess.Popen(command, stderr=stderr)
            status, error = "done", ""
            try:
                while process.poll() is None:
                    if time.monotonic() - began > budget_of(name, args):
                        status, error = "out of time", f"stopped after its {budget_of(name, args):g} s"
                        break
                    keep(became("running"))
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(1)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            stderr.seek(0)
            said = [line for line in stderr.read().splitlines() if line.strip() and not line.startswith("USDT")]
        if status == "done" and process.returncode:
            status = "crashed"
            error = f"exit status {process.returncode}: {said[-1] if said else 'nothing was printed'}"
        if status != "done":
            print(f"  {status}: {error}")
        return became(status, error) | {"stderr": said[-20:]}


def site_of(found):
    """Return what the site file can take over: `speed`, and the `node` that its shares refer to.

    Shares are of the data sheet's peak where the card is known by name, since the site file's are; else of the measured
    one, which then stands in `node`.
    """
    kept = {name: section["kept"] for name, section in found.items()}
    about = next((section["about"] for section in found.values() if section.get("about")), {})
    measured = kept.get("peak", {}).get("bf16_flops")
    of = about.get("data_sheet_flops") or measured
    reached = {
        "training_utilisation": kept.get("speed", {}).get("full-scale flops"),
        "measuring_utilisation": kept.get("chunks", {}).get("measuring_flops"),
    }
    if not of:
        return {}
    node = {"gpu": about["known_as"]} if "known_as" in about else {
        "gpu_memory_gb": round(about["memory_gb"], 1), "peak_tflops": round(of / 1e12, 4)
    }  # fmt: skip
    speed = {name: min(1.0, float(f"{flops / of:.3g}")) for name, flops in reached.items() if flops}
    return {"node": node, "speed": speed}


def main():
    parser = argparse.ArgumentParser(prog="check.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("check.json"), help="JSON to write (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=BUDGETS, default=list(BUDGETS), help="sections to run")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: with --device cpu, the dry run")
    parser.add_argument("--budget", action="append", default=[], metavar="NAME=SECONDS", help="seconds of a section")
    # Plants a fault, to see that it is found: NAME=disagreement, NAME=crash or NAME=hang.
    parser.add_argument("--plant", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_section(args)
        return 0
    if missing := missing_modules():
        print(
            f"check.sh: this Python ({sys.executable}) lacks {', '.join(missing)}. Put their wheels into a folder and name "
            "it: check.sh --wheels FOLDER (docs/cluster.md says how to get them), or name another Python: "
            "PYTHON=… check.sh",
            file=sys.stderr,
        )
        return 2
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print(
            f"check.sh: torch {torch.__version__} sees no GPU here. On a machine with one, install a build of torch with "
            "CUDA; without one, the dry run is check.sh --device cpu --quick",
            file=sys.stderr,
        )
        return 2
    began, found = time.monotonic(), {}
    out = {"device": args.device, "quick": args.quick, "python": sys.version.split()[0], "host_cpus": os.cpu_count()}

    def keep(name, part):
        found[name] = part
        failures = [
            f"{one}: {line_of(row).strip()}"
            for one, kept in found.items()
            for row in kept["rows"]
            if row["passed"] is False
        ]
        failures += [
            f"{one}: {kept['status']}: {kept['error']}" for one, kept in found.items() if kept["status"] != "done"
        ]
        out.update(about=part.get("about"), sections=found, failures=failures, site=site_of(found))
        out.update(seconds=round(time.monotonic() - began, 1), whole=list(found) == list(BUDGETS))
        write(args.out, out)

    for name in BUDGETS:
        if name in args.only:
            print(f"{name}", flush=True)
            keep(name, section(name, args, dict(found), functools.partial(keep, name)))
    print(f"\n{'section':14} {'seconds':>8}  what became of it")
    for name, part in found.items():
        print(f"{name:14} {part['seconds']:8.1f}  {'passed' if part['passed'] else 'FAILED'} ({part['status']})")
    if out["site"]:
        print(f"for the site file: {json.dumps(out['site'])}")
    print(f"{len(out['failures'])} failed; {args.out} holds all of it", *out["failures"], sep="\n  ")
    return 1 if out["failures"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        sys.exit(3)
