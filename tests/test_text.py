"""From text to integers: which ids a text gets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.spec import Place
from lmgrid.text import RawText, TextError, TextOptions, encode
from lmgrid.vocabulary import EOS, SPLITS, UNK, Text, Unit, Vocabulary, pretokenize

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "cache")


def encoded(train: str, **options: Any) -> Text:
    return encode(RawText(train, "a\n", "a\n"), TextOptions(**options))


def words(text: Text) -> list[str]:
    return [text.vocabulary.words[i] for i in text.train.tokens]


# ---------------------------------------------------------------- ids


def test_words_follow_the_two_marks_by_falling_count() -> None:
    """0 is <unk>, 1 is <eos>, then the most frequent word first."""
    assert encoded("a b b\nc b c\n").vocabulary.words == ("<unk>", "<eos>", "b", "c", "a")


def test_ties_are_broken_by_first_appearance() -> None:
    """Among words of one count, the one met first has the smaller id."""
    assert encoded("z y\nx z y x\n").vocabulary.words[2:] == ("z", "y", "x")


def test_an_encoded_line_ends_with_eos() -> None:
    """a b a / a is 2 3 2 1 2 1."""
    text = encoded("a b a\na\n")
    assert text.train.tokens.tolist() == [2, 3, 2, EOS, 2, EOS]
    assert text.train.tokens.dtype == np.int32


def test_rarer_words_than_min_count_are_unknown() -> None:
    """With min_count 2 a word seen once becomes <unk>, one seen twice stays."""
    text = encoded("a b b\n", min_count=2)
    assert text.vocabulary.words[2:] == ("b",)
    assert text.train.tokens.tolist() == [UNK, 2, 2, EOS]


def test_the_vocabulary_is_cut_at_its_size_marks_included() -> None:
    """Of three types, a vocabulary of 4 keeps the two most frequent."""
    text = encoded("a a a b b c\n", vocabulary=4)
    assert text.vocabulary.words == ("<unk>", "<eos>", "a", "b")
    assert len(encoded("a\n", vocabulary=4).vocabulary) == 3


def test_a_literal_unk_is_the_unknown_word() -> None:
    """<unk> in the text has id 0, is counted there, and takes no second place."""
    text = encoded("a <unk> <unk>\n")
    assert text.vocabulary.words == ("<unk>", "<eos>", "a")
    assert text.counts.tolist() == [2, 1, 1]


@pytest.mark.parametrize("split", SPLITS)
def test_a_literal_eos_is_refused(split: str) -> None:
    """A word <eos> would be taken for a sentence end, in any split."""
    texts: dict[str, Any] = dict.fromkeys(SPLITS, "a\n") | {split: "a <eos> b\n"}
    with pytest.raises(TextError, match="holds the word <eos>"):
        encode(RawText(**texts), TextOptions())


def test_a_literal_eos_made_by_lowercasing_is_refused() -> None:
    """<EOS> is <eos> once it is lower-cased."""
    with pytest.raises(TextError, match="holds the word <eos>"):
        encoded("a <EOS>\n", lowercase=True)


def test_eos_within_a_word_or_as_characters_is_text() -> None:
    """Only the whole word is a mark, and characters cannot spell it."""
    assert "a<eos>b" in encoded("a<eos>b\n").vocabulary.ids
    assert "<eos>" not in encoded("<eos>\n", tokens="char").vocabulary.words[2:]
    assert encoded("<unk>\n", tokens="char").counts[UNK] == 0


def test_words_that_train_lacks_are_unknown() -> None:
    """The vocabulary is train's; the other splits do not add to it."""
    text = encode(RawText("a\n", "b a\n", "a c\n"), TextOptions())
    assert text.valid.tokens.tolist() == [UNK, 2, EOS]
    assert text.test.tokens.tolist() == [2, UNK, EOS]


def test_counts_are_those_of_train() -> None:
    """counts[i] is how often id i occurs in train, <unk> and <eos> too."""
    text = encoded("a b c b\n\na\n", vocabulary=4)
    assert text.counts.tolist() == [1, 3, 2, 2]


