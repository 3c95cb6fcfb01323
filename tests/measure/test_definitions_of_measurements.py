"""The definitions of docs/definitions.md, computed a second time from that page alone, in NumPy and plain loops."""

import math
import statistics

import numpy as np
import pytest
import torch
from scipy.special import erf

from induction.measure.ablated_runs import Ablation, ablated_losses
from induction.measure.case_studies import read_text
from induction.measure.circuits import composition, ov_copying, qk_trace
from induction.measure.heads import HeadProbes, score_heads
from induction.measure.idealised import forced_losses
from induction.measure.losses import example_losses
from induction.measure.pattern_tasks import LinePrompts, score_tasks
from induction.measure.random_composition import random_composition
from induction.models.transformer import Transformer
from induction.study.architecture import Architecture

V, D, H, E, L, N_CTX, AMPLITUDE = 30, 16, 2, 8, 2, 64, 0.7


def drawn(seed=0, smeared=False, d_mlp=0, n_layers=L):
    """A model with every weight, gain and bias drawn, and its weights as arrays."""
    shape = {"n_layers": n_layers, "n_heads": H, "d_head": E, "d_model": D, "vocab_size": V, "n_ctx": N_CTX}
    model = Transformer(
        Architecture(**shape, smeared_keys=smeared, d_mlp=d_mlp, position_amplitude=AMPLITUDE)
    ).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
        if name.endswith(("ln1.w", "ln2.w", "ln_final.w")):
            weight.add_(1)
    return model, {name: weight.double().numpy() for name, weight in model.named_parameters()}


# --- 1. the model -----------------------------------------------------------------------------------------------


