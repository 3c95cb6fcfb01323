"""Ideal heads: patterns against loops over tokens, losses against a slow pass, shares against algebra and a circuit."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from induction.errors import InductionError
from induction.measure.heads import HeadProbes, score_heads
from induction.measure.idealised import forced_losses, ideal_pattern, idealise, idealised, recovery
from induction.measure.losses import example_losses
from induction.models.transformer import LAYER_NORM_EPS, Transformer
from induction.resampling import resample_weights
from induction.study.analysis import Bootstrap, Heads
from induction.tables.heads import HEADS
from induction.tables.idealised import AFTER_ONE, AFTER_TWO, IDEALISED, PREVIOUS_TOKEN
from measure.blocks import write_block
from measure.circuit import N_TOKENS, induction_circuit
from measure.drawn_models import architectures, drawn_model

PATTERNS = (PREVIOUS_TOKEN, AFTER_ONE, AFTER_TWO)
V, T = 11, 18
BOOTSTRAP = Bootstrap(n_resamples=200)


# --- patterns -----------------------------------------------------------------------------------------------------


def slow_pattern(name, tokens, window):
    """One text, one head that sees `window` tokens, the current one included; token after token."""
    n = len(tokens)
    pattern = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        seen = [j for j in range(i + 1) if i - j < window]
        after_one = [j for j in seen if j >= 1 and tokens[j - 1] == tokens[i] and j - 1 < i]
        after_two = [j for j in after_one if j >= 2 and i >= 1 and tokens[j - 2] == tokens[i - 1]]
        before = [j for j in seen if j == i - 1]
        wanted = {PREVIOUS_TOKEN: before, AFTER_ONE: after_one, AFTER_TWO: after_two or after_one}[name] or seen
        for j in wanted:
            pattern[i, j] = 1 / len(wanted)
    return pattern


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(PATTERNS),
    texts=st.integers(1, 14).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=1, max_size=3)
    ),
    windows=st.lists(st.integers(1, 15), min_size=1, max_size=3),
)
def test_patterns_equal_a_loop_over_tokens(name, texts, windows):
    n = len(texts[0])
    distance_QK = torch.arange(n)[:, None] - torch.arange(n)
    visible_HQK = torch.stack([(distance_QK >= 0) & (distance_QK < window) for window in windows])
    pattern = ideal_pattern(name, torch.tensor(texts), visible_HQK).expand(len(texts), -1, -1, -1)
    expected = torch.stack([torch.stack([slow_pattern(name, text, window) for window in windows]) for text in texts])
    torch.testing.assert_close(pattern.double(), expected, atol=1e-6, rtol=0)


def test_a_text_read_by_hand():
    """Start, a b c a b: the second b follows `a b`, which c followed; the second a follows c, and no `c a` came."""
    tokens_BT = torch.tensor([[0, 1, 2, 3, 1, 2]])
    causal_HQK = torch.ones(1, 6, 6, dtype=torch.bool).tril()
    for name in (AFTER_ONE, AFTER_TWO):
        pattern_QK = ideal_pattern(name, tokens_BT, causal_HQK)[0, 0]
        assert pattern_QK[4].tolist() == [0, 0, 1, 0, 0, 0]
        assert pattern_QK[5].tolist() == [0, 0, 0, 1, 0, 0]
        assert pattern_QK[3].tolist() == [0.25, 0.25, 0.25, 0.25, 0, 0], "c never came before: even over what is seen"
    # b d, then a b c, then a b: after one token d and c, after two c alone
    tokens_BT = torch.tensor([[0, 2, 4, 1, 2, 3, 1, 2]])
    causal_HQK = torch.ones(1, 8, 8, dtype=torch.bool).tril()
    assert ideal_pattern(AFTER_ONE, tokens_BT, causal_HQK)[0, 0, 7].tolist() == [0, 0, 0.5, 0, 0, 0.5, 0, 0]
    assert ideal_pattern(AFTER_TWO, tokens_BT, causal_HQK)[0, 0, 7].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


def test_patterns_are_limits_of_a_softmax_that_counts_matching_tokens():
    """What a query without a match does is no convention of its own: equal scores, even attention."""
    tokens_T = torch.randint(0, 4, (30,), generator=torch.Generator().manual_seed(0))
    causal_HQK = torch.ones(1, 30, 30, dtype=torch.bool).tril()
    score_QK = torch.zeros(30, 30, dtype=torch.float64)
    for i in range(30):
        for j in range(1, i + 1):
            one = tokens_T[j - 1] == tokens_T[i]
            two = j >= 2 and tokens_T[j - 2] == tokens_T[i - 1]
            score_QK[i, j] = float(one) + float(one and two)
    for name, counted_QK in ((AFTER_ONE, score_QK.clamp_max(1)), (AFTER_TWO, score_QK)):
        softmax_QK = (1e3 * counted_QK).masked_fill(~causal_HQK[0], -torch.inf).softmax(-1)
        torch.testing.assert_close(ideal_pattern(name, tokens_T[None], causal_HQK)[0, 0].double(), softmax_QK)


# --- losses -------------------------------------------------------------------------------------------------------


def random_model(seed, **fields):
    shape = {"n_layers": 2, "d_model": 24, "n_heads": 3, "d_head": 8, "n_ctx": T, "vocab_size": V}
    return drawn_model(seed, **{**shape, **fields})


def slow_losses(model, tokens, forced):
    """One example in float64, each head's pattern an explicit matrix."""
    a = model.architecture
    double = Transformer(a).double()
    double.load_state_dict(model.state_dict())
    double.requires_grad_(False)
    read, n = tokens[:-1], len(tokens) - 1

    def norm(layer_norm, residual):
        centred = residual - residual.mean(-1, keepdim=True)
        return (
            centred * (centred.square().mean(-1, keepdim=True) + LAYER_NORM_EPS).rsqrt() * layer_norm.w + layer_norm.b
        )

    residual = double.embed(read[None])
    for layer, block in enumerate(double.blocks):
        normed = norm(block.ln1, residual)
        q, k = block.attn.queries_keys(normed)
        v = block.attn.values(normed)
        written = torch.zeros_like(residual) if block.attn.b_O is None else block.attn.b_O.expand_as(residual)
        for head in range(a.n_heads):
            window = a.local_window if head < a.n_local_heads else n
            name = forced.get((layer, head), "own")
            if name is None:
                continue
            if name == "own":
                hidden = torch.tensor([[not 0 <= i - j < window for j in range(n)] for i in range(n)])
                pattern = (q[0, head] @ k[0, head].T / a.d_head**0.5).masked_fill(hidden, -torch.inf).softmax(-1)
            else:
                pattern = slow_pattern(name, read.tolist(), window)
            written = written + pattern @ v[0, head] @ block.attn.per_head("W_O")[head]
        residual = residual + written
        if block.mlp is not None:
            residual = residual + block.mlp(norm(block.ln2, residual))
    logits = norm(double.ln_final, residual) @ double.W_U
    return -logits[0].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]


