"""What a cluster is like, said once: `profiles/slurm/site.yaml`. Jobs, placements and plans read it."""

import re
import shlex
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from induction.errors import InductionError, nearest
from induction.study.reading import read_yaml, validate
from induction.study.strict import IMAGE_PATTERN, WORD_PATTERN, Line, Strict

SITE_FILE = Path("profiles/slurm/site.yaml")

Word = Annotated[str, Field(pattern=WORD_PATTERN, max_length=255)]
Gigabytes = Annotated[float, Field(ge=1e-3, le=1e6)]
Teraflops = Annotated[float, Field(ge=1e-6, le=1e6)]
Cores = Annotated[int, Field(ge=1, le=100_000)]
Minutes = Annotated[int, Field(ge=1, le=5_256_000)]  # ten years


def _plain_options(text: str) -> str:
    """See that a shell makes nothing but words of some options."""
    try:
        words = list(shlex.shlex(text, posix=True, punctuation_chars=True))
    except ValueError:
        raise ValueError(f"{text!r}: a quote is not closed") from None
    found = [sign for sign in ("`", "$(", "${") if sign in text]
    found += [word for word in words if word and set(word) <= set("();<>|&")]
    if found or re.search(r"(^|\s)#", text):
        raise ValueError(
            f"{text!r}: a shell would take {found[0] if found else '#'} for something else than an option; permitted: "
            "options as on a command line, and names such as $TMPDIR"
        )
    return text


Options = Annotated[Line, AfterValidator(_plain_options)]
"""Options of a program, as on a command line: they reach a shell as they stand."""
Image = Annotated[str, Field(pattern=IMAGE_PATTERN, max_length=1000)]
"""Path or address of a container's image: Snakemake hands it to a shell without quotes."""


class Gpu(NamedTuple):
    """A GPU by its data sheet: memory in GB (10^9 bytes), dense bf16 products in 10^12 operations a second."""

    memory_gb: float
    peak_tflops: float


GPUS = {
    "A100-40GB": Gpu(40, 312),
    "A100-80GB": Gpu(80, 312),
    "L40S": Gpu(48, 362),
    "H100-PCIe": Gpu(80, 756),
    "H100": Gpu(80, 989),
    "H200": Gpu(141, 989),
    "B200": Gpu(180, 2250),
}
"""NVIDIA's data sheets (SXM boards where nothing else is said); figures given there “with sparsity” are halved."""


_GRES = r"^[A-Za-z_]\w*(:[0-9]*[A-Za-z_.-][A-Za-z0-9_.-]*)?$"
"""A name, and a type that is no count."""


class Slurm(Strict):
    """What SLURM is asked for with every job."""

    gpu_partition: Word = Field(description="Partition of jobs that train and measure.")
    cpu_partition: Word = Field(description="Partition of jobs that need no GPU: corpora, analysis, figures.")
    account: Word | None = Field(None, description="Account that is charged; default: the user's.")
    qos: Word | None = Field(None, description="Quality of service of all jobs; default: the partitions'.")
    constraint: Line | None = Field(None, description="Features that nodes of GPU jobs must have.")
    gres: Annotated[str, Field(max_length=255, json_schema_extra={"pattern": _GRES})] | None = Field(
        "gpu", description="Generic resource that stands for a GPU, without a count: gpu or gpu:TYPE; null: none."
    )
    extra: Options = Field("", description="Further options of sbatch for GPU jobs, as they stand.")

    @field_validator("gres")
    @classmethod
    def _uncounted(cls, gres: str | None) -> str | None:
        if gres is None or re.fullmatch(_GRES, gres):
            return gres
        # What sinfo prints ends with a count, and with the sockets that GPUs are at: gpu:h100:8(S:0-1).
        bare = re.sub(r"(:\d+)?(\(.*\))?$", "", gres)
        if bare != gres and re.fullmatch(_GRES, bare):
            raise ValueError(f"'{gres}': without the count, {bare}; how many are asked for is reckoned")
        raise ValueError(f"'{gres}': no generic resource is called so. Permitted: gpu, gpu:TYPE, or null for none")


