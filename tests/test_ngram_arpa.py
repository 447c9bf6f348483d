"""ARPA files: KenLM's, written and read; malformed ones refused with the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from lmgrid_ngram.arpa import lines as arpa_lines
from lmgrid_ngram.arpa.reader import read_arpa
from lmgrid_ngram.arpa.writer import ArpaError, log10, number_chunks, write_arpa
from lmgrid_ngram.model import NGramModel
from lmgrid_ngram.parts import NGramPart

DATA = Path(__file__).parent / "data" / "kenlm"
Entries = dict[str, tuple[float, ...]]


def encode(name: str, ids: dict[str, int] | None = None) -> tuple[np.ndarray, dict[str, int]]:
    """Return a text of KenLM's data as ids; without a vocabulary, with that of the text."""
    sentences = [line.split() for line in (DATA / name).read_text().splitlines()]
    if ids is None:
        words = dict.fromkeys(word for sentence in sentences for word in sentence)
        ids = {word: i for i, word in enumerate(["<unk>", "<eos>", *words])}
    tokens = [ids.get(word, 0) for sentence in sentences for word in [*sentence, "<eos>"]]
    return np.array(tokens, np.int32), ids


def learn(order: int) -> tuple[NGramModel, dict[str, int]]:
    tokens, ids = encode("train.txt")
    model = NGramModel(NGramPart(order=order), len(ids))
    model.learn(tokens)
    return model, ids


def entries(text: str) -> Entries:
    """Return the numbers of each n-gram of an ARPA file."""
    fields = (line.split("\t") for line in text.splitlines() if "\t" in line)
    return {ngram: (float(p), *map(float, rest)) for p, ngram, *rest in fields}


def kenlm_scores(order: int) -> np.ndarray:
    """Return the log10 probabilities that KenLM's query program printed."""
    words = gzip.decompress((DATA / f"{order}.scores.gz").read_bytes()).decode().split()
    columns = [words[i : i + 3] for i in range(0, len(words), 3) if "=" in words[i]]
    return np.array([float(p) for _, _, p in columns])


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_every_entry_is_kenlms(order: int, tmp_path: Path) -> None:
    """The ARPA file has the n-grams of KenLM's, each number within 1e-5."""
    model, ids = learn(order)
    write_arpa(model.fitted, tuple(ids), tmp_path / "ours.arpa")
    ours = entries((tmp_path / "ours.arpa").read_text())
    theirs = entries(gzip.decompress((DATA / f"{order}.arpa.gz").read_bytes()).decode())
    assert ours.pop("<s>")[1:] == pytest.approx(theirs.pop("<s>")[1:], abs=1e-5)
    assert ours.keys() == theirs.keys()
    for ngram, numbers in theirs.items():
        assert ours[ngram] == pytest.approx(numbers, abs=1e-5), ngram


@pytest.mark.parametrize(
    ("order", "perplexity", "known"),
    [
        (2, 20.1687, 18.6654),
        (3, 22.3752, 20.6390),
        (4, 22.7759, 21.0305),
        (5, 22.7404, 20.9973),
    ],
)
def test_every_score_is_kenlms(order: int, perplexity: float, known: float) -> None:
    """Token by token, and as perplexities with and without unknowns."""
    model, ids = learn(order)
    tokens, _ = encode("test.txt", ids)
    scores = model.score(tokens)
    np.testing.assert_allclose(scores / np.log(10), kenlm_scores(order)[: len(tokens)], atol=1e-5)
    assert np.exp(-scores.mean()) == pytest.approx(perplexity, rel=1e-5)
    assert np.exp(-scores[tokens != 0].mean()) == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("name", ["m.arpa", "m.arpa.gz"])
