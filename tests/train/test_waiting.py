"""A second job of a model waits for the first, on all of its ranks, and can be told to go while it waits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from induction.files import FolderLock
from induction.train import stopping
from induction.train.ranks import Ranks

SCRIPT = Path(__file__).with_name("waiting_ranks.py")


def start(folder, port):
    """Start two ranks as srun starts them."""
    return [
        subprocess.Popen(
            [sys.executable, SCRIPT, folder],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
                "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "DS_ACCELERATOR": "cpu",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip


@pytest.fixture
def held(tmp_path):
    lock = FolderLock(tmp_path)
    assert lock.taken()
    yield lock
    lock.release()


def await_line(process, words):
    """Read what a process says up to a line with some words; torch may warn of something before."""
    said = []
    for line in process.stderr:
        if words in line:
            return
        said.append(line)
    raise AssertionError("".join(said))


def test_both_ranks_go_in_when_the_lock_is_free(held, tmp_path):
    ranks = start(tmp_path, 29_531)
    await_line(ranks[0], "waiting for the job that trains it")
    time.sleep(2.5)  # they have looked more than once
    assert [rank.poll() for rank in ranks] == [None, None]
    held.release()
    said = [rank.communicate(timeout=60)[0] for rank in ranks]
    assert said == ["rank 0 is in\n", "rank 1 is in\n"]


@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_either_rank_ends_the_wait_of_both(told, held, tmp_path):
    ranks = start(tmp_path, 29_532 + told)
    await_line(ranks[0], "waiting")
    ranks[told].send_signal(signal.SIGTERM)
    said = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [128 + signal.SIGTERM] * 2, said
    assert not any(out for out, _ in said), "neither went in"


def test_where_scontrol_is_missing_that_is_told_and_the_job_ends(monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", "")
    stopping.queue_again(Ranks(device="cpu"))
    assert "job 7 could not be queued again (scontrol: No such file or directory)" in capsys.readouterr().err
