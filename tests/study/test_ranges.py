"""Every field has its finite range, and whatever passes planning can be computed; all else is refused by file and key."""

import copy
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from induction.cluster import Cluster
from induction.errors import InductionError
from induction.study.jobs import Jobs
from induction.study.reading import validate
from induction.study.recipe import Recipe
from induction.study.schema import schemas
from induction.study.site import load_site
from induction.study.study import load_study
from tiny_study import MEASURED

ROOT = Path(__file__).parents[2]

MODELS = {
    "corpora": {
        "words": {"vocab_size": 300, "held_out": 0.25, "sources": [{"files": "text/*.txt", "exclude": ["a"]}]},
        "web": {
            "sources": [
                {"package": "numpy", "version": "2.4.6", "weight": 1.0, "max_documents": 3},
                {"hugging_face": "a/b", "revision": "main", "weight": 2.0, "where": {"n": [1, 2]}, "max_characters": 9},
            ]
        },
    },
    "families": {
        "attn": {
            "label": "attention-only",
            "group": "g",
            "name": "attn-{n_layers}l-s{seed}",
            "base": {
                "corpus": "words", "d_model": 32, "n_heads": 2, "n_ctx": 128, "batch_size": 2, "n_steps": 30,
                "snapshots": [{"every": 10, "start": 10, "stop": 20}], "block_snapshots": 2, "d_head": 16, "d_mlp": 64,
                "positions": "rotary", "rotary_fraction": 0.5, "learning_rate": 0.001, "weight_decay": 0.1, "beta1": 0.9,
                "batch_growth": [{"step": 5, "batch_size": 4}], "weight_decay_changes": [{"step": 5, "weight_decay": 0}],
                "rate_decay": {"start": 5, "stop": 9, "to": 0.1}, "epochs": 2.0, "warmup_steps": 3, "gradient_clip": 1.0,
                "init_deviation": 0.02, "n_local_heads": 1, "local_window": 8, "smeared_keys": False, "beta2": 0.9,
                "muon_learning_rate": 0.02, "embedding_deviation": 0.3, "dtype": "float32", "ablated_examples": 4,
            },
            "sizes": [{"position_amplitude": 1.5}],
            "sweep": {"n_layers": [1, 2], "seed": [0]},
        }
    },
}  # fmt: skip
STUDY = {
    **MEASURED,
    "families": ["attn"],
    "sweeps": {"attn": {"seed": [1]}},
    "figures": {"phase_change": {"families": ["attn"], "time": "log"}},
}
SITE = yaml.safe_load((ROOT / "profiles/slurm/site-many-nodes.yaml").read_text(encoding="utf-8"))


# --- the fields -------------------------------------------------------------------------------------------------