def test_the_kenlm_module_scores_our_file_as_we_do(
    order: int, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Token by token within 1e-5, unknowns and sentence ends included."""
    kenlm = pytest.importorskip("kenlm", reason="needs the extra lmgrid[test]")
    model, ids = learn(order)
    write_arpa(model.fitted, tuple(ids), tmp_path / name)
    peer = kenlm.Model(str(tmp_path / name))
    sentences = (DATA / "test.txt").read_text().splitlines()
    theirs = [p for line in sentences for p, _, _ in peer.full_scores(line)]
    scores = model.score(encode("test.txt", ids)[0]) / np.log(10)
    np.testing.assert_allclose(scores, theirs, atol=1e-5)


@pytest.mark.parametrize("order", [2, 5])
def test_kenlms_file_scores_as_kenlm_says(order: int) -> None:
    """A gzip file that KenLM wrote gives the scores that KenLM's query program printed."""
    arpa = read_arpa(DATA / f"{order}.arpa.gz")
    ids = {word: i for i, word in enumerate(arpa.words)}
    tokens, _ = encode("test.txt", ids)
    scores = arpa.model.score(tokens) / np.log(10)
    np.testing.assert_allclose(scores, kenlm_scores(order)[: len(tokens)], atol=1e-5)


def test_srilms_habits_are_understood() -> None:
    """A comment first, spaces or tabs, blank lines, no backoff column, exponents, -99 for zero."""
    arpa = read_arpa(DATA.parent / "srilm" / "small.arpa")
    assert arpa.words == ("<unk>", "<eos>", "a", "b", "never")
    a, b, never = 2, 3, 4
    logs = arpa.model.score(np.array([a, b, 1, b, a, 1, never, a, 1], np.int32)) / np.log(10)
    by_hand = [
        -0.30103,  # <s> a
        -0.1760913,  # <s> a b
        -0.09691,  # b </s>, after a b without a backoff column
        -0.30103 - 0.5228787,  # <s> backs off to b
        -1,  # b a, after <s> b, which is not there
        -0.0457575,  # b a </s>
        -np.inf,  # never: -99
        -0.39794 + 0.1,  # a, after a word whose weight is above 1 and that has no bigrams
        -np.inf,  # a </s>: -99
    ]
    np.testing.assert_allclose(logs, by_hand, atol=1e-6)


def test_ngrams_that_no_sentence_has_are_left_out(tmp_path: Path) -> None:
    """n-grams with ``<s>`` after the first word or ``</s>`` before the last are skipped."""
    text = GOOD.replace("ngram 2=2", "ngram 2=4").replace("-0.3 a </s>", UNREACHABLE)
    (tmp_path / "m.arpa").write_text(text)
    model = read_arpa(tmp_path / "m.arpa").model
    assert len(model.levels[1].nodes) == 2
    assert model.score(np.array([2, 1, 2])) == pytest.approx(
        np.log(10) * np.array([-0.2, -0.3, -0.2])
    )


@pytest.mark.parametrize("size", [1, 7, 64])
def test_how_much_is_read_at_once_does_not_show(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and sections that are longer than one read of the file are read whole."""
    path = DATA.parent / "srilm" / "small.arpa"
    whole = read_arpa(path)
    monkeypatch.setattr(arpa_lines, "CHUNK", size)
    again = read_arpa(path)
    assert again.words == whole.words
    for one, two in zip(again.model.levels, whole.model.levels, strict=True):
        assert np.array_equal(one.probabilities, two.probabilities)
        assert np.array_equal(one.nodes.words, two.nodes.words)
        assert np.array_equal(one.backoffs, two.backoffs)


@pytest.mark.parametrize("order", [1, 3, 7])
def test_a_written_model_is_read_back(order: int, tmp_path: Path) -> None:
    """Writing and reading keep words, n-grams and scores."""
    model, ids = learn(order)
    write_arpa(model.fitted, tuple(ids), tmp_path / "m.arpa")
    arpa = read_arpa(tmp_path / "m.arpa")
    assert arpa.words == tuple(ids)
    tokens, _ = encode("test.txt", ids)
    np.testing.assert_allclose(arpa.model.score(tokens), model.score(tokens), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -1e-9, -0.5, -9.99999994, -9.99999996, -42.1234567, -99, 3])
def test_numbers_are_written_to_seven_digits(value: float) -> None:
    """Each number is read back within 5e-7, whatever the number of digits before the point."""
    first, rest = number_chunks(np.array([float(value)]), "\n")
    text = (first.tobytes() + rest.tobytes())[:11].decode()
    assert len(text) == 11
    assert text[-1] == "\n"
    assert float(text) == pytest.approx(value, abs=5.1e-7)


def test_zero_is_written_as_minus_99() -> None:
    """The format has no infinity, so -99 is written for the logarithm of zero."""
    assert log10(np.array([0.0, 0.1])).tolist() == pytest.approx([-99, -1])


def test_long_words_survive(tmp_path: Path) -> None:
    """Words of any length and script are written whole."""
    words = ("<unk>", "<eos>", "x" * 8, "y" * 7, "z" * 100, "ы" * 9)
    model = NGramModel(NGramPart(order=3), 6)
    model.learn(np.array([2, 3, 4, 5, 1, 5, 4, 3, 2, 1], np.int32))
    write_arpa(model.fitted, words, tmp_path / "m.arpa")
    arpa = read_arpa(tmp_path / "m.arpa")
    assert arpa.words == words
    assert [len(a.nodes) for a in arpa.model.levels] == [len(a.nodes) for a in model.fitted.levels]


# ---------------------------------------------------------------- bad input

GOOD = r"""\data\
ngram 1=4
ngram 2=2

\1-grams:
-1 <unk>
-99 <s> -0.5
-0.5 </s>
-0.4 a -0.3

\2-grams:
-0.2 <s> a
-0.3 a </s>

\end\
"""
UNREACHABLE = "-0.3 a </s>\n-1 a <s>\n-1 </s> a"


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """The file that the malformed ones are made from is read without an error."""
    (tmp_path / "m.arpa").write_text(GOOD)
    model = read_arpa(tmp_path / "m.arpa").model
    assert model.score(np.array([2, 1])) == pytest.approx(np.log(10) * np.array([-0.2, -0.3]))


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ("ngram 2=2", "ngram 3=2", 3, "expected the count of order 2, not of order 3"),
        ("ngram 1=4", "ngram 1=5", 11, "expected 5 1-grams before \\2-grams:, found 4"),
        ("ngram 1=4", "ngram 1=3", 9, "expected \\2-grams: after 3 1-grams"),
        ("ngram 2=2", "ngram 2=1", 13, "expected \\end\\ after 1 2-grams; check the counts"),
        ("-0.4 a -0.3", "-0.4x a -0.3", 9, "expected a number, not '-0.4x'"),
        ("-0.4 a -0.3", "nan a -0.3", 9, "expected a logarithm, not 'nan'"),
        ("-0.4 a -0.3", "0.4 a -0.3", 9, "above 1"),
        ("-0.4 a -0.3", "-0.4", 9, "expected log10 p, 1 word and at most a log10 backoff"),
        ("-0.4 a -0.3", "-0.4 <s> -0.3", 9, "the word '<s>' occurs twice"),
        ("-0.3 a </s>", "-0.3 <s> a", 13, "'<s> a' occurs twice"),
        ("-0.3 a </s>", "-0.3 b </s>", 13, "the word 'b' is not a unigram"),
        ("\\2-grams:", "\\3-grams:", 11, "expected the line \\2-grams:, not '\\\\3-grams:'"),
        ("\\end\\\n", "", 14, "the file ends here, without \\end\\"),
        ("-0.4 a -0.3", "-0.4 a -" + 80 * "3", 9, "expected a number of at most 64 bytes, not 81"),
        ("-0.4 a -0.3", "-0.4 a inf", 9, "expected a logarithm, not 'inf'"),
        ("ngram 2=2", "bigrams 2=2", 3, "expected 'ngram N=COUNT' or"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(
    old: str, new: str, line: int, why: str, tmp_path: Path
) -> None:
    """The error names the line and what is wrong in it."""
    path = tmp_path / "m.arpa"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ArpaError) as error:
        read_arpa(path)
    assert f"line {line}: " in str(error.value)
    assert why in str(error.value)


def test_what_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    """The message names the byte."""
    (tmp_path / "m.arpa").write_bytes(GOOD.replace(" a ", " é ").encode("latin-1"))
    with pytest.raises(ArpaError, match="line 9: byte 0xe9 is not UTF-8"):
        read_arpa(tmp_path / "m.arpa")


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    """A gzip stream that is cut off is an error."""
    whole = (DATA / "3.arpa.gz").read_bytes()
    (tmp_path / "m.arpa.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArpaError, match=r"line \d+: the gzip data are damaged"):
        read_arpa(tmp_path / "m.arpa.gz")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """An error while writing leaves no partial or temporary file, and keeps an existing file."""
    model, ids = learn(2)
    (tmp_path / "m.arpa").write_text("old")
    words = [*list(ids)[:-1], "two words"]
    with pytest.raises(ArpaError, match="'two words' is empty or holds white space"):
        write_arpa(model.fitted, words, tmp_path / "m.arpa")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_unnormalised_models_have_no_arpa_form(tmp_path: Path) -> None:
    """Stupid backoff has a weight for unseen contexts, which the format cannot hold."""
    model = NGramModel(NGramPart(order=2, smoothing="stupid-backoff"), 4)
    model.learn(np.array([2, 3, 1]))
    with pytest.raises(ArpaError, match="choose another smoothing"):
        write_arpa(model.fitted, ("<unk>", "<eos>", "a", "b"), tmp_path / "m.arpa")