class Node(Strict):
    """A node of the GPU partition. Training runs one rank (process) a GPU."""

    accelerator: Literal["gpu", "cpu"] = Field(
        "gpu", description="What training ranks compute on; cpu: they touch no GPU, whatever gres is asked for."
    )
    gpu: Word | None = Field(
        None, description=f"Name of the GPU; of these memory and peak are known: {', '.join(GPUS)}."
    )
    ranks: Annotated[int, Field(ge=1, le=4096)] = Field(
        description="GPUs of a node; where ranks compute on CPUs, ranks of a node."
    )
    cpus: Cores = Field(description="CPU cores of a node.")
    memory_gb: Gigabytes = Field(description="Memory of a node that jobs may have, GB (10^9 bytes).")
    gpu_memory_gb: Gigabytes | None = Field(
        None, description="Memory of a GPU, GB (10^9 bytes); default: its data sheet's."
    )
    peak_tflops: Teraflops | None = Field(
        None,
        description="Peak of a rank in dense bf16 products, 10^12 operations a second; default: the data sheet's.",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.accelerator == "cpu":
            if self.peak_tflops is None:
                raise ValueError("accelerator: cpu needs peak_tflops, a rank's peak (about 0.05 a core)")
        elif self.gpu not in GPUS and (self.gpu_memory_gb is None or self.peak_tflops is None):
            raise ValueError(
                f"gpu: {self.gpu or 'none is named'}: its memory and peak are not known here."
                f"{nearest(self.gpu or '', GPUS)} Permitted: {', '.join(GPUS)}, or any other name with gpu_memory_gb "
                "and peak_tflops"
            )
        if self.cpus < self.ranks:
            raise ValueError(f"cpus: {self.cpus} cores are fewer than ranks, {self.ranks}; each rank needs one")
        return self


class Jobs(Strict):
    """What a job may take, and what the training of a model should take."""

    nodes: Annotated[int, Field(ge=1, le=100_000)] = Field(1, description="Greatest number of nodes of a job.")
    minutes: Minutes = Field(1440, description="Greatest time limit of a job, minutes.")
    cpu_minutes: Minutes | None = Field(
        None, description="Greatest time limit of a job without a GPU, minutes; default: that of all jobs."
    )
    grace_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        300, description="Seconds before the time limit at which training saves its state and is put in line again."
    )
    state_minutes: Minutes = Field(
        60, description="Minutes from one saved state to the next while training; what a lost node costs at most."
    )
    training_days: Annotated[float, Field(ge=1e-9, le=10_000)] = Field(
        7.0, description="Days that training a model should take at most: decides how many GPUs it gets."
    )
    cpu_cores: Cores = Field(16, description="Cores of a job that builds a corpus.")
    cpu_memory_gb: Gigabytes = Field(
        64.0, description="Memory of a job that builds a corpus or analyses a model's losses, GB (10^9 bytes)."
    )
    least_zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="ZeRO stage to use at least, where the optimizer permits; default: the cheapest that fits."
    )

    @property
    def most_cpu_minutes(self) -> int:
        """Greatest time limit of a job without a GPU, minutes."""
        return self.cpu_minutes or self.minutes

    @model_validator(mode="after")
    def _grace_within(self) -> Self:
        # SLURM counts in minutes: the signal can come one earlier than asked.
        if self.grace_seconds + 120 > 60 * self.minutes:
            raise ValueError(
                f"grace_seconds: {self.grace_seconds} s before a limit of {self.minutes} minutes leave no time to "
                f"train; permitted: up to {max(0, 60 * self.minutes - 120)}"
            )
        return self


class Speed(Strict):
    """Rates that plans and placements reckon with; replace them by what `induction costs` says of your own jobs."""

    training_utilisation: Annotated[float, Field(ge=1e-12, le=1)] = Field(
        0.35, description="Share of the peak that training reaches in products that the model asks for."
    )
    measuring_utilisation: Annotated[float, Field(ge=1e-12, le=1)] = Field(
        0.03, description="The same of measuring, in float32, which tensor cores do not serve (H100: 67 of 989)."
    )
    disk_gb_per_second: Annotated[float, Field(ge=1e-6, le=1e6)] = Field(
        1.0, description="Rate at which a job writes to the shared file system, GB (10^9 bytes) a second."
    )


class Site(Strict):
    """A cluster."""

    name: Line = Field("this cluster", description="What plans and messages call it.")
    container: Image | None = Field(
        None, description="Apptainer image that jobs run in; default: the environment that Snakemake runs in."
    )
    container_options: Options = Field("", description="Further options of apptainer exec, as they stand.")
    slurm: Slurm
    node: Node
    jobs: Jobs = Jobs()
    speed: Speed = Speed()

    @property
    def rank_memory_gb(self) -> float:
        """Memory of a rank, GB: its GPU's, or its share of the node's."""
        node = self.node
        if node.accelerator == "cpu":
            return node.memory_gb / node.ranks
        return node.gpu_memory_gb or GPUS[node.gpu or ""].memory_gb

    @property
    def rank_peak_flops(self) -> float:
        """Peak of a rank, operations a second."""
        node = self.node
        return 1e12 * (node.peak_tflops or GPUS[node.gpu or ""].peak_tflops)

    @property
    def rank_name(self) -> str:
        """What a rank computes on, for people."""
        return "CPU" if self.node.accelerator == "cpu" else self.node.gpu or "GPU"

    def with_gpu(self, name: str) -> "Site":
        """Return this site with other GPUs, known by their data sheet.

        Raises:
            InductionError: no such GPU is known.
        """
        gpu = known_gpu(name)
        update = {"accelerator": "gpu", "gpu": name, "gpu_memory_gb": gpu.memory_gb, "peak_tflops": gpu.peak_tflops}
        return self.model_copy(update={"node": self.node.model_copy(update=update)})


def known_gpu(name: str) -> Gpu:
    """Return a GPU by name.

    Raises:
        InductionError: it is not in the table.
    """
    if name not in GPUS:
        raise InductionError(
            f"no GPU is known as {name}. Permitted: {', '.join(GPUS)}; any other is described in a site file "
            f"(node.gpu_memory_gb, node.peak_tflops).{nearest(name, GPUS)}"
        )
    return GPUS[name]


def single_gpu(name: str) -> Site:
    """Return a site of one node with one GPU, known by its data sheet.

    Raises:
        InductionError: no such GPU is known.
    """
    gpu = known_gpu(name)
    return Site(
        name=f"one {name}",
        slurm=Slurm(gpu_partition="none", cpu_partition="none"),
        node=Node(gpu=name, ranks=1, cpus=16, memory_gb=2 * gpu.memory_gb),
    )


def load_site(path: Path = SITE_FILE) -> Site:
    """Read a site file.

    Raises:
        InductionError: a mistake in the file, told by file, key, value and what is permitted.
    """
    if not path.is_file():
        raise InductionError(
            f"{path}: no such site file. Copy one of {SITE_FILE.parent}/site*.yaml and say in it what your cluster is "
            "like."
        )
    content = read_yaml(path)
    if content is None:
        raise InductionError(
            f"{path}: the file is empty. Copy one of {SITE_FILE.parent}/site*.yaml and say in it what your cluster is "
            "like."
        )
    return validate(content, Site, str(path))
