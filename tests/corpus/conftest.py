"""A corpus that tests of this room share."""

import pytest

from corpus.small_corpora import ODD_TEXTS, build, random_texts, write_texts


@pytest.fixture(scope="session")
def texts():
    return [*random_texts(0, 80), *ODD_TEXTS]


@pytest.fixture(scope="session")
def small(tmp_path_factory, texts):
    """Build a corpus in many shards of 1,000 tokens."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("induction.corpus.build.SHARD_TOKENS", 1000)
        build(folder / "corpus", write_texts(folder / "texts", texts))
    return folder / "corpus"
