"""Claims 10 and 11: windows that follow the schedule or not, and that come on another corpus or not."""

import pytest

from analyse.claims.planted_study import MILLION, Change, evidence, grown, member, merged, seeds
from induction.analyse.claims import controls
from induction.analyse.claims.judging import NotTestableError
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

WARMUP_STEPS = (50, 600)
MOVED = 550 * 2048
WINDOW = Change(2 * MILLION, 3 * MILLION)
HEAD = {"layer": 1, "head": 0, "prefix_matching": 0.6, "prefix_matching_se": 0.01}
NO_HEAD = {"layer": 1, "head": 0, "prefix_matching": 0.05, "prefix_matching_se": 0.01}


def one_of(judgements):
    (only,) = judgements
    return only


def moved(by):
    return Change(WINDOW.start + by, WINDOW.end + by)


def with_longer_warmup(*windows):
    """Return a study of two warm-ups; of each seed the windows of both, or none."""
    models, tables = [], []
    for seed, pair in enumerate(windows):
        for warmup_steps, window in zip(WARMUP_STEPS, pair, strict=True):
            models.append(member(f"w{warmup_steps}-s{seed}", f"w{warmup_steps}", warmup_steps=warmup_steps, seed=seed))
            tables.append(grown(models[-1], {"icl": window} if window else {}))
    return evidence(models, merged(*tables))


@pytest.mark.parametrize(
    ("windows", "verdict"),
    [
        ([(WINDOW, WINDOW)], SUPPORTED),
        ([(WINDOW, moved(MOVED))], NOT_SUPPORTED),
        ([(WINDOW, moved(-MOVED))], NOT_SUPPORTED),
        ([(WINDOW, moved(MOVED / 2))], INCONCLUSIVE),
        ([(WINDOW, None)], NOT_SUPPORTED),
        ([(None, WINDOW)], NOT_SUPPORTED),
        ([(None, None)], INCONCLUSIVE),
        ([(WINDOW, WINDOW)] * 3, SUPPORTED),
        ([(WINDOW, WINDOW), (WINDOW, None)], INCONCLUSIVE),
        ([(WINDOW, moved(MOVED)), (WINDOW, None)], NOT_SUPPORTED),
    ],
)
def test_10_asks_whether_the_window_follows_the_warmup(windows, verdict):
    assert one_of(controls.schedule(with_longer_warmup(*windows))).verdict == verdict


def test_10_measures_how_far_the_window_moves_for_each_token():
    said = one_of(controls.schedule(with_longer_warmup((WINDOW, moved(0.3 * MOVED)))))
    room = 2 * WINDOW.spread / MOVED
    assert said.estimate[:3] == pytest.approx((0.3, 0.3 - room, 0.3 + room))
    assert said.subject == "w600, 2 layers against w50, 2 layers"
    assert "ends at 0.10M and 1.23M tokens" in said.reason
    three = one_of(controls.schedule(with_longer_warmup(*[(WINDOW, moved(by * MOVED)) for by in (0.1, 0.2, 0.3)])))
    assert (three.estimate.over, three.estimate.value) == ("seeds", pytest.approx(0.2))


def test_10_says_where_the_windows_are_in_tokens_weighted_by_the_learning_rate():
    said = one_of(controls.schedule(with_longer_warmup((WINDOW, moved(MOVED / 2)))))
    assert "(tokens weighted by the learning rate, linear in the warm-up: 2.45M and 2.45M)" in said.reason


@pytest.mark.parametrize("other", [{"seed": 1}, {"d_model": 256}])
def test_10_names_the_models_it_needs(other):
    models = [member("a"), member("b", "b", warmup_steps=600, **other)]
    with pytest.raises(NotTestableError, match="differ in warmup_steps alone: none in this study; give warmup_steps"):
        controls.schedule(evidence(models, merged(*(grown(model) for model in models))))