def unbounded(path, schema):
    """Return the places of a JSON schema whose values have no greatest number, length or number of entries."""
    if "$ref" in schema or "enum" in schema or "const" in schema:
        return []
    kind, found = schema.get("type"), []
    wanted = {
        "integer": [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")],
        "number": [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")],
        "string": [("maxLength",)],
        "array": [("maxItems",)],
    }
    if not all(any(name in schema for name in names) for names in wanted.get(kind, [])):
        found.append(path)
    a_mapping = kind == "object" and "properties" not in schema and schema.get("additionalProperties") is not False
    if a_mapping and "maxProperties" not in schema and "enum" not in schema.get("propertyNames", {}):
        found.append(path)
    for name in ("properties", "patternProperties"):
        for key, inside in schema.get(name, {}).items():
            found += unbounded(f"{path}.{key}", inside)
    for name in ("anyOf", "prefixItems"):
        for inside in schema.get(name, []):
            found += unbounded(path, inside)
    for name in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(name), dict) and (name != "propertyNames" or "enum" not in schema[name]):
            found += unbounded(path, {"type": "string", **schema[name]} if name == "propertyNames" else schema[name])
    return found


def test_every_field_of_the_configuration_has_a_finite_range():
    found = [
        place
        for name, schema in schemas().items()
        for part, inside in {"": schema, **schema.get("$defs", {})}.items()
        for place in unbounded(f"{name}:{part}", inside)
    ]
    assert found == []


def test_a_field_without_a_range_is_found():
    assert unbounded("a", {"type": "number", "minimum": 0}) == ["a"]
    assert unbounded("a", {"type": "object", "additionalProperties": {"type": "string"}}) == ["a", "a"]


# --- cases ------------------------------------------------------------------------------------------------------


def changed(content, path, value):
    content = copy.deepcopy(content)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inside = content
    for parent in parents:
        inside = inside[parent]
    inside[last] = value
    return content


def written(folder, models=MODELS, study=STUDY, site=SITE):
    (folder / "config").mkdir(exist_ok=True)
    config = {"study": "tiny", "studies": {"tiny": study}}
    for name, content in (("config/models.yaml", models), ("config/config.yaml", config), ("site.yaml", site)):
        (folder / name).write_text(yaml.dump(content, Dumper=yaml.SafeDumper, sort_keys=False), encoding="utf-8")
    return folder


BASE, SWEEP = "families.attn.base", "families.attn.sweep"
MODEL_CASES = [
    (f"{BASE}.learning_rate", 1e38, "less than or equal to 10"),
    (f"{BASE}.learning_rate", math.inf, "finite"),
    (f"{BASE}.learning_rate", math.nan, "finite"),
    (f"{BASE}.learning_rate", True, "a number is needed"),
    (f"{BASE}.weight_decay", math.inf, "finite"),
    (f"{BASE}.epochs", math.inf, "finite"),
    (f"{BASE}.beta1", 1.0, "less than 1"),
    (f"{BASE}.beta2", 1.0, "less than 1"),
    (f"{BASE}.gradient_clip", 0, "greater"),
    (f"{BASE}.n_steps", True, "a whole number is needed"),
    (f"{BASE}.n_steps", 30.0, "a whole number is needed (is: 30.0). Write 30."),
    (f"{BASE}.n_steps", "5_000", "a whole number is needed (is: '5_000'). Write 5000."),
    (f"{BASE}.n_steps", "1:30", "a whole number is needed"),
    (f"{BASE}.n_steps", 10**12, "less than or equal to 1000000000"),
    (f"{BASE}.smeared_keys", 1, "true or false is needed"),
    (f"{BASE}.smeared_keys", "yes", "true or false is needed"),
    (f"{BASE}.d_model", 10**9, "less than or equal to 131072"),
    (f"{BASE}.batch_size", 10**12, "less than or equal to"),
    (f"{BASE}.rotary_fraction", 0.05, "less than one pair"),
    (f"{BASE}.corpus", 7, "text is needed (is: 7). Put it in quotes."),
    (f"{BASE}.corpus", True, "text is needed (is: True). Put it in quotes."),
    (f"{BASE}.snapshots", [{"every": 10, "start": 20, "stop": 10}], "stop: step 10 is before start: step 20"),
    (f"{BASE}.snapshots", [{"every": 10, "start": 31}], "snapshots.0: this rule has no step from 0 to n_steps 30"),
    (f"{BASE}.snapshots", [{"powers_of_two": True, "start": 17}], "snapshots.0: this rule has no step"),
    (f"{BASE}.rate_decay", {"start": 9, "stop": 9}, "step 9 is not before"),
    (f"{BASE}.batch_growth", [{"step": 9, "batch_size": 4}, {"step": 5, "batch_size": 2}], "not in ascending order"),
    (f"{SWEEP}.seed", [2**63], "less than or equal to 9223372036854775807"),
    (f"{SWEEP}.seed", [-1], "greater than or equal to 0"),
    (f"{SWEEP}.seed", [False], "a whole number is needed"),
    (f"{SWEEP}.seed", list(range(10_001)), "at most 10000 items"),
    (SWEEP, {"d_mlp": list(range(1000)), "n_layers": list(range(1, 100))}, "99,000 models; a study has at most 10,000"),
    ("families.attn.label", "l" * 300, "at most 128 characters"),
    ("families.attn.label", "two\nlines", "permitted: one line"),
    ("families.attn.name", "n" * 300 + "{n_layers}{seed}", "up to 128 letters"),
    ("families.attn.name", "{n_layers.real}-{seed}", "is not the plain name of a field"),
    ("families.attn.name", "{seed.__class__}", "is not the plain name of a field"),
    ("families.attn.name", "{snapshots[0]}-{seed}", "is not the plain name of a field"),
    ("families.attn.name", "{0}-{seed}", "is not the plain name of a field"),
    ("families.attn.name", "{}-{seed}", "is not the plain name of a field"),
    ("families.attn.name", "m{seed!r}", "is not the plain name of a field"),
    ("families.attn.name", "m{n_layers}-{seed:999999999}", "the format :999999999 is not permitted"),
    ("families.attn.name", "m{n_layers}-{seed:{n_layers}}", "is not permitted"),
    ("families.attn.name", "m{learning_rate:.999999999f}", "is not permitted"),
    ("families.attn.name", "m{label:d}", "cannot be filled in"),
    ("families.attn.name", "m{n_layers", "cannot be filled in"),
    ("families.attn.name", "{n_layers}{seed}", "reads as a number"),
    ("families.attn.name", "{n_layers}e{seed}", "reads as a number"),
    ("families.attn.name", "2024-01-{n_layers:02d}", "reads as a number, a date"),
    ("families.a b", {"label": "a"}, "permitted: letters, digits and . _ - inside (is: 'a b')"),
    ("corpora." + "c" * 200, {"sources": [{"files": "a"}]}, "at most 128 characters"),
    ("corpora.words.seed", -1, "greater than or equal to 0"),
    ("corpora.words.seed", 2**64, "less than or equal to"),
    ("corpora.words.held_out", True, "a number is needed"),
    ("corpora.words.vocab_size", 300.0, "Write 300."),
    ("corpora.web.sources.0.weight", math.inf, "finite"),
    ("corpora.web.sources.0.weight", 1e-300, "greater than or equal to"),
    ("corpora.web.sources.0.package", "", "the name of a Python distribution"),
    ("corpora.web.sources.0.package", "../numpy", "the name of a Python distribution"),
    ("corpora.web.sources.0.package", "num py", "the name of a Python distribution"),
    ("corpora.web.sources.0.version", 2.4, "text is needed (is: 2.4). Put it in quotes."),
    ("corpora.web.sources.0.version", "", "permitted: a version"),
    ("corpora.web.sources.1.hugging_face", "../..", "permitted: OWNER/NAME"),
    ("corpora.web.sources.1.hugging_face", "a", "permitted: OWNER/NAME"),
    ("corpora.web.sources.1.revision", "a b", "permitted: a commit, tag or branch"),
    ("corpora.web.sources.1.revision", 1234567, "Put it in quotes."),
    ("corpora.web.sources.1.max_characters", 10**18, "less than or equal to"),
    ("corpora.words.sources.0.files", "", "at least 1 character"),
]  # fmt: skip
STUDY_CASES = [
    ("evaluation.n_examples", 10**12, "less than or equal to"),
    ("evaluation.n_examples", 24.0, "Write 24."),
    ("evaluation", {"n_examples": 10_000_000, "n_tokens": 60_000}, "do not fit into memory"),
    ("evaluation.seed", -1, "greater than or equal to 0"),
    ("bootstrap", {"seed": -1}, "greater than or equal to 0"),
    ("bootstrap", {"seed": 2**64}, "less than or equal to"),
    ("bootstrap", {"n_resamples": 10**7}, "less than or equal to"),
    ("bootstrap", {"confidence": math.nan}, "finite"),
    ("phases", {"smoothing_snapshots": math.inf}, "finite"),
    ("phases", {"smoothing_snapshots": 1e9}, "less than or equal to 1000"),
    ("window_rules", {"max_duration": [1.0, math.inf]}, "window_rules.max_duration.1: Input should be a finite number"),
    ("window_rules", {"max_duration": [1.0, 1.0]}, "1.0 is listed twice"),
    ("in_context.early_window", [10, 6], "early_window: 10 is after 6"),
    ("in_context.early_window", [6, 60], "does not end before late_window"),
    ("in_context.late", 4, "is not before late"),
    ("claims", {"window_tokens": [5e9, 1e9]}, "window_tokens: 5e+09 is not before 1e+09"),
    ("claims", {"window_tokens": [1e9]}, "window_tokens.1: this field is required"),
    ("probes", {"commonest_excluded": 0.6, "rarest_excluded": 0.5}, "which leaves no token"),
    ("ablations.replacements", ["zero", "zero"], "'zero' is listed twice"),
    ("repetitions.prefix", 40, "is not less than repetitions.passage_tokens"),
    ("families", ["attn", "attn"], "'attn' is listed twice"),
    ("families", [7], "Put it in quotes."),
    ("description", 7, "Put it in quotes."),
]
SITE_CASES = [
    ("node.memory_gb", math.inf, "finite"),
    ("node.memory_gb", 1e30, "less than or equal to 1000000"),
    ("node.memory_gb", True, "a number is needed"),
    ("jobs.cpu_memory_gb", math.nan, "finite"),
    ("jobs.nodes", 1_000_000_000, "less than or equal to 100000"),
    ("jobs.minutes", 10**12, "less than or equal to"),
    ("jobs.minutes", "1:30", "a whole number is needed"),
    ("speed", {"training_utilisation": math.inf}, "finite"),
    ("slurm.account", 42, "text is needed (is: 42). Put it in quotes."),
    ("slurm.gpu_partition", "a b", "permitted: one word, without quotes"),
    ("slurm.extra", "--exclude=a; touch /tmp/b", "a shell would take ; for something else"),
    ("slurm.extra", "--comment='a", "a quote is not closed"),
    ("slurm.extra", "--comment=$(id)", "a shell would take $( for something else"),
    ("container_options", "--bind `pwd`", "a shell would take ` for something else"),
    ("container_options", "--bind /a > /b", "a shell would take > for something else"),
    ("container_options", "--nv # GPUs", "a shell would take # for something else"),
    ("container", "image (1).sif", "permitted: a path or address of letters"),
    ("container", "$(touch /tmp/b)", "permitted: a path or address of letters"),
    ("container", "a;b.sif", "permitted: a path or address of letters"),
    ("container", "a{b}.sif", "permitted: a path or address of letters"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "words"), MODEL_CASES)
def test_what_no_training_could_do_is_refused(tmp_path, path, value, words):
    written(tmp_path, models=changed(MODELS, path, value))
    with pytest.raises(InductionError) as error:
        load_study(tmp_path)
    assert str(error.value).startswith("config/models.yaml: ")
    assert words in str(error.value)


@pytest.mark.parametrize(("path", "value", "words"), STUDY_CASES)
def test_what_no_measurement_could_do_is_refused(tmp_path, path, value, words):
    written(tmp_path, study=changed(STUDY, path, value))
    with pytest.raises(InductionError) as error:
        load_study(tmp_path)
    assert str(error.value).startswith("config/config.yaml: studies.tiny")
    assert words in str(error.value)


@pytest.mark.parametrize(("path", "value", "words"), SITE_CASES)
def test_what_no_cluster_has_is_refused(tmp_path, path, value, words):
    written(tmp_path, site=changed(SITE, path, value))
    with pytest.raises(InductionError) as error:
        load_site(tmp_path / "site.yaml")
    assert str(error.value).startswith(f"{tmp_path}/site.yaml: {path.split('.')[0]}")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "extra", ["--switches=1@12:00:00", "--exclude=node[07-09]", "--comment='a; b' --x=\"c d\"", ""]
)
def test_options_of_sbatch_and_apptainer_are_permitted(tmp_path, extra):
    site = load_site(written(tmp_path, site=changed(SITE, "slurm.extra", extra)) / "site.yaml")
    assert site.slurm.extra == extra