def assert_equal(model, tokens_BT, forced):
    expected = torch.stack([slow_losses(model, tokens, forced) for tokens in tokens_BT])
    torch.testing.assert_close(forced_losses(model, tokens_BT, forced).double(), expected, atol=2e-5, rtol=2e-5)


def texts(seed, n):
    return torch.randint(0, V, (n, T + 1), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    fields=architectures(3, 20),
    drawn=st.data(),
)
def test_losses_equal_a_slow_pass_with_explicit_matrices(seed, fields, drawn):
    places = st.tuples(st.integers(0, fields["n_layers"] - 1), st.integers(0, 2))
    forced = drawn.draw(st.dictionaries(places, st.sampled_from([None, *PATTERNS]), min_size=1))
    assert_equal(random_model(seed, **fields), texts(seed, 2), forced)


def test_more_examples_than_are_run_at_once(monkeypatch):
    from induction.measure import idealised as module

    monkeypatch.setattr(module, "_TOKENS_AT_ONCE", 2 * T)
    assert_equal(random_model(1), texts(1, 5), {(0, 0): PREVIOUS_TOKEN, (1, 2): AFTER_TWO, (1, 1): None})


def test_without_a_replaced_head_the_losses_are_the_models_own():
    model = random_model(2, n_local_heads=1, local_window=4)
    torch.testing.assert_close(forced_losses(model, texts(2, 3), {}), example_losses(model, texts(2, 3)))