def on_books(*of_seeds, alike=True):
    """Return a study of two corpora; of each seed on books whether it has a window, and its head."""
    packages = seeds("attn-2l", len(of_seeds))
    books = seeds("books-2l", len(of_seeds), "books", corpus="books", vocab_size=2048, d_model=128 if alike else 256)
    tables = [grown(model, {"icl": WINDOW}, heads=[HEAD]) for model in packages]
    for model, (window, head) in zip(books, of_seeds, strict=True):
        tables.append(grown(model, {"icl": WINDOW} if window else {}, heads=[head, NO_HEAD | {"head": 1}]))
    return evidence([*packages, *books], merged(*tables))


@pytest.mark.parametrize(
    ("of_seeds", "verdict"),
    [
        ([(True, HEAD)], SUPPORTED),
        ([(False, NO_HEAD)], NOT_SUPPORTED),
        ([(True, NO_HEAD)], INCONCLUSIVE),
        ([(False, HEAD)], INCONCLUSIVE),
        ([(True, HEAD | {"prefix_matching": 0.31})], INCONCLUSIVE),  # the interval reaches 0.3
        ([(True, HEAD), (False, HEAD), (True, HEAD)], INCONCLUSIVE),
        ([(True, HEAD)] * 3, SUPPORTED),
    ],
)
@pytest.mark.parametrize("alike", [True, False])
def test_11_asks_for_a_window_and_a_head_on_the_other_corpus(of_seeds, verdict, alike):
    said = one_of(controls.corpus(on_books(*of_seeds, alike=alike)))
    assert (said.subject, said.verdict) == ("books, 2 layers", verdict)
    assert ("no model of the first corpus is alike" in said.reason) == (not alike)


def test_11_has_the_interval_of_the_best_head():
    said = one_of(controls.corpus(on_books((True, HEAD))))
    assert said.estimate[:3] == pytest.approx((0.6, 0.6 - 0.0196, 0.6 + 0.0196), abs=1e-4)


def test_11_says_how_much_each_corpus_repeats():
    study = on_books((False, NO_HEAD))
    assert "follows again" not in one_of(controls.corpus(study)).reason
    counts = {"attn-2l-s0": (60, 40), "books-2l-s0": (25, 75)}
    rows = [
        {"model": model, "class": kind, "n_tokens": n}
        for model, of_classes in counts.items()
        for kind, n in zip(("continued", "broken"), of_classes, strict=True)
    ]
    repeated = evidence(study.models, {**study.tables, "repetitions": rows})
    assert "what followed it follows again 60% on packages, 25% on books" in one_of(controls.corpus(repeated)).reason


def test_11_prefers_models_that_differ_in_the_corpus_alone():
    matched = on_books((True, HEAD))
    wide = member("wide-2l", "wide", corpus="books", d_model=256)
    said = controls.corpus(evidence([*matched.models, wide], merged(matched.tables, grown(wide, heads=[NO_HEAD]))))
    assert [judgement.subject for judgement in said] == ["books, 2 layers"]


def test_11_compares_with_the_first_corpus_alone():
    packages = member("attn-1l", n_layers=1)
    others = [member(f"{corpus}-2l", corpus, corpus=corpus) for corpus in ("docs", "books")]
    tables = merged(*(grown(model, {"icl": WINDOW}, heads=[HEAD]) for model in (packages, *others)))
    said = controls.corpus(evidence([packages, *others], tables))
    assert [judgement.subject for judgement in said] == ["docs, 2 layers", "books, 2 layers"]
    assert all("no model of the first corpus is alike" in judgement.reason for judgement in said)


def test_11_names_the_models_it_needs():
    models = [member("attn-2l"), member("books-1l", "books", corpus="books", n_layers=1)]
    with pytest.raises(NotTestableError, match=r"two or more layers on another corpus than packages.*add a family"):
        controls.corpus(evidence(models, merged(*(grown(model, heads=[HEAD]) for model in models))))