def test_names_that_differ_in_case_alone_are_refused(tmp_path):
    families = {**MODELS["families"], "Attn": {**MODELS["families"]["attn"], "name": "Attn-{n_layers}l-s{seed}"}}
    written(tmp_path, {**MODELS, "families": families}, {**STUDY, "families": ["attn", "Attn"], "sweeps": {}})
    with pytest.raises(InductionError, match="Attn-1l-s0 and attn-1l-s0 differ in the case of letters alone"):
        load_study(tmp_path)


def test_a_hundred_thousand_nodes_are_planned_for_at_once(tmp_path):
    site = changed(changed(SITE, "jobs.nodes", 100_000), "jobs.training_days", 1e-9)
    written(tmp_path, site=site)
    written_models = changed(MODELS, f"{BASE}.batch_size", 2**24)
    written(tmp_path, models=changed(written_models, f"{BASE}.batch_growth", None), site=site)
    study = load_study(tmp_path)
    placement = Cluster(study, str(tmp_path / "site.yaml"))._placements["attn-1l-s1"]
    n_ranks = placement.n_nodes * placement.ranks_per_node
    assert 1 < placement.n_nodes <= 100_000
    assert 2**24 % n_ranks == 0


# --- whatever passes ----------------------------------------------------------------------------------------------


