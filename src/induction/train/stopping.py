"""How training is stopped: signals, the limit of a SLURM job, and another job that trains the same model.

No torch here: the signals are listened to before it is imported, which takes seconds.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from induction.files import FolderLock

if TYPE_CHECKING:
    from induction.train.ranks import Ranks

LIMIT = signal.SIGUSR1
"""Sent by SLURM (`--signal=USR1@SECONDS`) when a job's time is nearly up: its state is saved and it is queued again.

Not SIGTERM, which a job that somebody cancels gets too: that one saves its state and must stay away.
"""

_LOOK_SECONDS = 1.0


class Stop:
    """Which signal has asked this process to stop after the step at hand, 0 for none."""

    asked = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal."""
        self.asked = number


@contextmanager
def stop_asked() -> Iterator[Stop]:
    """While inside, SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 ask to stop after the step at hand."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, LIMIT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def queue_again(ranks: "Ranks") -> None:
    """Ask SLURM to queue this job again under its number; whoever started the job waits on, and tries nothing again."""
    job = os.environ.get("SLURM_JOB_ID")
    if job and ranks.first:
        try:
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
            failed = done.stderr.strip() if done.returncode else ""
        except OSError as error:  # as in a container that SLURM is not bound into
            failed = f"scontrol: {error.strerror}"
        if failed:
            print(f"job {job} could not be queued again ({failed}): whoever started it must", file=sys.stderr)
    ranks.wait()  # the others must not end first: srun would end this one


@contextmanager
def alone(folder: Path, ranks: "Ranks", stop: Stop) -> Iterator[None]:
    """Be the only job that trains a model: wait for another to end, as one may that outlived the Snakemake before.

    Args:
        folder: the model's folder, on a file system with locks; where it has none, a warning is printed.
        ranks: the first one holds the lock; all come here again and again, so that none waits for another too long.
        stop: ends the wait.

    Raises:
        SystemExit: a signal came while another job was waited for.
    """
    lock = FolderLock(folder)
    told = False
    try:
        while not ranks.greatest(int(ranks.first and lock.taken())):
            if ranks.first and not told:
                print(f"{folder.name}: waiting for the job that trains it: {lock.owner()}", file=sys.stderr, flush=True)
                told = True
            if asked := ranks.greatest(stop.asked):
                if asked == LIMIT:
                    queue_again(ranks)
                raise SystemExit(128 + asked)
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        lock.release()