# --- recovered shares ---------------------------------------------------------------------------------------------


def shares(intact, ideal, ablated, **fields):
    settings_ = Bootstrap(n_resamples=200, **fields)
    arrays = [np.asarray(loss, dtype=np.float64) for loss in (intact, ideal, ablated)]
    return recovery(*arrays, resample_weights(len(arrays[0]), settings_), settings_.confidence)


def test_recovered_share_of_algebra():
    found = shares([1.0] * 8, [1.25] * 8, [2.0] * 8)
    assert (found["loss"], found["loss_ideal"], found["loss_ablated"]) == (1.0, 1.25, 2.0)
    for name in ("recovered", "recovered_low", "recovered_high"):
        assert found[name] == pytest.approx(0.75)
    assert shares([1.0] * 8, [0.9] * 8, [2.0] * 8)["recovered"] == pytest.approx(1.1), "better than intact"
    assert shares([1.0] * 8, [2.5] * 8, [2.0] * 8)["recovered"] == pytest.approx(-0.5), "worse than none"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.floats(-1, 2), spread=st.floats(0, 50))
def test_shares_are_of_pairs(seed, share, spread):
    """However examples differ in difficulty, three losses of one example go together: the share is exact."""
    generator = np.random.default_rng(seed)
    hard, worth = spread * generator.random(20), 0.1 + generator.random(20)
    found = shares(hard, hard + (1 - share) * worth, hard + worth)
    for name in ("recovered", "recovered_low", "recovered_high"):
        assert found[name] == pytest.approx(share, abs=1e-9)
    for name in ("loss", "loss_ideal", "loss_ablated"):
        assert found[f"{name}_low"] - 1e-9 <= found[name] <= found[f"{name}_high"] + 1e-9


def test_intervals_cover_the_true_share():
    """Of 200 samples of 60 examples, the 90% interval holds the share of the population in about 180."""
    generator, covered = np.random.default_rng(0), 0
    for seed in range(200):
        worth, lost = generator.normal(1.0, 0.5, 60), generator.normal(0.3, 0.5, 60)
        found = shares(np.zeros(60), lost, worth, confidence=0.9, seed=seed)
        covered += found["recovered_low"] <= 0.7 <= found["recovered_high"]
    assert 165 <= covered <= 195


@pytest.mark.parametrize("worth", [[0.0] * 10, [1.0, -1.0] * 5, [-1.0] * 10, [0.0] * 9 + [1.0]])
def test_no_share_of_heads_that_are_worth_nothing(worth):
    found = shares([3.0] * 10, [3.5] * 10, 3.0 + np.array(worth))
    assert [found[name] for name in ("recovered", "recovered_low", "recovered_high")] == [None] * 3
    assert found["loss_ideal"] == 3.5


def test_resamples_in_which_the_heads_are_worth_nothing_have_no_share():
    """Four of ten examples have all the worth: one resample in 165 holds none of them, and is left out."""
    worth = np.array([1.0] * 4 + [0.0] * 6)
    weights_RE = resample_weights(10, Bootstrap(n_resamples=2000))
    assert ((weights_RE @ worth) == 0).any()
    found = recovery(np.zeros(10), worth / 4, worth, weights_RE, 0.95)
    assert [found[name] for name in ("recovered", "recovered_low", "recovered_high")] == pytest.approx([0.75] * 3)


# --- the circuit and the stage ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return induction_circuit()


@pytest.fixture(scope="module")
def tokens():
    """A start token, then 12 tokens repeated 5 times; two of the 12 are one token, which only the one before tells."""
    generator = np.random.default_rng(3)
    rows = []
    for _ in range(12):
        block = generator.choice(np.arange(1, N_TOKENS), 12, replace=False)
        block[8] = block[3]
        rows.append(np.concatenate([[0], *[block] * 5]))
    return np.stack(rows).astype(np.int32)