class Run:
    """One forward pass on one text, by section 1; heads, patterns and LayerNorms' scales can be replaced."""

    def __init__(self, w, tokens, mixes=None, patterns=None, scales=None):
        n_layers = sum(name.endswith("attn.W_Q") for name in w)
        self.w, n = w, len(tokens)
        self.patterns, self.mixes, self.values, self.scales = {}, {}, {}, []
        frozen = iter(scales) if scales is not None else None
        place = np.array(
            [
                [AMPLITUDE * math.sin(i * 10000 ** (-m / (D / 2))) for m in range(D // 2)]
                + [AMPLITUDE * math.cos(i * 10000 ** (-m / (D / 2))) for m in range(D // 2)]
                for i in range(n)
            ]
        )
        x = w["W_E"][list(tokens)]

        def normed(x, name):
            centred = x - x.mean(1, keepdims=True)
            scale = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            scale = scale if frozen is None else next(frozen)
            self.scales.append(scale)
            return centred * scale * w[f"{name}.w"] + w[f"{name}.b"]

        for layer in range(n_layers):
            block = f"blocks.{layer}"
            read = normed(x, f"{block}.ln1")
            added = np.zeros_like(x)
            for head in range(H):
                part = slice(E * head, E * (head + 1))
                q = (read + place) @ w[f"{block}.attn.W_Q"][:, part]
                k = (read + place) @ w[f"{block}.attn.W_K"][:, part]
                v = read @ w[f"{block}.attn.W_V"][:, part]
                if f"{block}.attn.smear_alpha" in w:
                    share = 1 / (1 + math.exp(-w[f"{block}.attn.smear_alpha"][head]))
                    k = np.array([k[0], *(share * k[j] + (1 - share) * k[j - 1] for j in range(1, n))])
                pattern = np.zeros((n, n))
                for i in range(n):
                    scores = [math.exp(q[i] @ k[j] / math.sqrt(E)) for j in range(i + 1)]
                    pattern[i, : i + 1] = np.array(scores) / sum(scores)
                pattern = pattern if patterns is None else patterns.get((layer, head), pattern)
                mix = pattern @ v
                mix = mix if mixes is None else mixes.get((layer, head), mix)
                self.patterns[layer, head], self.mixes[layer, head], self.values[layer, head] = pattern, mix, v
                added += mix @ w[f"{block}.attn.W_O"][part]
            x = x + added
            if f"{block}.mlp.W_in" in w:
                inner = normed(x, f"{block}.ln2") @ w[f"{block}.mlp.W_in"] + w[f"{block}.mlp.b_in"]
                x = (
                    x
                    + (inner * (1 + erf(inner / math.sqrt(2))) / 2) @ w[f"{block}.mlp.W_out"]
                    + w[f"{block}.mlp.b_out"]
                )
        self.x = x
        self.logits = normed(x, "ln_final") @ w["W_U"]

    def losses(self, tokens):
        """Of the tokens after each position."""
        return [
            math.log(sum(np.exp(logits - logits[token]))) for logits, token in zip(self.logits, tokens, strict=True)
        ]


def part_of(w, layer, head, name):
    """W_Q, W_K or W_V of a head, folded with LN1; W_O as it is."""
    part = slice(E * head, E * (head + 1))
    weight = w[f"blocks.{layer}.attn.{name}"]
    return weight[part] if name == "W_O" else fold(weight[:, part], w[f"blocks.{layer}.ln1.w"])


def fold(weight, gain):
    return (np.eye(D) - np.ones((D, D)) / D) @ np.diag(gain) @ weight


def texts(n, length, seed=0):
    return np.random.default_rng(seed).integers(0, V, (n, length))


@pytest.mark.parametrize(("smeared", "d_mlp"), [(False, 0), (True, 0), (False, 24), (True, 24)])
def test_losses(smeared, d_mlp):
    model, w = drawn(1, smeared, d_mlp)
    tokens_BT = texts(3, 20)
    expected = [Run(w, tokens[:-1]).losses(tokens[1:]) for tokens in tokens_BT.tolist()]
    found = example_losses(model, torch.from_numpy(tokens_BT))
    np.testing.assert_allclose(np.asarray(found), expected, atol=2e-5)


# --- 4. scores of heads -----------------------------------------------------------------------------------------

PERIOD, REPEATS = 6, 3


@pytest.fixture(scope="module")
def probes():
    random = np.random.default_rng(7)
    blocks = [random.permutation(np.arange(1, V))[:PERIOD] for _ in range(4)]
    repeated = np.array([[0, *np.tile(block, REPEATS)] for block in blocks], dtype=np.int32)
    distinct = np.array([random.permutation(np.arange(1, V))[:PERIOD] for _ in range(4)], dtype=np.int32)
    text = np.concatenate([np.zeros((5, 1), np.int32), texts(5, 12, 3).astype(np.int32)], axis=1)
    return HeadProbes(repeated, PERIOD, distinct, text)


@pytest.fixture(scope="module", params=[(False, 0), (True, 24)], ids=["plain", "smeared with MLPs"])
def scored(request, probes):
    model, w = drawn(2, *request.param)
    return w, score_heads(model, probes)


def column(scores, name, layer, head):
    (row,) = np.flatnonzero((scores["layer"] == layer) & (scores["head"] == head))
    return scores[name][row]


def same_mean(scores, name, layer, head, by_sequence):
    assert column(scores, name, layer, head) == pytest.approx(statistics.fmean(by_sequence), abs=2e-5)
    error = statistics.stdev(by_sequence) / math.sqrt(len(by_sequence))
    assert column(scores, f"{name}_se", layer, head) == pytest.approx(error, abs=2e-5)


HEADS = [(layer, head) for layer in range(L) for head in range(H)]


def test_prefix_matching(scored, probes):
    w, scores = scored
    runs = [Run(w, tokens) for tokens in probes.repeated.tolist()]
    for place in HEADS:
        by_sequence = []
        for run in runs:
            A, n = run.patterns[place], 1 + PERIOD * REPEATS
            by_query = [
                sum(A[i, j] for j in range(2, i + 1) if (i - (j - 1)) % PERIOD == 0) for i in range(PERIOD + 1, n)
            ]
            by_sequence.append(statistics.fmean(by_query))
        same_mean(scores, "prefix_matching", *place, by_sequence)


def test_previous_token(scored, probes):
    w, scores = scored
    runs = [Run(w, tokens[:-1]) for tokens in probes.text.tolist()]
    for place in HEADS:
        by_example = [
            statistics.fmean(run.patterns[place][i, i - 1] for i in range(1, len(run.patterns[place]))) for run in runs
        ]
        same_mean(scores, "previous_token", *place, by_example)


def test_copying(scored, probes):
    w, scores = scored
    gain = w["ln_final.w"][:, None] * w["W_U"]
    u = gain - gain.mean(axis=1, keepdims=True)
    n = PERIOD
    for place in HEADS:
        calibrated, literal = [], []
        for tokens in probes.distinct.tolist():
            run = Run(w, tokens)
            result = run.mixes[place] @ part_of(w, *place, "W_O")
            A = run.patterns[place]
            rise = [[max(0.0, (result[i] - result[i].mean()) @ u[:, tokens[k]]) for k in range(n)] for i in range(n)]
            attended = sum(A[i, k] * rise[i][k] for i in range(n) for k in range(n))
            others = sum(A[i, k] * (sum(rise[i]) - rise[i][k]) / (n - 1) for i in range(n) for k in range(n))
            calibrated.append(2 * attended / (attended + others) - 1)
            literal.append(4 * attended / (attended + sum(map(sum, rise))) - 1)
        same_mean(scores, "copying", *place, calibrated)
        same_mean(scores, "copying_literal", *place, literal)


def test_scores_of_the_weights():
    model, w = drawn(3, n_layers=3)
    places = [(layer, head) for layer in range(3) for head in range(H)]
    previous = {place: 0.1 + 0.2 * place[0] + 0.3 * place[1] for place in places}
    unembed = fold(w["W_U"], w["ln_final.w"])
    writes = {place: part_of(w, *place, "W_V") @ part_of(w, *place, "W_O") for place in places}
    copying = ov_copying(model)
    traces = qk_trace(model, torch.tensor([[previous[layer, head] for head in range(H)] for layer in range(3)]))
    norm = np.linalg.norm
    for layer, head in places:
        eigenvalues = np.linalg.eigvals(w["W_E"] @ writes[layer, head] @ unembed)
        expected = eigenvalues.sum().real / np.abs(eigenvalues).sum()
        assert copying[layer, head].item() == pytest.approx(expected, abs=1e-4)
        queries, keys = (part_of(w, layer, head, name) for name in ("W_Q", "W_K"))
        if not layer:
            assert traces[layer, head].isnan()
            continue
        expected = sum(
            previous[e] * np.trace(w["W_E"] @ writes[e] @ keys @ queries.T @ w["W_E"].T) for e in places if e[0] < layer
        )
        assert traces[layer, head].item() == pytest.approx(expected, rel=1e-4)
        for early in range(layer):
            found = composition(model, early, layer)
            for writer in range(H):
                M = writes[early, writer]
                reads = {"k": keys @ queries.T, "q": queries @ keys.T, "v": writes[layer, head]}
                for kind, R in reads.items():
                    ratio = norm(M @ R) / (norm(M) * norm(R)) - random_composition(D, E)
                    assert found[kind][writer, head].item() == pytest.approx(ratio, abs=1e-5)


# --- 6. ablations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d_mlp", [0, 24])
@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
@pytest.mark.parametrize(
    ("mode", "norm"), [("pattern-preserving", "recomputed"), ("full", "recomputed"), ("pattern-preserving", "frozen")]
)
def test_ablations(d_mlp, replacement, mode, norm):
    model, w = drawn(4, d_mlp=d_mlp)
    tokens_BT = texts(4, 11, 5)
    positions = np.tile(np.arange(10), (4, 1))
    intact = [Run(w, tokens[:-1]) for tokens in tokens_BT.tolist()]
    for place in HEADS:
        ablation = Ablation((place,), mode, replacement, norm)
        found = ablated_losses(model, torch.from_numpy(tokens_BT), torch.from_numpy(positions), [ablation])[ablation]
        for b, tokens in enumerate(tokens_BT.tolist()):
            other = {
                "zero": np.zeros((10, E)),
                "mean": sum(run.mixes[place] for run in intact) / 4,
                "resample": intact[b + 1 if b % 2 == 0 else b - 1].mixes[place],
            }[replacement]
            run = Run(
                w,
                tokens[:-1],
                mixes={place: other},
                patterns=intact[b].patterns if mode == "pattern-preserving" else None,
                scales=intact[b].scales if norm == "frozen" else None,
            )
            np.testing.assert_allclose(found[b].numpy(), run.losses(tokens[1:]), atol=5e-5)


@pytest.mark.parametrize("name", ["previous token", "[A][B]…[A]", "[A][B]…[A] and [A][B][C]…[A][B]"])
def test_idealised_heads(name):
    model, w = drawn(5)
    tokens_BT = np.random.default_rng(6).integers(0, 4, (3, 16))  # few tokens, so that they are repeated
    for place in HEADS:
        found = forced_losses(model, torch.from_numpy(tokens_BT), {place: name})
        for b, tokens in enumerate(tokens_BT.tolist()):
            pattern = np.zeros((15, 15))
            for i in range(15):
                after_one = [j for j in range(1, i + 1) if tokens[j - 1] == tokens[i] and j - 1 < i]
                after_two = [j for j in after_one if j >= 2 and i >= 1 and tokens[j - 2] == tokens[i - 1]]
                keys = {
                    "previous token": [i - 1] if i else [],
                    "[A][B]…[A]": after_one,
                    "[A][B]…[A] and [A][B][C]…[A][B]": after_two or after_one,
                }[name] or list(range(i + 1))
                for j in keys:
                    pattern[i, j] = 1 / len(keys)
            run = Run(w, tokens[:-1], patterns={place: pattern})
            np.testing.assert_allclose(found[b].numpy(), run.losses(tokens[1:]), atol=5e-5)


# --- 7. logit attribution ---------------------------------------------------------------------------------------


def test_logit_attribution():
    model, w = drawn(6, d_mlp=24)
    tokens = texts(1, 13, 8)[0].tolist()
    run = Run(w, tokens[:-1])
    readings = read_text(model, torch.tensor(tokens), HEADS)
    for place, reading in zip(HEADS, readings, strict=True):
        for i in range(12):
            scale = math.sqrt(run.x[i].var() + 1e-5)
            y = w["ln_final.w"] * (w["W_U"][:, tokens[i + 1]] - w["W_U"].mean(axis=1)) / scale
            for j in range(i + 1):
                written = run.values[place][j] @ part_of(w, *place, "W_O")
                expected = run.patterns[place][i, j] * (written @ (y - y.mean()))
                assert reading.attention_QK[i, j].item() == pytest.approx(run.patterns[place][i, j], abs=1e-5)
                assert reading.attribution_QK[i, j].item() == pytest.approx(expected, abs=2e-5)


# --- 8. the abstract task ---------------------------------------------------------------------------------------


def test_the_abstract_task():
    """Lines of four or five tokens, the label the last but one."""
    model, w = drawn(9)
    random = np.random.default_rng(9)
    n_prompts, n_lines = 3, 8
    rows, ends, labels = [], [], []
    for _ in range(n_prompts):
        tokens, end, label = [0], [1], []
        for _ in range(n_lines):
            tokens += random.integers(1, V, random.integers(4, 6)).tolist()
            label.append(len(tokens) - 2)
            end.append(len(tokens))
        rows.append(tokens)
        ends.append(end)
        labels.append(label)
    width = max(map(len, rows))
    padded = np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int32)
    kinds = np.array([random.permutation(np.arange(n_lines) % 4) for _ in range(n_prompts)])
    prompts = LinePrompts(padded, np.array(labels) - 1, np.array(labels), np.array(ends), kinds)
    scores = score_tasks(model, prompts)
    runs = [Run(w, row) for row in padded.tolist()]
    for place in HEADS:
        found = {name: [] for name in ("on_labels", "same_label", "same_line", "chance")}
        for p, run in enumerate(runs):
            A, kind = run.patterns[place], kinds[p].tolist()
            total, on_labels, same_label, on_lines, same_line, even = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            for line in range(n_lines):
                earlier = range(line)
                alike = [m for m in earlier if kind[m] == kind[line]]
                if not alike or len(alike) == line:
                    continue
                total += 1
                from_query = A[labels[p][line] - 1]
                label_mass = sum(from_query[labels[p][m]] for m in earlier)
                on_labels += label_mass
                same_label += sum(from_query[labels[p][m]] for m in alike)
                of_line = {m: sum(from_query[ends[p][m] : ends[p][m + 1]]) for m in earlier}
                on_lines += sum(of_line.values())
                same_line += sum(of_line[m] for m in alike)
                even += label_mass * len(alike) / line
            found["on_labels"].append(on_labels / total)
            found["same_label"].append(same_label / on_labels)
            found["same_line"].append(same_line / on_lines)
            found["chance"].append(even / on_labels)
        for name, by_prompt in found.items():
            assert column(scores, name, *place) == pytest.approx(statistics.fmean(by_prompt), abs=2e-5)
