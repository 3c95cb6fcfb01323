"""The evaluation set and the probes."""

import numpy as np
import pytest

from corpus.small_corpora import stored_tokens
from induction.corpus.evaluation import evaluation, read_evaluation
from induction.corpus.probes import probes, read_probes, repeated_at
from induction.errors import InductionError
from induction.study.evaluation import Evaluation, Probes

N = 20


def pieces_of(folder):
    """All pieces of N tokens, cut document by document in plain Python."""
    _, tokens = stored_tokens(folder)
    documents = [part[1:].tolist() for part in np.split(tokens, np.flatnonzero(tokens == 0)[1:])]
    return documents, [
        tuple(document[start : start + N]) for document in documents for start in range(0, len(document) - N + 1, N)
    ]


def draw(folder, out, **fields):
    evaluation(folder, Evaluation(n_tokens=N, **fields), out)
    return read_evaluation(out)


def test_examples_are_distinct_pieces_of_held_out_documents(small, tmp_path):
    _, pieces = pieces_of(small)
    drawn = draw(small, tmp_path / "all", n_examples=len(pieces))
    assert drawn.tokens.dtype == np.int32
    assert (drawn.tokens[:, 0] == 0).all()
    rows = [tuple(row) for row in drawn.tokens[:, 1:].tolist()]
    assert sorted(rows) == sorted(pieces)
    assert rows != pieces


def test_random_indices_are_one_based_and_reach_both_ends(small, tmp_path):
    evaluation(small, Evaluation(n_examples=100, n_tokens=12), tmp_path / "short")
    index = read_evaluation(tmp_path / "short").random_index
    assert index.dtype == np.int64
    assert set(index.tolist()) == set(range(1, 13))


def test_fewer_examples_are_the_first_of_more(small, tmp_path):
    few, many = (draw(small, tmp_path / f"{n}", n_examples=n) for n in (10, 40))
    assert (few.tokens == many.tokens[:10]).all()
    assert (few.random_index == many.random_index[:10]).all()
    assert few.fingerprint != many.fingerprint