def test_heads_that_are_ideal_recover_all(model, tokens):
    classes = {"previous-token": [(0, 0)], "induction": [(1, 0)]}
    rows = {
        (row["class"], row["pattern"]): row
        for row in idealise(model, torch.from_numpy(tokens).long(), classes, BOOTSTRAP)
    }
    for key in (("previous-token", PREVIOUS_TOKEN), ("induction", AFTER_ONE)):
        assert rows[key]["loss_ablated"] - rows[key]["loss"] > 0.5
        assert rows[key]["recovered"] == pytest.approx(1, abs=0.01)
    two = rows["induction", AFTER_TWO]
    assert two["loss_ideal"] < two["loss"], "where one token leaves two to choose from, two tell which"
    assert two["recovered_low"] > 1


def test_a_head_that_is_nothing_like_its_pattern_recovers_little(model, tokens):
    """The induction head made to look at the previous token; the previous-token head made to look for copies."""
    tokens_BT = torch.from_numpy(tokens).long()
    losses = {
        key: float(forced_losses(model, tokens_BT, forced).mean())
        for key, forced in {
            "intact": {},
            "none": {(1, 0): None},
            "wrong": {(1, 0): PREVIOUS_TOKEN},
            "unfed": {(0, 0): AFTER_ONE},
        }.items()
    }
    assert losses["wrong"] > losses["none"] > losses["intact"] + 0.5
    assert losses["unfed"] > losses["intact"] + 0.5, "patterns of later heads follow from what they read"


def test_heads_without_a_result_have_no_share_and_absent_classes_no_row(model, tokens):
    (row, other) = idealise(
        model, torch.from_numpy(tokens).long(), {"induction": [(0, 1), (1, 1)], "other": []}, BOOTSTRAP
    )
    assert (row["heads"], row["pattern"], other["pattern"]) == ("0.1 1.1", AFTER_ONE, AFTER_TWO)
    assert row["loss"] == row["loss_ideal"] == row["loss_ablated"]
    assert row["recovered"] is None


@pytest.fixture
def results(tmp_path, model, tokens):
    """A block of two snapshots, the second the circuit, and the scores of both."""
    (tmp_path / "model=m").mkdir()
    part = tmp_path / "model=m" / "heads.parquet"
    drawn = np.stack([np.random.default_rng(row).permutation(np.arange(1, N_TOKENS))[:25] for row in range(4)])
    repeated = np.concatenate([np.zeros((4, 1)), np.tile(drawn, 4)], axis=1).astype(np.int32)
    columns = score_heads(model, HeadProbes(repeated, 25, drawn.astype(np.int32), tokens))
    with HEADS.writer(part) as table:
        for step in (10, 20):
            table.append({"step": step, "tokens": 100 * step, **columns})
    zero = induction_circuit()
    zero.blocks[0].attn.W_O.zero_()
    return write_block(tmp_path, {10: zero, 20: model}), part, tmp_path / "model=m" / "idealised.parquet"


def test_the_stage_finds_the_heads_and_their_shares(results, tokens):
    manifest, part, out = results
    thresholds = Heads(previous_token=0.9)
    idealised(manifest, [part], thresholds, tokens, BOOTSTRAP, out, provenance={"corpus": "c"}, device="cpu")
    rows = IDEALISED.read(out)
    assert rows.select("step", "class", "heads", "pattern").rows() == [
        (20, "previous-token", "0.0", PREVIOUS_TOKEN),
        (20, "induction", "1.0", AFTER_ONE),
        (20, "induction", "1.0", AFTER_TWO),
    ]
    assert rows["recovered"][:2].to_list() == pytest.approx([1, 1], abs=0.01)
    low, high = rows["recovered_low"], rows["recovered_high"]
    assert ((low <= rows["recovered"]) & (rows["recovered"] <= high)).all()


def test_scores_of_another_snapshot_are_refused(results, tokens):
    manifest, part, out = results
    scores = HEADS.read(part).drop("model")
    later = scores.with_columns(pl.col("step") + 10)
    for wrong in (scores.filter(pl.col("step") == 10), scores.filter(pl.col("layer") == 0), later):
        with HEADS.writer(part) as table:
            table.append(wrong.to_dict(as_series=False))
        with pytest.raises(InductionError, match=r"not the scores of the 4 heads at step 20") as error:
            idealised(manifest, [part], Heads(), tokens, BOOTSTRAP, out, provenance={}, device="cpu")
        assert str(part) in str(error.value)
        assert not out.exists()