def test_lowercase_joins_what_differs_in_case_alone() -> None:
    """The and the are one type when lower-cased, two otherwise."""
    assert len(encoded("The the\n", lowercase=True).vocabulary) == 3
    assert len(encoded("The the\n").vocabulary) == 4


@pytest.mark.parametrize("split", SPLITS)
def test_an_empty_split_is_refused_by_name(split: str) -> None:
    """A split without a line is an error that names it."""
    texts: dict[str, Any] = dict.fromkeys(SPLITS, "a\n") | {split: ""}
    with pytest.raises(TextError, match=f"the {split} split is empty"):
        encode(RawText(**texts), TextOptions())


# ---------------------------------------------------------------- lines and spaces


def test_blank_lines_are_sentences() -> None:
    """A blank line is an <eos> of its own, also when it holds spaces."""
    assert words(encoded("\na\n\n \nb\n")) == [
        "<eos>",
        "a",
        "<eos>",
        "<eos>",
        "<eos>",
        "b",
        "<eos>",
    ]


def test_the_last_line_needs_no_newline() -> None:
    """A text without a newline at its end is the text with one."""
    one, two = encoded("a\nb"), encoded("a\nb\n")
    assert one.train.tokens.tolist() == two.train.tokens.tolist()
    assert (one.train.characters, one.train.bytes) == (two.train.characters, two.train.bytes)


@pytest.mark.parametrize("unit", ["word", "char", "byte"])
def test_windows_line_ends_are_newlines(unit: Unit) -> None:
    r"""``\r\n`` gives the same tokens and sizes as ``\n``."""
    one, two = encoded("a b\r\n\r\nc\r\n", tokens=unit), encoded("a b\n\nc\n", tokens=unit)
    assert one.vocabulary == two.vocabulary
    assert one.train.tokens.tolist() == two.train.tokens.tolist()
    assert one.train.characters == two.train.characters


@pytest.mark.parametrize("mark", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_a_newline_ends_a_line(mark: str) -> None:
    """What str.splitlines would also split at does not end a sentence."""
    assert encoded(f"a{mark}b\n").counts[EOS] == 1


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\x1c", "\x85", "\u2028"])
def test_only_ascii_spaces_separate_words(space: str) -> None:
    """A word may hold a space that is not ASCII's, as it may for KenLM."""
    assert words(encoded(f"a{space}b c\td\n")) == [f"a{space}b", "c", "d", "<eos>"]


@given(st.lists(st.text("ab<>. \t\r\x85\u00e9", max_size=12), min_size=1, max_size=8))
def test_word_ids_are_those_of_a_plain_loop(texts: list[str]) -> None:
    """Vocabulary, ids and counts agree with the definition written out."""
    text = encoded("\n".join(texts) + "\n", min_count=2)
    lines = [re.findall(r"[^ \t\r\x0b\x0c]+", line) for line in texts]
    counts = Counter(word for line in lines for word in line)
    kept = [word for word, count in counts.most_common() if count >= 2]
    names = ["<unk>", "<eos>", *kept]
    ids = [names.index(w) if w in names else 0 for line in lines for w in (*line, "<eos>")]
    assert text.vocabulary.words == tuple(names)
    assert text.train.tokens.tolist() == ids
    assert text.counts.tolist() == [ids.count(i) for i in range(len(names))]


# ---------------------------------------------------------------- characters, bytes, sizes


def test_characters_are_types() -> None:
    """Each character is a token, a space too, and the newline is <eos>."""
    text = encoded("aé a\n", tokens="char")
    assert text.vocabulary.words == ("<unk>", "<eos>", "a", "é", " ")
    assert text.train.tokens.tolist() == [2, 3, 4, 2, EOS]


def test_bytes_are_types_in_hexadecimal() -> None:
    """é is the two bytes c3 and a9."""
    text = encoded("aé\n", tokens="byte")
    assert text.vocabulary.words == ("<unk>", "<eos>", "61", "c3", "a9")


@pytest.mark.parametrize("unit", ["word", "char", "byte"])
def test_sizes_are_those_of_the_original(unit: Unit) -> None:
    """The size of a split counts its text in characters and bytes, whatever a token is."""
    train = encoded("Aé  b\nc", tokens=unit, lowercase=True).train
    assert (train.characters, train.bytes) == (8, 9)


@given(TEXTS, st.sampled_from(["char", "byte"]))
def test_characters_and_bytes_come_back(text: str, unit: Unit) -> None:
    """Decoding what was encoded gives the text, for any text."""
    text = text.replace("\r\n", "\n")
    vocabulary = encoded(text, tokens=unit).vocabulary
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.lists(st.lists(st.sampled_from(["a", "bb", "c."]), max_size=4), min_size=1, max_size=6))
def test_words_come_back_with_single_spaces(sentences: list[list[str]]) -> None:
    """Decoding puts one space between words and none at the ends of lines."""
    text = "\n".join(map(" ".join, sentences)) + "\n"
    vocabulary = encoded("a bb c.\n").vocabulary
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(TEXTS, st.sampled_from(["word", "char", "byte"]))
def test_a_vocabulary_encodes_as_the_splits_were(text: str, unit: Unit) -> None:
    """Encoding a split's text by hand gives its tokens."""
    corpus = encoded(text + "\n", tokens=unit)
    assert corpus.vocabulary.encode(text + "\n").tolist() == corpus.train.tokens.tolist()


