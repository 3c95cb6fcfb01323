"""What a run cost, stage by stage, from the benchmark that Snakemake keeps of every job."""

from pathlib import Path

import polars as pl

from induction.errors import InductionError


def costs(logs: Path) -> pl.DataFrame:
    """Return one row a stage: `stage`, `jobs`, `seconds` of all its jobs, `longest` job in seconds, `peak_mb`.

    Args:
        logs: the folder `results/logs`, in which each stage has a folder of `.log` and `.tsv` files.

    Raises:
        InductionError: no job has run yet.
    """
    rows = []
    for path in sorted(logs.rglob("*.tsv")):
        try:
            job = pl.read_csv(path, separator="\t", infer_schema=False).row(-1, named=True)
            seconds, peak = float(job["s"]), job["max_rss"]
            peak_mb = float(peak) if peak and peak[0].isdigit() else 0.0
        except (pl.exceptions.PolarsError, KeyError, TypeError, ValueError, OSError):
            continue  # what a killed Snakemake or a full disk has left: that job's costs are not known
        stage = path.parent.name if path.parent != logs else path.stem
        rows.append((stage, seconds, peak_mb, path.stat().st_mtime))
    if not rows:
        raise InductionError(f"{logs}: no job has run yet. Run snakemake first.")
    frame = pl.DataFrame(rows, schema=["stage", "s", "mb", "ended"], orient="row")
    return (
        frame.group_by("stage")
        .agg(
            pl.len().alias("jobs"),
            pl.col("s").sum().alias("seconds"),
            pl.col("s").max().alias("longest"),
            pl.col("mb").max().alias("peak_mb"),
            pl.col("ended").min(),
        )
        .sort("ended")
        .drop("ended")
    )


def as_markdown(stages: pl.DataFrame) -> str:
    """Return the costs as a table for people, with their sum."""
    lines = ["| stage | jobs | seconds in all | longest job, s | peak memory, MB |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {row['stage']} | {row['jobs']} | {row['seconds']:.0f} | {row['longest']:.0f} | {row['peak_mb']:.0f} |"
        for row in stages.iter_rows(named=True)
    ]
    peak = max(stages["peak_mb"].to_list())
    total = f"| **all** | {stages['jobs'].sum()} | {stages['seconds'].sum():.0f} | | {peak:.0f} |"
    return "\n".join([*lines, total])
