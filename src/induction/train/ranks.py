"""The processes that train one model together: a rank each, started by `srun` or `torchrun`, or one alone."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from induction.errors import InductionError

_PORTS = range(20_000, 32_768)  # below those that Linux gives to clients
_PATIENCE = timedelta(minutes=30)  # rank 0 hashes a snapshot of 50 GB while the others wait


class Ranks:
    """Where this process stands among those that train one model; alone unless `join` is called."""

    def __init__(self, rank: int = 0, n_ranks: int = 1, device: str | None = None) -> None:
        self.rank = rank
        self.n_ranks = n_ranks
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes what there is only one of."""
        return self.rank == 0

    def greatest(self, number: int) -> int:
        """Return the greatest of a number of each rank; all ranks must ask."""
        if not dist.is_initialized():
            return number
        numbers = torch.tensor([number], device=self.device)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return int(numbers.item())

    def mean(self, number: float) -> float:
        """Return the mean of a number of each rank; all ranks must ask."""
        if not dist.is_initialized():
            return number
        numbers = torch.tensor([number], dtype=torch.float64, device=self.device)
        dist.all_reduce(numbers)
        return float(numbers.item()) / self.n_ranks

    def wait(self) -> None:
        """Wait until every rank has come here."""
        if dist.is_initialized():
            dist.barrier()

    def leave(self) -> None:
        """End the group: processes that go one by one without it can die at their exit."""
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()


def join() -> Ranks:
    """Join the other ranks of this job, as `srun` (one task a rank) or `torchrun` tells of them; alone if neither does.

    Raises:
        InductionError: the environment tells of ranks, but not where the first one is.
    """
    given = _from_environment()
    n_ranks, rank, local_rank = (int(given.get(name, default)) for name, default in _DEFAULTS.items())
    if os.environ.get("DS_ACCELERATOR") == "cpu" or not torch.cuda.is_available():
        device, backend = "cpu", "gloo"
    else:
        # Where a site binds each task to its own GPU, that is the only one it sees.
        local_rank %= torch.cuda.device_count()
        torch.cuda.set_device(local_rank)
        device, backend = f"cuda:{local_rank}", "nccl"
    if n_ranks > 1 and "MASTER_ADDR" not in given:
        raise InductionError(
            f"rank {rank} of {n_ranks}: MASTER_ADDR is not set. Start the ranks with srun inside a SLURM job, or with "
            "torchrun."
        )
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_PORTS[os.getpid() % len(_PORTS)]), **given})
    os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(n_ranks), "LOCAL_RANK": str(local_rank)})
    dist.init_process_group(backend, timeout=_PATIENCE, device_id=torch.device(device) if backend == "nccl" else None)
    return Ranks(rank, n_ranks, device)


_DEFAULTS = {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0}


def _from_environment() -> dict[str, str]:
    """Return what torch.distributed reads, from torchrun's variables or from those of a task that srun started."""
    names = (*_DEFAULTS, "MASTER_ADDR", "MASTER_PORT")
    if "WORLD_SIZE" in os.environ:
        return {name: os.environ[name] for name in names if name in os.environ}
    if "SLURM_PROCID" not in os.environ or "SLURM_STEP_ID" not in os.environ:
        return {}
    job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_STEP_ID"])
    return {
        "WORLD_SIZE": os.environ["SLURM_NTASKS"],
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        # srun runs on the job's first node, and so does task 0.
        "MASTER_ADDR": os.environ["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(_PORTS[(97 * job + step) % len(_PORTS)]),
    }
