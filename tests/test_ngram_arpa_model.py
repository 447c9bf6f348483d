"""Laws of the model that a grid reads from an ARPA file: its words, scores, hash and errors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmgrid.plugin.options import describe_part, make_part
from lmgrid.spec import Context, Progress, Recipe
from lmgrid.vocabulary import Vocabulary
from lmgrid_ngram.arpa.model import ArpaModel
from lmgrid_ngram.arpa.writer import ArpaError, write_arpa
from lmgrid_ngram.kernels import zipfian
from lmgrid_ngram.model import NGramModel
from lmgrid_ngram.parts import ArpaPart, NGramPart

WORDS = ("<unk>", "<eos>", "a", "b", "c", "d")
TRAIN = zipfian(300, len(WORDS), seed=1)


@pytest.fixture
def part(tmp_path: Path) -> ArpaPart:
    """A trigram model of ``TRAIN`` in an ARPA file."""
    path = tmp_path / "m.arpa"
    write_arpa(counted().fitted, WORDS, path)
    return ArpaPart(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def counted() -> NGramModel:
    model = NGramModel(NGramPart(order=3), len(WORDS))
    model.learn(TRAIN)
    return model


def make(part: ArpaPart, words: Sequence[str]) -> ArpaModel:
    counts = np.ones(len(words), np.int64)
    return part.make(
        Context(
            vocabulary=Vocabulary(tuple(words)), counts=counts, seed=0, device="cpu", cache=Path()
        )
    )


def test_it_scores_as_the_model_in_the_file_whatever_the_ids(part: ArpaPart) -> None:
    """Words are matched by spelling; scores and predictions are those of the model in the file."""
    order = [0, 1, 5, 3, 2, 4]  # the corpus numbers the words in another way
    model = make(part, [WORDS[i] for i in order])
    recipe = Recipe(None, (), seed=0, budget=None, point_interval=1)
    text = zipfian(200, len(WORDS), seed=2)
    assert list(model.fit(text, recipe)) == [Progress(len(text), None)]
    theirs = np.array(order)[text].astype(np.int32)
    np.testing.assert_allclose(model.score(text), counted().score(theirs), atol=1e-5)
    said = counted().next_log_probs(theirs[:50])[order]
    np.testing.assert_allclose(model.next_log_probs(text[:50]), said, atol=1e-5)
    assert np.exp(model.next_log_probs(text[:50])).sum() == pytest.approx(1, abs=1e-5)


def test_it_is_kept_and_loaded_without_the_file(part: ArpaPart, tmp_path: Path) -> None:
    """A saved model gives the same scores to the last bit when it is loaded."""
    model = make(part, WORDS)
    model.learn(TRAIN)
    folder = tmp_path / "kept"
    folder.mkdir()
    model.save(folder)
    part.path.unlink()
    again = make(part, WORDS)
    again.load(folder)
    assert np.array_equal(again.score(TRAIN), model.score(TRAIN))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            (*WORDS, "e"),
            "0 are only in the file and 1 only in the corpus, such as 'e'",
        ),
        (
            WORDS[:-1],
            "1 are only in the file and 0 only in the corpus, such as 'd'",
        ),
    ],
)
def test_other_words_than_the_corpus_has_are_refused(
    part: ArpaPart, words: tuple[str, ...], why: str
) -> None:
    """If the file and the corpus differ in a word, probabilities do not sum to one: an error."""
    with pytest.raises(ArpaError, match=why):
        make(part, words).learn(TRAIN)


def test_another_file_than_was_meant_is_refused(part: ArpaPart) -> None:
    """A file with another hash than the grid's is an error that gives its hash."""
    found = part.sha256
    with pytest.raises(ArpaError, match=f"has the sha256 {found}, not 0000"):
        make(replace(part, sha256="0" * 64), WORDS).learn(TRAIN)


def test_a_file_that_is_not_there_is_named(part: ArpaPart) -> None:
    """The error names the file and gives the message of the operating system."""
    part.path.unlink()
    with pytest.raises(ArpaError, match=r"cannot read .*m\.arpa: No such file or directory"):
        make(part, WORDS).learn(TRAIN)


def test_the_hash_is_the_identity_and_the_name_is_not(part: ArpaPart) -> None:
    """The hash is the option that identifies the model; the path is kept apart from the options."""
    one = describe_part("arpa", make_part(ArpaPart, {"path": "a.arpa", "sha256": part.sha256}))
    two = describe_part("arpa", make_part(ArpaPart, {"path": "b.arpa", "sha256": part.sha256}))
    assert one.options == two.options == (("sha256", part.sha256),)
    assert one.files != two.files