def places(content, prefix=""):
    """Return the paths of all values of a configuration, inner ones and those of mappings and lists."""
    found = []
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, inside in pairs:
        found += [f"{prefix}{key}", *places(inside, f"{prefix}{key}.")]
    return found


OPTIONAL = [f"{part}.{name}" for part, names in {
    "evaluation": ["seed"], "probes": ["seed", "n_repeats", "commonest_excluded", "rarest_excluded"],
    "ablations": ["replacements", "n_random_sets", "every_way"], "repetitions": ["prefix", "n_passages"],
}.items() for name in names]  # fmt: skip
WHERE = (
    [("models", place) for place in places(MODELS)]
    + [("study", place) for place in [*places(STUDY), *OPTIONAL, "bootstrap", "phases", "claims", "watch", "heads"]]
    + [("site", place) for place in places(SITE)]
)
ODD = [
    math.inf, -math.inf, math.nan, 1e38, 1e308, 1e-300, -1, 0, 1, 2, 3, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30,
    True, False, None, "", " ", "007", "1e5", "nan", "x" * 300, "a\nb", "{seed}", "{seed.real}", "/", "..", "é", [], [1],
    {}, {"a": 1}, {"seed": 2**70}, {"n_resamples": 100_000}, 0.5, 1.0, 100, 1000, 100_000,
]  # fmt: skip
values = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=5)


