"""Ranks share every batch out wholly; what they cannot train they refuse, each in one line, and none waits for ever."""

import numpy as np
import pytest
from engine_runs import Case, command, make_corpus, run, started
from hypothesis import given
from hypothesis import strategies as st

from induction.errors import InductionError
from induction.study.architecture import Architecture
from induction.train.ranks import Ranks
from induction.train.zero import ZeroEngine, shared_out

counts = st.integers(1, 9)


@given(n_rounds=counts, n_ranks=counts, micro_batch=counts)
def test_all_ranks_together_read_each_sequence_of_a_batch_once(n_rounds, n_ranks, micro_batch):
    shares = shared_out(n_rounds * n_ranks * micro_batch, n_ranks, micro_batch)
    assert shares.shape == (n_rounds, n_ranks, micro_batch)
    assert sorted(shares.flatten()) == list(range(n_rounds * n_ranks * micro_batch))


@given(batch_size=st.integers(1, 200), n_ranks=counts, micro_batch=counts)
def test_a_batch_is_shared_out_evenly_or_not_at_all(batch_size, n_ranks, micro_batch):
    if batch_size % (n_ranks * micro_batch):
        with pytest.raises(InductionError, match=rf"{batch_size} sequences .* multiple of {n_ranks * micro_batch} can"):
            shared_out(batch_size, n_ranks, micro_batch)
    else:
        # The last of a round is the last before the next round: rounds go through the batch in its order.
        assert (np.diff(shared_out(batch_size, n_ranks, micro_batch).flatten()) == 1).all()


def engine(fields, n_ranks, stage, micro_batch=None):
    recipe = Case("", fields).recipe
    ranks = Ranks(0, n_ranks, "cpu")
    return ZeroEngine(Architecture(**recipe["architecture"]), recipe["settings"], ranks, stage, micro_batch)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_muon_is_refused_above_stage_0_with_the_reason(stage):
    with pytest.raises(InductionError, match=rf"muon trains at ZeRO stage 0 alone, not at stage {stage}: .*adamw"):
        engine({"optimizer": "muon"}, 2, stage)


@pytest.mark.parametrize(
    ("fields", "n_ranks", "micro_batch", "multiple"),
    [
        ({}, 3, None, 3),
        ({}, 16, None, 16),
        ({}, 2, 4, 8),
        ({"batch_growth": [{"step": 3, "batch_size": 7}]}, 2, 1, 2),
    ],
    ids=["uneven", "more ranks than sequences", "micro-batch too large", "after growing"],
)
def test_a_batch_that_ranks_cannot_share_is_told_before_training(fields, n_ranks, micro_batch, multiple):
    with pytest.raises(InductionError, match=rf"^batch_size: .* a multiple of {multiple} can$"):
        engine(fields, n_ranks, 1, micro_batch)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def test_the_plain_engine_refuses_several_ranks(corpus, tmp_path):
    with pytest.raises(InductionError, match=r"plain engine trains in one process, not on 2 ranks; deepspeed does"):
        run(Case(str(tmp_path)), corpus, Ranks(0, 2, "cpu"))


@pytest.mark.parametrize(
    ("fields", "tokens_needed", "reason"),
    [
        ({"optimizer": "muon"}, 0, "optimizer: muon trains at ZeRO stage 0 alone, not at stage 2"),
        ({}, 10**9, "training tokens; training would read 1,000,000,000 and repeat some"),
    ],
    ids=["muon", "a corpus too short"],
)
def test_each_rank_tells_a_mistake_in_one_line_and_ends_with_2(fields, tokens_needed, reason, corpus, tmp_path):
    case = Case(str(tmp_path / "model"), fields)
    arguments = command(case, corpus, "--engine", "deepspeed", "--zero-stage", "2", tokens_needed=tokens_needed)
    with started(2, arguments, tmp_path / "log") as processes:
        assert [process.wait(timeout=120) for process in processes] == [2, 2]
    for rank in range(2):
        (line,) = (tmp_path / f"log.{rank}").read_text(encoding="utf-8").splitlines()
        assert line.startswith("induction: ")
        assert reason in line
    assert not case.manifest.exists()