def test_same_settings_same_bytes_other_seed_other_examples(small, tmp_path):
    one, same, other = (
        draw(small, tmp_path / name, n_examples=30, seed=s) for name, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert (one.tokens != other.tokens).any()


def test_too_few_pieces(small, tmp_path):
    documents, pieces = pieces_of(small)
    longest = max(map(len, documents))
    message = (
        f"n_examples asks for {len(pieces) + 1} examples of {N} tokens; the {len(documents)} held-out documents hold "
        rf"{len(pieces)} such pieces \(longest document: {longest} tokens\)\. Lower .* corpora\.small\.held_out"
    )
    with pytest.raises(InductionError, match=message):
        draw(small, tmp_path / "out", n_examples=len(pieces) + 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("make", "read"), [(draw, read_evaluation), (None, read_probes)])
def test_a_file_that_is_missing_or_not_whole(small, tmp_path, make, read):
    path = tmp_path / "made.safetensors"
    with pytest.raises(InductionError, match=r"made\.safetensors: this .* does not exist"):
        read(path)
    if make:
        make(small, path, n_examples=10)
    else:
        probes(small, Probes(), path)
    content = path.read_bytes()
    for kept in (content[:-5], content[:20], b""):
        path.write_bytes(kept)
        with pytest.raises(InductionError, match=r"not a whole .* \(truncated\?\).* snakemake --force .*made"):
            read(path)


def test_one_kind_is_not_read_as_the_other(small, tmp_path):
    draw(small, tmp_path / "evaluation", n_examples=10)
    with pytest.raises(InductionError, match="not a whole set of probes"):
        read_probes(tmp_path / "evaluation")


# --- probes -----------------------------------------------------------------------------------------------------


def test_probes_have_the_shape_that_scores_rely_on(small, tmp_path):
    probes(small, Probes(n_sequences=6, period=10, n_repeats=3), tmp_path / "probes")
    drawn = read_probes(tmp_path / "probes")
    assert drawn.repeated.shape == (6, 31)
    assert drawn.distinct.shape == (6, 10)
    assert drawn.repeated.dtype == drawn.distinct.dtype == np.int32
    assert drawn.period == 10
    assert (drawn.repeated[:, 0] == 0).all()
    blocks = drawn.repeated[:, 1:].reshape(6, 3, 10)
    assert (blocks == blocks[:, :1]).all()
    rows = [*blocks[:, 0].tolist(), *drawn.distinct.tolist()]
    assert all(len(set(row)) == 10 for row in rows)
    assert len(set(map(tuple, rows))) == 12


def test_tokens_are_drawn_evenly_from_between_the_rarest_and_the_commonest(small, tmp_path):
    probes(small, Probes(n_sequences=1000, commonest_excluded=0.1, rarest_excluded=0.3), tmp_path / "probes")
    drawn = read_probes(tmp_path / "probes")
    training, _ = stored_tokens(small)
    occurrences = np.bincount(training, minlength=400)
    ranked = sorted(np.flatnonzero(occurrences)[1:], key=lambda token: (occurrences[token], token))
    assert len(ranked) < 399, "some bytes never occur, and are never drawn"
    expected = ranked[int(0.3 * len(ranked)) : len(ranked) - int(0.1 * len(ranked))]
    times = np.bincount(np.concatenate([drawn.repeated[:, 1:26].ravel(), drawn.distinct.ravel()]), minlength=400)
    assert np.flatnonzero(times).tolist() == sorted(expected)
    mean = 2 * 1000 * 25 / len(expected)
    assert (abs(times[expected] - mean) < 6 * np.sqrt(mean)).all()


def test_probes_depend_on_their_seed_alone(small, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        probes(small, Probes(seed=seed), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (read_probes(tmp_path / "a").distinct != read_probes(tmp_path / "c").distinct).any()


def test_too_few_tokens_to_draw_from(small, tmp_path):
    settings = Probes(period=25, commonest_excluded=0.5, rarest_excluded=0.45)
    with pytest.raises(
        InductionError, match=r"asks for 25 distinct tokens, and \d+ of the vocabulary's 400 .* \(now 0.45\)"
    ):
        probes(small, settings, tmp_path / "probes")
    with pytest.raises(InductionError, match="and 0 of the vocabulary's 400 are left"):
        probes(small, Probes().model_copy(update={"commonest_excluded": 1.0}), tmp_path / "probes")


def test_other_periods_have_tokens_of_their_own_and_leave_the_probes_as_they_are(small, tmp_path):
    usual, others = Probes(n_sequences=5, period=10), Probes(n_sequences=5, period=10, other_periods=(8, 40, 60))
    drawn = repeated_at(small, others, n_tokens=150)
    assert {period: tokens.shape for period, tokens in drawn.items()} == {8: (5, 33), 40: (5, 121), 60: (5, 121)}
    for period, tokens in drawn.items():
        assert tokens.dtype == np.int32
        assert (tokens[:, 0] == 0).all()
        blocks = tokens[:, 1:].reshape(5, -1, period)
        assert (blocks == blocks[:, :1]).all()
        assert all(len(set(row)) == period for row in blocks[:, 0].tolist())
    again = repeated_at(small, Probes(n_sequences=5, period=10, other_periods=(40,)), n_tokens=150)
    assert (again[40] == drawn[40]).all(), "whatever the other periods are"
    probes(small, usual, tmp_path / "probes")
    assert read_probes(tmp_path / "probes").repeated.shape == (5, 41)
    assert repeated_at(small, usual, n_tokens=150) == {}
    with pytest.raises(
        InductionError, match=r"other_periods: 60 random tokens .* n_tokens is 120. Permitted: at most 59"
    ):
        repeated_at(small, others, n_tokens=120)
    with pytest.raises(InductionError, match=r"probes.other_periods asks for 400 distinct tokens, and \d+ of"):
        repeated_at(small, Probes(other_periods=(400,)), n_tokens=900)


def test_what_is_not_set_is_not_in_the_json():
    assert "other_periods" not in Probes().model_dump(mode="json")
    assert Probes(other_periods=(100,)).model_dump(mode="json")["other_periods"] == [100]
    with pytest.raises(ValueError, match="one is there twice"):
        Probes(other_periods=(25, 100))