def numbers_in(content):
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, (list, tuple)):
        return [number for inside in content for number in numbers_in(inside)]
    return [content] if isinstance(content, (int, float)) else []


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from(WHERE), values), min_size=1, max_size=2))
def test_whatever_passes_planning_can_be_computed(tmp_path, changes):
    parts = {"models": MODELS, "study": STUDY, "site": SITE}
    for (part, path), value in changes:
        try:
            parts[part] = changed(parts[part], path, value)
        except (KeyError, TypeError, IndexError):
            continue  # The first change took away what the second is inside of.
    written(tmp_path, **parts)
    try:
        study = load_study(tmp_path)
        Cluster(study, str(tmp_path / "site.yaml"))
    except InductionError as error:
        told = str(error)
        assert told.startswith(("config/models.yaml: ", "config/config.yaml: ", f"{tmp_path}/site.yaml: "))
        return
    jobs = Jobs(study)
    json.dumps(study.resolved(), allow_nan=False)
    seeds = [model.fields.seed for model in study.models.values()]
    seeds += [corpus.seed for corpus in study.corpora.values()]
    seeds += [getattr(study.config, part).seed for part in ("evaluation", "probes", "prompts", "bootstrap")]
    for seed in seeds:
        np.random.default_rng([seed, 1])
        torch.Generator().manual_seed(seed)
    assert all(math.isfinite(number) and abs(number) < 2**63 for number in numbers_in(study.config.model_dump()))
    for name, model in study.models.items():
        assert len(os_name(name)) <= 255
        assert 0 < model.tokens_needed < sys.maxsize
        assert sorted(set(model.steps)) == list(model.steps)
        assert (model.steps[0], model.steps[-1]) == (0, model.fields.n_steps)
        for block in range(min(3, len(model.blocks))):
            recipe = json.loads(jobs.recipe_json(SimpleNamespace(model=name, block=str(block))))
            validate(recipe, Recipe, "recipe")
            assert all(math.isfinite(number) for number in numbers_in(recipe))
            assert all(torch.tensor(float(number), dtype=torch.float32).isfinite() for number in numbers_in(recipe))


def os_name(model):
    """Return the longest name of a file that is called after a model."""
    return f".{model}-100000.parquet.part-0123456789abcdef".encode()
