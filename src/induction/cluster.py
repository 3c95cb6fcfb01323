"""What jobs take of a cluster: the resources of each rule, as functions of a job's wildcards.

All of it comes from the site file and from the plan of the study, so that what is asked of SLURM is what
`induction plan` tells. Without a site (a machine of one's own) nothing is asked, and rules run as they stand. These are
resources of jobs, never parameters: another cluster makes nothing again.
"""

import math
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from induction.errors import InductionError
from induction.plan import plan
from induction.study.placement import Placement
from induction.study.site import Site, load_site
from induction.study.study import Study

Resources = dict[str, Any]
"""Names that Snakemake's SLURM executor knows, and what it is told: values, or functions of wildcards."""

_PATIENCE = 2.0
_LEAST_MINUTES = 10
"""A job's time limit is so many times what it is planned to take, and so many minutes."""
_LIGHT_GB = 8.0
_LIGHT_MINUTES = 30
_THREADS = 2


_RUN_NO_JOB = frozenset(
    """
    -n --dry-run --dryrun -t --touch --unlock --lint -l --list --list-rules --summary -S --detailed-summary -D --dag
    --rulegraph --filegraph --d3dag --report --archive --cleanup-metadata --list-input-changes --list-params-changes
    --delete-all-output
    """.split()  # noqa: SIM905 (options as on a command line)
)
"""Options with which Snakemake submits nothing."""


def require_slurm(arguments: Sequence[str]) -> None:
    """See that jobs can be submitted from here.

    Args:
        arguments: Snakemake's.

    Raises:
        InductionError: there is no SLURM on this machine.
    """
    missing = [command for command in ("sbatch", "squeue") if shutil.which(command) is None]
    if missing and not _RUN_NO_JOB.intersection(arguments):
        raise InductionError(
            f"no SLURM on this machine: {' and '.join(missing)} not found. Run `snakemake --profile slurm` on "
            "a login node of the cluster; on this machine alone, run `snakemake` without the profile; to see only what "
            "would be submitted, add -n."
        )


