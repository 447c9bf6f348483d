"""Encoded corpora on disk: read once, and what the cache may be trusted with."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lmgrid.cell.encoded import load_text
from lmgrid.spec import Place
from lmgrid.text import RawText, TextCorpusPart, TextError
from lmgrid.vocabulary import SPLITS, Text


@dataclass(frozen=True, kw_only=True)
class Made(TextCorpusPart):
    """A corpus of made-up text that counts how often it is read."""

    train: str = "a b a\n"
    seconds: float = 0.0
    reads: ClassVar[list[str]] = []

    def digest(self, place: Place) -> str:
        return hashlib.sha256(self.train.encode()).hexdigest()

    def read(self, place: Place) -> RawText:
        self.reads.append(self.train)
        time.sleep(self.seconds)
        return RawText(self.train, "b a\n", "c a\n")


@pytest.fixture(autouse=True)
def _forget() -> None:
    Made.reads.clear()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "cache")


def the_folder(place: Place) -> Path:
    (folder,) = (path for path in (place.cache / "text").iterdir() if path.is_dir())
    return folder


def same(one: Text, two: Text) -> bool:
    return (
        one.vocabulary == two.vocabulary
        and one.counts.tolist() == two.counts.tolist()
        and all(
            getattr(one, name).tokens.tolist() == getattr(two, name).tokens.tolist()
            and getattr(one, name).characters == getattr(two, name).characters
            and getattr(one, name).bytes == getattr(two, name).bytes
            for name in SPLITS
        )
    )


def test_a_second_make_maps_the_first_one_s_arrays(place: Place) -> None:
    """The text is read once; later it is mapped from the cache, equal in all it holds."""
    first, second = load_text(Made(), place, "key"), load_text(Made(), place, "key")
    assert len(Made.reads) == 1
    assert same(first, second)
    assert isinstance(second.train.tokens.base, np.memmap)
    assert second.counts.dtype == first.counts.dtype


def test_tokens_cannot_be_written_to(place: Place) -> None:
    """Neither a fresh text nor a mapped one can be changed by a model."""
    for text in (load_text(Made(), place, "key"), load_text(Made(), place, "key")):
        with pytest.raises(ValueError, match="read-only"):
            text.train.tokens[0] = 5


@pytest.mark.parametrize("name", ["tokens.npy", "text.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "empty"])
def test_a_damaged_cache_is_made_again(place: Place, name: str, damage: str) -> None:
    """A file that is not as it was written, to the bit, is not used."""
    first = load_text(Made(), place, "key")
    path = the_folder(place) / name
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    left = {"truncated": bytes(data[:-5]), "flipped": bytes(data), "empty": b""}
    path.unlink() if damage == "missing" else path.write_bytes(left[damage])
    assert same(load_text(Made(), place, "key"), first)
    assert len(Made.reads) == 2
    assert same(load_text(Made(), place, "key"), first)
    assert len(Made.reads) == 2


def test_an_unfinished_folder_is_made_again(place: Place) -> None:
    """A folder that a killed process left with nothing in it is replaced."""
    first = load_text(Made(), place, "key")
    for path in the_folder(place).iterdir():
        path.unlink()
    assert same(load_text(Made(), place, "key"), first)


def test_nothing_but_the_text_is_left_in_the_cache(place: Place) -> None:
    """No draft outlives its writing."""
    load_text(Made(), place, "key")
    assert sorted(path.name for path in the_folder(place).iterdir()) == ["text.json", "tokens.npy"]


def test_another_key_has_its_own_place(place: Place) -> None:
    """What stands for other ids never answers with the old ones."""
    load_text(Made(), place, "a")
    load_text(Made(train="a b b\n"), place, "b")
    assert len(Made.reads) == 2


def test_two_at_once_read_once(place: Place) -> None:
    """The second waits for the first and takes what it wrote."""
    made: list[Text] = []
    corpus = Made(seconds=0.2)
    threads = [
        threading.Thread(target=lambda: made.append(load_text(corpus, place, "key")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Made.reads) == 1
    assert same(made[0], made[1])
    assert same(made[0], made[2])


SCRIPT = """
import sys
from pathlib import Path
from lmgrid.spec import Place
from lmgrid.cell.encoded import load_text
from lmgrid_text import FilePart
folder = Path(sys.argv[1])
text = load_text(FilePart(path=Path("some.txt")), Place(folder, folder / "cache"), "key")
print(text.train.tokens.sum(), len(text.vocabulary))
"""


def test_two_processes_at_once_agree(place: Place) -> None:
    """Processes that start together all end with the same text and one folder."""
    (place.folder / "some.txt").write_text("".join(f"w{i % 97} w{i}\n" for i in range(5000)))
    command = [sys.executable, "-c", SCRIPT, str(place.folder)]
    paths = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | paths) for _ in range(2)
    ]
    printed = {process.communicate(timeout=60)[0] for process in started}
    assert [process.returncode for process in started] == [0, 0]
    assert len(printed) == 1
    assert the_folder(place).is_dir()


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """The message names the folder and what to set."""
    (tmp_path / "cache").write_text("a file stands where the folder should")
    with pytest.raises(TextError, match=r"cannot keep the encoded corpus in .*cache.*LMGRID_CACHE"):
        load_text(Made(), Place(tmp_path, tmp_path / "cache"), "key")
