"""What is hashed when it is written is checked when it is read: one bit or one field of each artefact is changed.

`CATALOGUE` names every kind of file below `results/`. A kind that is missing from it fails the first two tests.
"""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from induction.tables.provenance import provenance_of
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file

from corpus.small_corpora import build, random_texts, write_texts
from induction.analyse.signals import read_random_index
from induction.corpus.evaluation import evaluation, read_evaluation
from induction.corpus.probes import probes, read_probes
from induction.corpus.prompts import prompts, read_prompts
from induction.corpus.shards import open_corpus
from induction.corpus.token_classes import read_token_classes, token_classes
from induction.corpus.tokenizer import read_tokenizer
from induction.errors import InductionError
from induction.figures import theme
from induction.measure.last_snapshot import open_last
from induction.models.snapshots import open_snapshots, read_block
from induction.report.pictures import drawing_of
from induction.study.config import ModelFields
from induction.study.evaluation import Evaluation, Probes, Prompts, Repetitions
from induction.study.study import Model
from induction.tables.manifests import read_manifest
from induction.tables.training import TRAINING
from induction.train import states
from induction.train.loop import train

ROOT = Path(__file__).parents[1]
FIELDS = {
    "n_layers": 1,
    "d_model": 16,
    "n_heads": 2,
    "n_ctx": 32,
    "batch_size": 2,
    "warmup_steps": 5,
    "n_steps": 20,
    "snapshots": [{"every": 5}],
    "block_snapshots": 3,
}


class Artefact(NamedTuple):
    """A kind of file: its path below `results/`, as a pattern, and who reads it; nobody: why it needs no hash."""

    pattern: str
    read: Callable[[Path], Any] | None
    why: str = ""


def corpus_of(path):
    return open_corpus(path.parent)


CATALOGUE = {
    "corpus manifest": Artefact(r"corpora/[^/]+/manifest\.json", corpus_of),
    "corpus manifest in a report": Artefact(r"corpora/[^/]+/manifest\.json", read_manifest),
    "shard": Artefact(r"corpora/[^/]+/train-\d{5}\.npy", lambda path: corpus_of(path).verify()),
    "held-out tokens": Artefact(r"corpora/[^/]+/held_out\.npy", lambda path: corpus_of(path).held_out),
    "offsets": Artefact(r"corpora/[^/]+/held_out_offsets\.npy", lambda path: corpus_of(path).held_out_offsets),
    "token counts": Artefact(r"corpora/[^/]+/token_counts\.npy", lambda path: corpus_of(path).token_counts),
    "tokenizer": Artefact(r"corpora/[^/]+/tokenizer\.json", lambda path: read_tokenizer(path.parent)),
    "evaluation set": Artefact(r"corpora/[^/]+/evaluation\.safetensors", read_evaluation),
    "evaluation set in an analysis": Artefact(r"corpora/[^/]+/evaluation\.safetensors", read_random_index),
    "probes": Artefact(r"corpora/[^/]+/probes\.safetensors", read_probes),
    "prompts": Artefact(r"corpora/[^/]+/prompts\.safetensors", read_prompts),
    "token classes": Artefact(r"corpora/[^/]+/token_classes\.safetensors", read_token_classes),
    "block manifest": Artefact(r"models/[^/]+/block-\d+\.json", read_block),
    "snapshot": Artefact(
        r"models/[^/]+/snapshots/step-\d{8}\.safetensors",
        lambda path: open_last(path.parents[1] / "block-0.json", "cpu"),
    ),
    "state": Artefact(r"models/[^/]+/state-\d{8}(-\d+-of-\d+)?\.safetensors", states._check),
    "table": Artefact(r"tables/.+\.parquet", lambda path: TRAINING.read(path).to_dict(as_series=False)),
    "provenance of a table": Artefact(r"tables/.+\.parquet", lambda path: provenance_of([path])),
    "drawing": Artefact(r"figures/.+\.svg", drawing_of),
    "other drawings": Artefact(r"figures/.+\.(pdf|png)", None, "for people; no stage reads them"),
    "progress": Artefact(r"models/[^/]+/progress\.jsonl", None, "odd lines are passed over: tests/test_status.py"),
    "lock": Artefact(r".+/\.lock", None, "an odd one names nobody: tests/test_status.py"),
    "for people": Artefact(r"claims\.md|report\.html", None, "for people; no stage reads them"),
    "logs": Artefact(r"logs/.+", None, "of Snakemake; no result depends on them"),
}
READ = [name for name, artefact in CATALOGUE.items() if artefact.read]
MANIFESTS = ["corpus manifest", "corpus manifest in a report", "block manifest"]


