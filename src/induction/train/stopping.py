"""How training is stopped: signals, the limit of a SLURM job, and another job that trains the same model.

No torch here: the signals are listened to before it is imported, which takes seconds.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

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
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"job {job} could not be queued again: {done.stderr.strip()}", file=sys.stderr)
    ranks.wait()  # the others must not end first: srun would end this one


@contextmanager
def alone(folder: Path, ranks: "Ranks", stop: Stop) -> Iterator[None]:
    """Be the only job that trains a model: wait for another to end, as one may that outlived the Snakemake before.

    Args:
        folder: the model's folder, on a file system with locks; where it has none, a warning is printed.
        ranks: the first one holds the lock.
        stop: ends the wait.

    Raises:
        SystemExit: a signal came while another job was waited for.
    """
    if not ranks.first:
        ranks.wait()
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        waited = False
        while not _locked(lock, folder):
            if not waited:
                lock.seek(0)
                owner = lock.read().strip()
                print(f"{folder.name}: waiting for the job that trains it: {owner}", file=sys.stderr, flush=True)
            waited = True
            if stop.asked:
                raise SystemExit(128 + stop.asked)
            time.sleep(_LOOK_SECONDS)
        lock.truncate(0)
        who = {"host": socket.gethostname(), "pid": os.getpid(), "slurm_job": os.environ.get("SLURM_JOB_ID")}
        lock.write(json.dumps(who))
        lock.flush()
        ranks.wait()
        yield


def _locked(lock: TextIO, folder: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        print(f"{folder}: no locks on this file system ({error}); train a model in one job only", file=sys.stderr)
    return True
