"""A copy of the repository with a tiny study, in which Snakemake is run as a user does."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tiny_study import MEASURED

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

CORPORA = {"words": {"vocab_size": 300, "held_out": 0.2, "sources": [{"files": "text/*.txt"}]}}
FAMILIES = {
    "attn": {
        "label": "attention-only",
        "base": {
            "corpus": "words",
            "d_model": 32,
            "n_heads": 2,
            "n_ctx": 128,
            "batch_size": 2,
            "n_steps": 30,
            "snapshots": [{"every": 5}],
            "block_snapshots": 4,
        },
        "sweep": {"n_layers": [1, 2], "seed": [0]},
    },
    "smeared": {
        "label": "smeared keys",
        "base": {"corpus": "words", "d_model": 32, "n_heads": 2, "n_ctx": 128, "batch_size": 2, "n_steps": 15,
                 "snapshots": [{"every": 5}], "block_snapshots": 4, "smeared_keys": True},
        "sweep": {"n_layers": [1]},
    },
}  # fmt: skip
STUDY = {
    **MEASURED,
    "families": ["attn", "smeared"],
    "prompts": {"n_prompts": 4},
    "heads": {"induction_prefix_matching": 0.05, "induction_copying": -1.0},
    "bootstrap": {"n_resamples": 40},
    "figures": {
        "phase_change": {"families": ["attn"]},
        "smeared_keys": {"families": ["attn", "smeared"]},
        "ablations": {"families": ["attn"]},
        "pca": {"families": ["attn", "smeared"]},
        "tokens": {"families": ["attn"]},
        "circuits": {"families": ["attn"]},
        "idealised": {"families": ["attn"]},
        "case_studies": {"families": ["attn"]},
        "heat_maps": {"families": ["attn"], "time": "log"},
        "model_analysis": {"families": ["attn", "smeared"]},
        "loss_by_index": {"families": ["attn"]},
        "order_inversion": {"families": ["attn"]},
        "head_scores": {"families": ["attn"]},
        "icl_indices": {"families": ["attn"]},
        "window_rules": {"families": ["attn"]},
        "class_thresholds": {"families": ["attn"]},
    },
}


class Project:
    """A copy of the repository with a tiny study, in which Snakemake is run as a user does."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("Snakefile", "workflow", "profiles", "envs", "src"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        (folder / "config").mkdir()
        (folder / "text").mkdir()
        generator = random.Random(0)
        words = ["".join(generator.choices("abcdefghij", k=generator.randint(2, 6))) for _ in range(300)]
        for index in range(80):
            text = " ".join(generator.choices(words, k=200))
            (folder / "text" / f"{index}.txt").write_text(text, encoding="utf-8")
        self.configure()

    def configure(self, families=None, study=None, corpora=None):
        models = {"corpora": corpora or CORPORA, "families": families or FAMILIES}
        self.write("config/models.yaml", yaml.safe_dump(models, sort_keys=False))
        config = {"study": "tiny", "studies": {"tiny": {**STUDY, **(study or {})}}}
        self.write("config/config.yaml", yaml.safe_dump(config, sort_keys=False))

    def write(self, path, text):
        (self.folder / path).write_text(text, encoding="utf-8")

    def edit(self, module, edit):
        path = self.folder / "src/induction" / module
        path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")

    def run(self, *arguments, first=None):
        """Run Snakemake; `first` holds variables that take the place of others."""
        environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **(first or {}),
            "PYTHONPATH": str(self.folder / "src"),
            "OMP_NUM_THREADS": "1",
        }
        command = [str(BIN / "snakemake"), *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def planned(self, *arguments):
        """Return the jobs that a dry run plans, as texts like `train attn-1l-s0 0`."""
        done = self.run("-n", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        jobs = set()
        for job in re.split(r"\n(?=(?:local)?rule \w+:)", done.stdout + done.stderr)[1:]:
            rule = re.match(r"(?:local)?rule (\w+):", job)[1]
            wildcards = dict(re.findall(r"(\w+)=([^,\s]+)", (re.search(r"wildcards: (.*)", job) or [0, ""])[1]))
            named = [wildcards[name] for name in ("model", "block", "corpus") if name in wildcards]
            jobs.add(" ".join([rule, *named]))
        return jobs - {"all", "tables"}