def tiny(seed=0):
    return Model("tiny", "tiny", "tiny", ModelFields(**FIELDS, seed=seed), vocab_size=400)


def train_blocks(model, results, name="tiny"):
    tokens = open_corpus(results / "corpora/words")
    for block in range(len(model.blocks)):
        manifest = results / f"models/{name}/block-{block}.json"
        table = results / f"tables/training/model={name}/block-{block}.parquet"
        train(model.recipe(block), tokens, manifest, table, tokens_needed=model.tokens_needed)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results of all stages that write another kind of file."""
    folder = tmp_path_factory.mktemp("integrity")
    results = folder / "results"
    corpus = results / "corpora/words"
    build(corpus, write_texts(folder / "texts", random_texts(0, 80)))
    examples = corpus / "evaluation.safetensors"
    evaluation(corpus, Evaluation(n_examples=12, n_tokens=24), examples)
    probes(corpus, Probes(n_sequences=3, period=6), corpus / "probes.safetensors")
    prompts(corpus, Prompts(n_prompts=2), 1000, corpus / "prompts.safetensors")
    token_classes(corpus, examples, Repetitions(n_passages=2, passage_tokens=8), corpus / "token_classes.safetensors")
    train_blocks(tiny(), results)
    theme.save(Figure(), results / "figures/nothing")
    return results


@pytest.fixture
def results(made, tmp_path):
    return shutil.copytree(made, tmp_path / "results")


def kinds_of(path):
    return [name for name, artefact in CATALOGUE.items() if re.fullmatch(artefact.pattern, path)]


def file_of(name, results):
    paths = (path.relative_to(results).as_posix() for path in sorted(results.rglob("*")) if path.is_file())
    found = [path for path in paths if re.fullmatch(CATALOGUE[name].pattern, path)]
    # The last snapshot of the first block, and the last state.
    return results / (found[2] if name == "snapshot" else found[-1] if name == "state" else found[0])


def test_every_file_that_stages_make_is_in_the_catalogue(made):
    paths = [path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()]
    assert [path for path in paths if not kinds_of(path)] == []
    assert {name for path in paths for name in kinds_of(path)} >= set(READ), "each kind that is read is made here"
    assert all(artefact.read or artefact.why for artefact in CATALOGUE.values())


def test_every_file_that_a_rule_names_is_in_the_catalogue():
    rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    named = {re.sub(r"\{[^}]*\}", "0", path) for path in re.findall(r'"results/([^"]+)"', rules)}
    assert len(named) > 20
    drawn = {path + ".svg" for path in named if not Path(path).suffix}  # named apart from their suffixes
    assert [path for path in sorted(drawn | named) if Path(path).suffix and not kinds_of(path)] == []


@pytest.mark.parametrize("name", READ)
def test_one_flipped_bit_is_seen(name, results):
    path, read = file_of(name, results), CATALOGUE[name].read
    whole, told = path.read_bytes(), read(path)
    generator = random.Random(name)
    places = sorted({0, len(whole) - 1, *generator.sample(range(len(whole)), min(len(whole), 150))})
    seen = 0
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        now = outcome(read, path)
        if isinstance(now, InductionError):
            assert path.name in str(now), f"byte {place}: {now}"
            # What to do about a state is known to training alone.
            assert name == "state" or "snakemake" in str(now), f"byte {place}: {now}"
            seen += 1
        else:  # only in headers of Parquet pages, where some fields decide nothing
            assert path.suffix == ".parquet", f"byte {place} of {len(whole)}"
            assert now == told, f"byte {place} of {len(whole)}"
    assert seen > 0.6 * len(places)
    path.write_bytes(whole)
    read(path)


def outcome(read, path):
    """What a reader returns, or the mistake that it reports."""
    try:
        return read(path)
    except InductionError as error:
        return error


def edits(content):
    """Yield a manifest with one thing changed, in every place in turn: values, entries doubled, removed, added."""

    def changed(value):
        if isinstance(value, dict):
            for key in value:
                yield {other: kept for other, kept in value.items() if other != key}
                yield from ({**value, key: other} for other in changed(value[key]))
            yield {**value, "added": 1}
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                yield value[:index] + value[index + 1 :]
                yield [*value[:index], entry, *value[index:]]
                yield from ([*value[:index], other, *value[index + 1 :]] for other in changed(entry))
        elif isinstance(value, bool):
            yield not value
        elif isinstance(value, int | float):
            yield from (value + 1, None, str(value))
        elif isinstance(value, str):
            yield from (value + "0", value[:-1], "", 7)

    return changed(content)


@pytest.mark.parametrize("name", MANIFESTS)
def test_one_edited_field_is_seen(name, results):
    path, read = file_of(name, results), CATALOGUE[name].read
    whole = json.loads(path.read_text())
    n_edits = 0
    for content in edits(whole):
        if "model" not in content and content == {key: whole[key] for key in whole if key != "content_sha256"}:
            continue  # as an earlier version wrote it, with every field as it was
        path.write_text(json.dumps(content))
        with pytest.raises(InductionError, match=rf"{path.name}: .*snakemake"):
            read(path)
        n_edits += 1
    assert n_edits > 60


def test_pages_of_tables_have_checksums_and_every_reader_checks_them(made):
    """One function opens tables, and it checks: no other call of a Parquet reader is in the package but of sources."""
    path = file_of("table", made)
    with path.open("rb") as file:
        assert b"induction-footer" in file.read()
    calls = r"pq\.ParquetFile\(|read_table\(|read_parquet\(|scan_parquet\(|pq\.read_|pq\.ParquetDataset|dataset\("
    found = {
        module.relative_to(ROOT / "src/induction").as_posix(): re.findall(rf"(?:{calls}).*", text)
        for module in (ROOT / "src/induction").rglob("*.py")
        if re.search(calls, text := module.read_text(encoding="utf-8"))
    }
    assert set(found) == {"tables/table.py", "corpus/sources.py"}
    assert found["tables/table.py"] == ["pq.ParquetFile(path, page_checksum_verification=True)"]
    writers = [path for path in (ROOT / "src/induction").rglob("*.py") if "ParquetWriter(" in path.read_text()]
    assert [path.name for path in writers] == ["table.py"]


def test_a_flip_in_any_page_of_values_is_seen(results):
    """Every bit of the bytes that hold values: a checksum finds all errors of one bit."""
    path = file_of("table", results)
    whole, metadata = path.read_bytes(), pq.ParquetFile(path).metadata
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    for column in columns:
        end = column.data_page_offset + column.total_compressed_size
        if column.dictionary_page_offset is not None:
            end = column.dictionary_page_offset + column.total_compressed_size
        for place in range(end - 8, end):  # the last bytes of a column are values, not headers
            changed = bytearray(whole)
            changed[place] ^= 16
            path.write_bytes(changed)
            with pytest.raises(InductionError, match=rf"{path.name}: damaged: .*snakemake"):
                TRAINING.read(path)


def test_models_whose_folders_were_swapped_are_seen(results):
    train_blocks(tiny(seed=1), results, "other")
    models = results / "models"
    (models / "tiny").rename(models / "aside")
    (models / "other").rename(models / "tiny")
    (models / "aside").rename(models / "other")
    for folder, named in (("tiny", "other"), ("other", "tiny")):
        with pytest.raises(
            InductionError, match=rf"{folder}/block-0\.json: .* of model {named}, .* is called {folder}"
        ):
            list(open_snapshots(models / folder / "block-0.json"))


def test_snapshots_of_another_training_are_seen_without_a_hash_of_the_manifest(results):
    """As in manifests of earlier versions: the snapshot says which training and step it is of."""
    train_blocks(tiny(seed=1), results, "other")
    path = results / "models/tiny/block-0.json"
    own, other = (json.loads((results / f"models/{name}/block-0.json").read_text()) for name in ("tiny", "other"))
    for name in ("content_sha256", "model"):
        del own[name]
    path.write_text(json.dumps(own))
    assert [snapshot.step for snapshot in open_snapshots(path)] == [0, 5, 10]
    path.write_text(json.dumps({**own, "identity": other["identity"]}))
    with pytest.raises(InductionError, match=rf"step-00000000.*of training {own['identity']}, .*{other['identity']}"):
        list(open_snapshots(path))
    entries = own["snapshots"]
    steps = [{**entry, "step": entry["step"] + 1} for entry in entries]
    for wrong, words in ((steps, "names it as step 1 of"), ([entries[0], *entries], "are not ascending")):
        path.write_text(json.dumps({**own, "snapshots": wrong}))
        with pytest.raises(InductionError, match=words):
            list(open_snapshots(path))


def test_a_corpus_manifest_of_an_earlier_version_is_read_and_its_files_are_checked(results):
    path = results / "corpora/words/manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["content_sha256"]
    path.write_text(json.dumps(manifest))
    open_corpus(path.parent).verify()
    for wrong in ({"files": {}}, {"shards": manifest["shards"] * 2}, {"fingerprint": "0"}, {"new": 1}):
        path.write_text(json.dumps({**manifest, **wrong}))
        with pytest.raises(InductionError, match=r"manifest\.json: .*has changed .*snakemake"):
            open_corpus(path.parent)


def digests(results, name="tiny"):
    return {path.name: path.read_bytes() for path in (results / f"models/{name}/snapshots").iterdir()}


def test_training_does_not_resume_from_a_damaged_state(results, capsys):
    before = digests(results)
    state = file_of("state", results)
    changed = bytearray(state.read_bytes())
    changed[-100] ^= 1
    state.write_bytes(changed)
    for path in (results / "models/tiny/snapshots").glob("*20.safetensors"):
        path.unlink()
    (results / "models/tiny/block-1.json").unlink()
    train_blocks(tiny(), results)
    said = capsys.readouterr().err
    assert f"{state.name}: this state has changed since it was written. Training resumes from an earlier state" in said
    assert digests(results) == before


def test_a_state_of_an_earlier_version_is_resumed_from(results):
    """It has no hash, and another number of its format."""
    before, state = digests(results), file_of("state", results)
    content = state.read_bytes()
    tensors = load_file(state)
    about = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["induction"])
    del about["file_sha256"]
    save_file(tensors, state, metadata={"induction": json.dumps({**about, "format": 2}, sort_keys=True)})
    for path in (results / "models/tiny").glob("block-1.json"):
        path.unlink()
    train_blocks(tiny(), results)
    assert digests(results) == before
    save_file(tensors, state, metadata={"induction": json.dumps({**about, "format": 3}, sort_keys=True)})
    with pytest.raises(InductionError, match=r"not a whole state"):
        states._check(state)


def test_training_does_not_read_a_damaged_shard(results):
    shard = file_of("shard", results)
    changed = bytearray(shard.read_bytes())
    changed[-1] ^= 1
    shard.write_bytes(changed)
    shutil.rmtree(results / "models")
    with pytest.raises(InductionError, match=rf"{shard.name}: this file has changed since .*snakemake --force"):
        train_blocks(tiny(), results)
    assert not list((results / "models").rglob("*.safetensors"))


def test_ranks_share_the_shards(made, monkeypatch):
    checked = []
    monkeypatch.setattr("induction.corpus.shards._check_hash", lambda path, sha256: checked.append(path.name))
    corpus = open_corpus(made / "corpora/words")
    many = type(corpus)(**{**vars(corpus), "shard_hashes": tuple((f"train-{n:05d}.npy", "") for n in range(7))})
    for rank in range(3):
        many.verify(rank, 3)
    assert sorted(checked) == [f"train-{n:05d}.npy" for n in range(7)]
