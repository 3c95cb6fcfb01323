"""Fill README.md with what the last run measured, docs/cluster.md with the plan and docs/claims.md with the rules.

`make readme`, after `make demo`.

Between `<!-- NAME -->` and `<!-- /NAME -->` stands a build product: the demo's check, its claims and costs, the tables'
columns, the benchmark of measuring.
The figures are copied beside this file, smaller. No number there is typed by hand.
"""

import json
import re
import subprocess
from pathlib import Path

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
    """Return what `tests/benchmarks/measure.py --json docs/measure.json` said, as a table."""
    lines = [
        "| case | ms | TransformerLens, ms | times as long | asked rows by hand | sweep | peak MB: ours, theirs |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    measured = ROOT / "docs/measure.json"
    if not measured.is_file():
        raise SystemExit(f"{measured}: not there. Make it: make bench")
    for name, case in json.loads(measured.read_text(encoding="utf-8")).items():
        rows = f"{case['asked_rows_peer']['ratio']:.1f}" if "asked_rows_peer" in case else ""
        peaks = f"{case['ours_peak_bytes'] / 1e6:.0f}, {case['peer_peak_bytes'] / 1e6:.0f}"
        seconds = f"{1e3 * case['ours_s']:.2f} | {1e3 * case['peer_s']:.1f} | {case['ratio']:.1f}"
        sweep = f"{case['sweep_of_forward']:.2f}" if "sweep_of_forward" in case else ""
        lines.append(f"| `{name}` | {seconds} | {rows} | {sweep} | {peaks} |")
    return "\n".join(lines)


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
        "check": said("check"),
        "claims": claims(),
        "costs": said("costs"),
        "tables": tables(),
        "bench": bench(),
    }
    for name, content in products.items():
        text = fill(text, name, content)
    README.write_text(text, encoding="utf-8")
    RULES.write_text(fill(RULES.read_text(encoding="utf-8"), "rules", rules()), encoding="utf-8")
    CLUSTER.write_text(fill(CLUSTER.read_text(encoding="utf-8"), "plan", plan()), encoding="utf-8")
    for path in (ROOT / "results/figures").glob("*.png"):
        figure = Image.open(path).convert("RGB")
        size = (WIDTH, round(figure.height * WIDTH / figure.width))
        figure.resize(size, Image.Resampling.LANCZOS).quantize(128).save(ROOT / "docs" / path.name, optimize=True)
