"""Compositions of all pairs of heads, against products of whole matrices."""

import numpy as np
import pytest
import torch

from induction.measure.compositions import compositions
from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.tables.compositions import COMPOSITIONS
from measure.blocks import write_block

D, H, E = 32, 3, 8


def random_model(seed, n_layers):
    """Weights, gains and biases drawn; every head of another size, which must not matter."""
    shape = {"n_layers": n_layers, "n_heads": H, "d_head": E, "d_model": D, "vocab_size": 40, "n_ctx": 16}
    model = Transformer(Architecture(**shape, attention_bias=True))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        for block in model.blocks:
            for name in ("W_Q", "W_K", "W_V"):
                block.attn.per_head(name).mul_(torch.rand(H, 1, 1, generator=generator) + 0.1)
    return model.requires_grad_(False)


def measured(tmp_path, models):
    out = tmp_path / "model=m" / "part.parquet"
    compositions(write_block(tmp_path, models), out, provenance={}, device="cpu")
    return COMPOSITIONS.read(out)


def naive(model, early, writer, late, reader):
    """Norms of whole D x D matrices; LayerNorm takes the mean out of the stream and multiplies by its gain."""

    def head(layer, index, name):
        block = model.blocks[layer]
        if name == "W_O":
            return block.attn.W_O[E * index : E * (index + 1)].double().numpy()
        norm = (np.eye(D) - np.ones((D, D)) / D) @ np.diag(block.ln1.w.double().numpy())
        return norm @ getattr(block.attn, name)[:, E * index : E * (index + 1)].double().numpy()

    written = head(early, writer, "W_V") @ head(early, writer, "W_O")
    read = {
        "k": head(late, reader, "W_K") @ head(late, reader, "W_Q").T,
        "q": head(late, reader, "W_Q") @ head(late, reader, "W_K").T,
        "v": head(late, reader, "W_V") @ head(late, reader, "W_O"),
    }
    norm = np.linalg.norm
    return {kind: norm(written @ matrix) / (norm(written) * norm(matrix)) for kind, matrix in read.items()}


def test_every_pair_of_heads_equals_products_of_whole_matrices(tmp_path):
    last = random_model(1, n_layers=3)
    rows = measured(tmp_path, {10: random_model(0, n_layers=3), 20: last})
    assert rows["step"].unique().to_list() == [20], "the last snapshot alone"
    layers, heads = ((0, 1), (0, 2), (1, 2)), range(H)
    pairs = [(early, writer, late, reader) for early, late in layers for writer in heads for reader in heads]
    assert sorted(rows.select("early_layer", "early_head", "late_layer", "late_head").rows()) == sorted(pairs)

    chance = []
    for row in rows.iter_rows(named=True):
        expected = naive(last, row["early_layer"], row["early_head"], row["late_layer"], row["late_head"])
        chance += [expected[kind] - row[kind] for kind in "kqv"]
    generator = np.random.default_rng(0)
    drawn = [
        [generator.standard_normal((D, E)) @ generator.standard_normal((E, D)) for _ in range(2)] for _ in range(2000)
    ]
    random = [np.linalg.norm(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in drawn]
    np.testing.assert_allclose(chance, np.mean(chance), atol=1e-5, err_msg="one number is taken off, from all alike")
    error = np.std(random, ddof=1) / len(random) ** 0.5
    assert np.mean(chance) == pytest.approx(np.mean(random), abs=4 * error)


def test_a_head_that_reads_what_another_writes(tmp_path):
    """Planted: late head 1 has the keys that early head 2 writes, and its queries and values are those of others."""
    model = random_model(2, n_layers=2)
    first, second = (block.attn for block in model.blocks)
    for block in model.blocks:
        block.ln1.w.fill_(1.0)
    second.per_head("W_K")[1].copy_(first.per_head("W_O")[2].T)
    best = measured(tmp_path, {10: model}).sort("k", descending=True).row(0, named=True)
    assert (best["early_head"], best["late_head"]) == (2, 1)
    assert best["k"] > best["q"]
    assert best["k"] > best["v"]


def test_one_layer_has_no_pairs(tmp_path):
    assert measured(tmp_path, {10: random_model(3, n_layers=1)}).is_empty()