class Cluster:
    """A study on a site.

    Args:
        study: the study.
        site: path of a site file; None: no cluster.
        checkout: folder of the Snakefile, where a relative path is looked up that does not exist in the working
            directory (`snakemake --directory`).

    Raises:
        InductionError: a mistake in the site file, or models that do not fit on the site, all of which are told.
    """

    def __init__(self, study: Study, site: str | None, checkout: Path = Path()) -> None:
        self._checkout = checkout
        self._site: Site | None = load_site(self._found(site)) if site else None
        self._models = {model.name: model for model in plan(study, self._site).models} if self._site else {}
        self._placements = {name: model.placement for name, model in self._models.items() if model.placement}
        if problems := [model.problem for model in self._models.values() if model.problem]:
            raise InductionError(
                f"{site}: models of the study {study.name} cannot be trained there. Make the site larger, or leave "
                "them out of the study.\n" + "\n".join(problems)
            )

    @property
    def training(self) -> Resources:
        """Of a block of training: ranks on a share of a node or on whole nodes, started by `srun`, one a GPU.

        Before its time limit a block is sent SIGUSR1, saves its state and is queued again; the limit leaves room for
        that beyond what training is planned to take.
        """
        if not self._site:
            return {"launch": "", "training_options": ""}
        slurm = self._site.slurm
        return {
            # Its presence alone lets the executor start the shell as it is; the ranks are the launch command's.
            "mpi": "",
            "launch": self._launch,
            "training_options": self._training_options,
            "nodes": lambda wildcards: self._placement(wildcards).n_nodes,
            # One task of the allocation a node, which the launch command divides among the ranks.
            "tasks": lambda wildcards: self._placement(wildcards).n_nodes,
            "tasks_per_gpu": 0,
            "gres": lambda wildcards: self._gres(self._placement(wildcards).ranks_per_node),
            "cpus_per_task": lambda wildcards: self._placement(wildcards).ranks_per_node * self._cores_a_rank,
            "mem_mb": lambda wildcards: self._memory(self._placement(wildcards).ranks_per_node),
            "runtime": lambda wildcards, attempt: self._minutes(
                self._models[wildcards.model].block_hours[int(wildcards.block)], attempt, signalled=True
            ),
            "slurm_extra": f"--signal=USR1@{self._site.jobs.grace_seconds} {slurm.extra}".strip(),
            **self._gpu_partition,
        }

    def measuring(self, stage: str) -> Resources:
        """Return those of a measuring job: one GPU, and for all jobs of a model's stage the same time.

        Args:
            stage: of the plan; see `induction.plan.STAGES`.
        """
        if not self._site:
            return {}
        return {
            "nodes": 1,
            "tasks": 1,
            "tasks_per_gpu": 0,
            "gres": self._gres(1),
            "cpus_per_task": self._cores_a_rank,
            "mem_mb": self._memory(1),
            "runtime": lambda wildcards, attempt: self._minutes(self._models[wildcards.model].longest[stage], attempt),
            "slurm_extra": self._site.slurm.extra,
            **self._gpu_partition,
        }

    @property
    def building(self) -> Resources:
        """Of a job that builds a corpus: many cores besides, of which Snakemake's own threads know nothing.

        Those of a rule cannot be more than the machine has that Snakemake runs on, be it a login node.
        """
        if not self._site:
            return {"corpus_threads": _THREADS}
        cores = self._site.jobs.cpu_cores
        return {**self.reading, "cpus_per_task": cores, "corpus_threads": cores}

    @property
    def reading(self) -> Resources:
        """Of a job that reads all losses of a model: no GPU, much memory."""
        if not self._site:
            return {}
        return {**self._without_gpu(self._site.jobs.cpu_memory_gb), "runtime": self._site.jobs.most_cpu_minutes}

    @property
    def light(self) -> Resources:
        """Of a job that reads small tables."""
        if not self._site:
            return {}
        most = self._site.jobs.most_cpu_minutes
        return {
            **self._without_gpu(min(_LIGHT_GB, self._site.jobs.cpu_memory_gb)),
            "runtime": lambda wildcards, attempt: min(most, _LIGHT_MINUTES * 2 ** (attempt - 1)),
        }

    @property
    def environment(self) -> str:
        """Which of the pinned environments jobs that train and measure run in: cpu or gpu."""
        return self._site.node.accelerator if self._site else "cpu"

    @property
    def container(self) -> str | None:
        """The image that jobs run in, where the site has one."""
        if not self._site or not self._site.container or "://" in self._site.container:
            return self._site.container if self._site else None
        return str(self._found(self._site.container))

    # ----------------------------------------------------------------------------------------------------------------

    def _found(self, path: str) -> Path:
        """Return a path in the working directory, or else in the checkout."""
        beside = self._checkout / path
        return beside if beside.exists() and not Path(path).exists() else Path(path)

    def _launch(self, wildcards: Any) -> str:
        place = self._placement(wildcards)
        # Else ranks would take the GPUs that a node has besides.
        chosen = "DS_ACCELERATOR=cpu " if self.environment == "cpu" else ""
        return (
            f"{chosen}srun --nodes={place.n_nodes} --ntasks={place.n_ranks} --ntasks-per-node={place.ranks_per_node} "
            f"--cpus-per-task={self._cores_a_rank} --kill-on-bad-exit=1{self._inside}"
        )

    @property
    def _inside(self) -> str:
        """The container's part of the launch command: srun is outside of it, each rank inside."""
        if not self.container:
            return ""
        options = ("--nv" if self.environment == "gpu" else "", self._known_site.container_options)
        return " ".join((" apptainer exec", *filter(None, options), shlex.quote(self.container)))

    def _training_options(self, wildcards: Any) -> str:
        place = self._placement(wildcards)
        options = f"--engine deepspeed --zero-stage {place.zero_stage} --micro-batch {place.micro_batch}"
        options += f" --state-minutes {self._known_site.jobs.state_minutes}"
        return options + (" --checkpoint-activations" if place.checkpoint_activations else "")

    def _placement(self, wildcards: Any) -> Placement:
        return self._placements[wildcards.model]

    @property
    def _gpu_partition(self) -> Resources:
        slurm = self._known_site.slurm
        return self._in_partition(slurm.gpu_partition) | _given({"constraint": slurm.constraint})

    def _without_gpu(self, memory_gb: float) -> Resources:
        return {"mem_mb": _mebibytes(memory_gb), **self._in_partition(self._known_site.slurm.cpu_partition)}

    def _in_partition(self, partition: str) -> Resources:
        slurm = self._known_site.slurm
        return _given({"slurm_partition": partition, "slurm_account": slurm.account, "qos": slurm.qos})

    @property
    def _known_site(self) -> Site:
        if self._site is None:
            raise ValueError("there is no site")
        return self._site

    @property
    def _cores_a_rank(self) -> int:
        return self._known_site.node.cpus // self._known_site.node.ranks

    def _gres(self, n_ranks: int) -> str:
        gres = self._known_site.slurm.gres
        return f"{gres}:{n_ranks}" if gres else ""

    def _memory(self, n_ranks: int) -> int:
        node = self._known_site.node
        return _mebibytes(node.memory_gb * n_ranks / node.ranks)

    def _minutes(self, hours: float, attempt: int, *, signalled: bool = False) -> int:
        """Return a time limit; where a job was stopped by the one before, the next is twice as long."""
        jobs = self._known_site.jobs
        minutes = (math.ceil(60 * hours * _PATIENCE) + _LEAST_MINUTES) * 2 ** (attempt - 1)
        if signalled:
            # The signal comes so long before the limit, and up to a minute more: SLURM counts in minutes.
            minutes += math.ceil(jobs.grace_seconds / 60) + 1
        return min(jobs.minutes, minutes)


def _given(resources: dict[str, str | None]) -> Resources:
    return {name: value for name, value in resources.items() if value is not None}


def _mebibytes(gigabytes: float) -> int:
    """Return MiB, as SLURM counts, of GB (10^9 bytes)."""
    return int(gigabytes * 1e9 / 2**20)
