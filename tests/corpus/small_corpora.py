"""Random documents, corpora built of them, and what such a corpus holds."""

import json

import numpy as np
from tokenizers import Tokenizer

from induction.corpus.build import corpus
from induction.files import sealed, sha256_file, write_json
from induction.study.corpora import Corpus
from induction.tables.manifests import corpus_fingerprint

ODD_TEXTS = ["a <|start|> b <|start|>", "line\r\n\tend \x00 \ufeff", "héllo 🙂 日本語 " * 3, "    " * 50 + "\n\n\n"]


def random_texts(seed, n_texts, n_words=120):
    """Distinct documents over 400 words, which most vocabularies of a few hundred tokens can be made of."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 9, 400)]
    return [" ".join(rng.choice(words, rng.integers(1, n_words))) + f" {seed}-{n}" for n in range(n_texts)]


def write_texts(folder, texts):
    """Write each text to a file of its own, as a line of JSON if it holds NUL; return the glob that finds them."""
    folder.mkdir(parents=True)
    for number, text in enumerate(texts):
        if "\0" in text:
            (folder / f"{number:04d}.jsonl").write_text(json.dumps({"text": text}))
        else:
            (folder / f"{number:04d}.txt").write_bytes(text.encode())
    return {"files": f"{folder}/*"}


def build(out, *sources, **fields):
    """Build a corpus named `small`; return its manifest."""
    settings = {"vocab_size": 400, "held_out": 0.3, **fields}
    corpus(Corpus(sources=sources, **settings), "small", out)
    return json.loads((out / "manifest.json").read_text())


def stored_tokens(folder):
    """Return the training and the held-out tokens, read without the code under test."""
    shards = [np.load(path) for path in sorted(folder.glob("train-*.npy"))]
    return np.concatenate(shards), np.load(folder / "held_out.npy")


def decoded(folder):
    """Return the training and the held-out documents, from their tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def documents(tokens):
        assert tokens[0] == 0
        return [tokenizer.decode(part[1:]) for part in np.split(tokens, np.flatnonzero(tokens == 0)[1:])]

    training, held_out = stored_tokens(folder)
    return documents(training), documents(held_out)


def resealed(folder):
    """Let the manifest of a corpus describe the files as they are now; return the folder."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["content_sha256"]
    manifest["files"] = {name: sha256_file(folder / name) for name in manifest["files"]}
    manifest["shards"] = [shard | {"sha256": sha256_file(folder / shard["file"])} for shard in manifest["shards"]]
    manifest["fingerprint"] = corpus_fingerprint(manifest["shards"], manifest["files"])
    write_json(path, sealed(manifest))
    return folder