def test_a_prompt_gets_no_eos_at_its_end() -> None:
    """Only newlines are sentence ends; nothing is added."""
    vocabulary = Vocabulary(("<unk>", "<eos>", "a"), lowercase=True)
    assert vocabulary.encode("A b\na").tolist() == [2, UNK, EOS, 2]
    assert vocabulary.encode("").tolist() == []


def test_unknown_bytes_and_broken_characters_decode() -> None:
    """An unknown byte is a question mark; half a character is a replacement character."""
    vocabulary = Vocabulary(("<unk>", "<eos>", "c3"), "byte")
    assert vocabulary.decode([UNK, EOS, 2]) == "?\n\ufffd"


# ---------------------------------------------------------------- pre-tokenisation


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Jesus wept.", "Jesus wept ."),
        ("the king\u2019s son, 'tis said", "the king\u2019s son , ' tis said"),
        ("Beth-lehem--or not - (yes)", "Beth-lehem - - or not - ( yes )"),
        ("  3.14 a_b\tc ", "3 . 14 a _ b c"),
        ("", ""),
    ],
)
def test_punctuation_is_separated(line: str, expected: str) -> None:
    """Words keep single apostrophes and hyphens inside; other marks stand alone."""
    assert pretokenize(line) == expected


@given(TEXTS)
def test_pretokenising_twice_is_pretokenising_once(line: str) -> None:
    """What is separated stays as it is, and nothing but white space is lost or added."""
    once = pretokenize(line)
    assert pretokenize(once) == once
    assert re.sub(r"\s", "", once) == re.sub(r"\s", "", line)


def test_a_raw_text_is_pretokenised_for_words_alone() -> None:
    """Words are separated, sizes stay the original's, characters are left alone."""
    raw = RawText("Ah, yes.\nNo\n", "a\n", "a\n", pretokenize=True)
    text = encode(raw, TextOptions())
    assert words(text) == ["Ah", ",", "yes", ".", "<eos>", "No", "<eos>"]
    assert text.train.characters == len(raw.train)
    assert len(encode(raw, TextOptions(tokens="char")).train.tokens) == len(raw.train)


def test_the_room_is_light_to_enter() -> None:
    """Importing the module, as a plugin's options do, does not import NumPy."""
    code = "import lmgrid.text, sys; sys.exit('numpy' in sys.modules)"
    paths = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | paths).returncode == 0


def test_a_prompt_is_read_as_its_corpus_was() -> None:
    """A vocabulary knows how its corpus was read, so that a prompt needs no care."""
    raw = RawText("In the beginning, God.\n", "in\n", "in\n", pretokenize=True)
    text = encode(raw, TextOptions(lowercase=True))
    assert text.vocabulary.encode("IN the beginning, God.\n").tolist() == text.train.tokens.tolist()
