"""Fill README.md with what the last run measured, docs/cluster.md with the plan and docs/claims.md with the rules.

`make readme`, after `make demo`.

`python docs/fill.py NAME …` fills these parts alone: bench and tables need no run.

Between `<!-- NAME -->` and `<!-- /NAME -->` stands a build product: the demo's check, its claims and costs, the tables'
columns, the benchmark of measuring.
The figures are copied beside this file, smaller. No number there is typed by hand.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from induction.analyse.claims.people import MARKS, chance, escaped, figures, support
from induction.analyse.claims.registry import CLAIMS as REGISTRY
from induction.analyse.claims.registry import COMMON_RULE
from induction.tables.claims import ALL, CLAIMS
from induction.tables.schemas import TABLES

ROOT = Path(__file__).parents[1]
README, CLUSTER, RULES = ROOT / "README.md", ROOT / "docs/cluster.md", ROOT / "docs/claims.md"
WIDTH = 1400  # pixels, of the figures in the README


def tables() -> str:
    """Return every table with its columns, as text for the README."""
    lines = []
    for table in TABLES.values():
        place = (
            f"results/tables/{table.name}/model=…/*.parquet"
            if table.partitioned
            else f"results/tables/{table.name}.parquet"
        )
        lines += [
            f"**`{table.name}`** ({place}): a row is {table.row}.",
            "",
            "| column | type | what |",
            "|---|---|---|",
        ]
        lines += [f"| `{column.name}` | {column.kind} | {column.about} |" for column in table.columns]
        lines.append("")
    return "\n".join(lines).rstrip()


def said(*words: str) -> str:
    """Return what a subcommand prints; the check exits with 1 where the demo falls short, and is shown all the same."""
    done = subprocess.run(["induction", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr)
    return done.stdout.strip()


def bench() -> str:
    """Return what `tests/benchmarks/measure.py --json docs/measure.json` found, on each machine where it ran."""
    measured = ROOT / "docs/measure.json"
    if not measured.is_file():
        raise SystemExit(f"{measured}: not there. Make it: make bench")
    return bench_tables(json.loads(measured.read_text(encoding="utf-8"))["machines"])


def bench_tables(machines: list[dict[str, Any]]) -> str:
    """Return a table of the cases, each ratio as a range over the machines, and one of the machines."""
    cases = list(dict.fromkeys(name for machine in machines for name in machine["cases"]))
    lines = [
        "| case | times as long | asked rows by hand | sweep | allocated, MB: ours | theirs |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in cases:
        found = [machine["cases"][name] for machine in machines if name in machine["cases"]]
        by_hand = [case["asked_rows_peer"] for case in found if "asked_rows_peer" in case]
        cells = [
            ranged([case["ratio"] for case in found], 1),
            ranged([case["ratio"] for case in by_hand], 1),
            ranged([case["sweep_of_forward"] for case in found if "sweep_of_forward" in case], 2),
            *(
                ranged(
                    [case[f"{side}_allocated_bytes"] / 1e6 for case in found if f"{side}_allocated_bytes" in case], 0
                )
                for side in ("ours", "peer")
            ),
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines += ["", "| machine | date, clock | " + " | ".join(f"`{name}`" for name in cases) + " |"]
    lines.append("|---|---|" + "--:|" * len(cases))
    for machine in machines:
        loads = [case["load"] for case in machine["cases"].values() if "load" in case]
        load = f", load {ranged(loads, 1)}" if loads else ""
        ratios = [
            f"{machine['cases'][name]['ratio']:.1f}" if name in machine["cases"] else "not measured" for name in cases
        ]
        lines.append(f"| {machine['name']} | {machine['date']}, {machine['seconds']}{load} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def ranged(values: list[float], digits: int) -> str:
    """Return the least and the greatest of some values, or one where they are the same; none: an empty cell."""
    ends = [f"{end:.{digits}f}" for end in (min(values), max(values))] if values else []
    return " to ".join(dict.fromkeys(ends))


def plan() -> str:
    """Return the plan of the paper's study on the example of many nodes."""
    words = ("plan", "--study", "paper", "--site", "profiles/slurm/site-many-nodes.yaml")
    lines = [line.rstrip() for line in said(*words).splitlines()]
    return "\n".join(["```", *lines, "```"])


def rules() -> str:
    """Return what all rules of the claims have in common, and each rule with its amendments."""
    common, *amendments = COMMON_RULE.split(" Amended on ")
    lines = ["**Common to all rules.** " + common, *(f"Amended on {amendment}" for amendment in amendments)]
    for claim in REGISTRY.values():
        lines.append(f"**{claim.number}. {claim.statement}** Paper: {claim.paper}. {claim.rule}")
        if claim.amended:
            lines.append(f"Amended: {claim.amended}")
    return "\n\n".join(lines)


def claims() -> str:
    """Return the verdict on every claim with this study's figures; rules and reasons stand in the report."""
    lines = ["| # | claim | verdict | chance | window support | this study |", "|--:|---|---|--:|--:|---|"]
    rows = CLAIMS.read(ROOT / "results/tables/claims.parquet").to_dicts()
    for whole in rows:
        if whole["subject"] == ALL:
            shown = figures([row for row in rows if row["claim"] == whole["claim"]]) or whole["reason"]
            judged = (MARKS[whole["verdict"]], chance(whole), support(whole))
            cells = (str(whole["claim"]), whole["statement"], *judged, shown)
            lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    return "\n".join(lines)


def fill(text: str, name: str, content: str) -> str:
    """Return the text with what stands between the marks of `name` replaced."""
    filled, n_filled = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda marks: f"{marks[1]}{content}\n{marks[2]}", text, flags=re.S
    )
    if n_filled != 1:
        raise SystemExit(f"no marks <!-- {name} --> … <!-- /{name} -->")
    return filled


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    products = {
        "check": lambda: said("check"),
        "claims": claims,
        "costs": lambda: said("costs"),
        "tables": tables,
        "bench": bench,
    }
    chosen = sys.argv[1:] or list(products)
    if unknown := set(chosen) - set(products):
        raise SystemExit(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(products)}")
    for name in chosen:
        text = fill(text, name, products[name]())
    README.write_text(text, encoding="utf-8")
    if sys.argv[1:]:
        raise SystemExit
    RULES.write_text(fill(RULES.read_text(encoding="utf-8"), "rules", rules()), encoding="utf-8")
    CLUSTER.write_text(fill(CLUSTER.read_text(encoding="utf-8"), "plan", plan()), encoding="utf-8")
    for path in (ROOT / "results/figures").glob("*.png"):
        figure = Image.open(path).convert("RGB")
        size = (WIDTH, round(figure.height * WIDTH / figure.width))
        figure.resize(size, Image.Resampling.LANCZOS).quantize(128).save(ROOT / "docs" / path.name, optimize=True)
