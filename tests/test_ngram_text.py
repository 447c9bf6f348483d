"""The encoder of words, compared with ``lmgrid.text``, and the model of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.text import RawText, TextOptions, encode
from lmgrid_ngram.counting import encoder as encoding
from lmgrid_ngram.counting.encoder import Encoder, EncodingError, by_frequency
from lmgrid_ngram.parts import NGramPart
from lmgrid_ngram.text_model import TextModel

LETTERS = st.text(alphabet="ab\x00\x1f\té \n", min_size=1, max_size=80)
TEXT = "the students opened their books\nthe students opened their minds\n" * 20


@given(LETTERS, st.integers(1, 5))
def test_the_encoder_agrees_with_the_core(text: str, times: int) -> None:
    """Vocabulary, order of ids and tokens are those of ``lmgrid.text``, for words of any bytes."""
    text = (text * times).rstrip("\n") + "\n"
    core = encode(RawText(text, "a\n", "a\n"), TextOptions())
    learner = Encoder()
    tokens = learner.learn(text.encode())
    words, tokens = by_frequency(learner.words(), tokens)
    assert tuple(word.decode() for word in words) == core.vocabulary.words
    assert np.array_equal(tokens, core.train.tokens)
    assert np.array_equal(Encoder(words).encode(text.encode()), core.train.tokens)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text read line by line gives the ids of one read at once."""
    text = TEXT.encode()
    whole = Encoder().learn(text)
    monkeypatch.setattr(encoding, "BLOCK", 1)
    assert np.array_equal(Encoder().learn(text), whole)


def test_words_with_one_key_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long words whose keys collide get different ids, and are found again.

    Mixing by 1 makes the key of sixteen bytes (first half + 16) ^ second half.
    """
    monkeypatch.setattr(encoding, "_MIX", np.uint64(1))
    text = b"AAAAAAAAqqqqqqqq aqqqqqqqQAAAAAAA AAAAAAAAqqqqqqqq\n"
    words = next(iter(encoding.blocks(text)))
    assert words.keys[0] == words.keys[1]
    assert Encoder().learn(text).tolist() == [2, 3, 2, 1]


def test_unknown_words_are_unk() -> None:
    """A word outside the vocabulary has id 0, long or short."""
    known = Encoder([b"<unk>", b"<eos>", b"books"])
    text = b"books bookshelf book books-and-bookshelves\n\nbooks"
    assert known.encode(text).tolist() == [2, 0, 0, 0, 1, 1, 2, 1]


def test_the_mark_of_sentence_ends_is_refused_in_a_text() -> None:
    """The word ``<eos>`` in a text is an error, since it marks line ends."""
    with pytest.raises(EncodingError, match="holds the word <eos>"):
        Encoder().learn(b"a <eos> b\n")


def test_a_large_vocabulary_grows() -> None:
    """No word is lost when the table is rebuilt for more words."""
    text = " ".join(f"word-{i}" for i in range(30_000)).encode()
    learner = Encoder()
    assert np.array_equal(learner.learn(text), [*range(2, 30_002), 1])
    assert learner.words()[2:] == text.split()


@pytest.mark.parametrize("form", ["folder", "arpa"])
def test_a_text_model_is_kept(form: str, tmp_path: Path) -> None:
    """A model learned from text gives the same scores after saving and loading."""
    model = TextModel.learn(TEXT.encode(), NGramPart(order=3))
    if form == "folder":
        model.save(tmp_path)
        again = TextModel.load(tmp_path)
    else:
        model.write_arpa(tmp_path / "m.arpa.gz")
        again = TextModel.read_arpa(tmp_path / "m.arpa.gz")
    text = b"the students opened their exams\n"
    assert model.score(text).shape == (6,)
    np.testing.assert_allclose(again.score(text), model.score(text), atol=1e-5)


def test_the_next_words_after_a_context() -> None:
    """``books`` and ``minds`` follow equally often, and nothing else does."""
    model = TextModel.learn(TEXT.encode(), NGramPart(order=4, smoothing="mle"))
    assert model.predict("the students opened their", top=2) == [("books", 0.5), ("minds", 0.5)]


def test_sampled_text_repeats_with_its_seed() -> None:
    """A sample is a text of the model's words, the same for the same seed."""
    model = TextModel.learn(TEXT.encode(), NGramPart(order=4, smoothing="mle"))
    text = model.sample(12, seed=1)
    assert text == model.sample(12, seed=1)
    sentences = {"the students opened their books", "the students opened their minds"}
    assert set(text.strip().split("\n")) <= sentences
