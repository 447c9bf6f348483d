"""The hash of a file or folder: by bytes, and by names in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmgrid.source import filehash
from lmgrid.source.filehash import digest_of

OLD = 10**9  # seconds since 1970
LARGE = b"x" * filehash.SMALL


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("lmgrid.source.disk_cache.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.parametrize("data", [b"", b"a\r\n", LARGE])
def test_a_files_name_and_place_do_not_count(tmp_path: Path, data: bytes) -> None:
    """Its bytes do, line ends among them."""
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "other").write_bytes(data + b"\n")
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "other")
    assert len(digest_of(tmp_path / "one")) == 32


def test_a_folder_counts_by_the_names_in_it_and_their_bytes(tmp_path: Path) -> None:
    """Not by its own name."""
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a").write_bytes(b"1")
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    (tmp_path / "two/deep/a").rename(tmp_path / "two/deep/b")
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "two")


def test_a_folder_counts_with_the_folders_that_links_lead_to(tmp_path: Path) -> None:
    """As if they stood in it; also a link in a folder that a link leads to."""
    for folder in ("real/deep", "further", "one/weights/deep/more", "two"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("further/a", "one/weights/deep/more/a"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "real/deep/more").symlink_to(tmp_path / "further")
    (tmp_path / "two/weights").symlink_to("../real")
    before = digest_of(tmp_path / "two")
    assert digest_of(tmp_path / "one") == before
    (tmp_path / "further/a").write_bytes(b"2")
    assert digest_of(tmp_path / "two") != before


def test_a_link_in_a_circle_counts_by_the_name_that_it_leads_to(tmp_path: Path) -> None:
    """So does one that leads nowhere; wherever the folder stands."""
    links = {"up": "..", "self": ".", "broken": "absent", "loop": "loop"}
    for folder in ("one", "two", "three"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for name, target in links.items():
            (tmp_path / folder / "deep" / name).symlink_to(target)
        (tmp_path / folder / "round").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "outside")
    before = digest_of(tmp_path / "one")
    assert digest_of(tmp_path / "two") == before
    (tmp_path / "three/deep/broken").unlink()
    (tmp_path / "three/deep/broken").symlink_to("other")
    assert digest_of(tmp_path / "three") != before


def test_every_file_of_a_folder_counts(tmp_path: Path) -> None:
    """It is data, whatever its name; what is neither file nor link is none."""
    found = {digest_of(tmp_path)}
    for name in (".hidden/a", "__pycache__/a.pyc", "a~"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
        found.add(digest_of(tmp_path))
    assert len(found) == 4
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").mkdir()
    assert digest_of(tmp_path) in found


@pytest.mark.parametrize("name", ["absent", "fifo"])
def test_what_is_no_file_is_an_error(tmp_path: Path, name: str) -> None:
    """It would be read for ever, or is not there."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileNotFoundError if name == "absent" else OSError):
        digest_of(tmp_path / name)


@pytest.mark.parametrize("settled", [True, False])
def test_a_large_file_is_read_once_unless_it_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    """A file may change again within one tick of its clock."""
    monkeypatch.setattr(filehash, "SETTLED", -OLD if settled else OLD**2)
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    before = digest_of(path)
    monkeypatch.setattr(filehash, "_hash_chunks", lambda path: "read again")
    assert digest_of(path) == (before if settled else "read again")


def test_an_edit_shows_though_the_time_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a file's last change of state cannot be set."""
    monkeypatch.setattr(filehash, "SETTLED", -(10**12))
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    os.utime(path, (OLD, OLD))
    before = digest_of(path)
    path.write_bytes(LARGE[:-1] + b"y")
    os.utime(path, (OLD, OLD))
    assert digest_of(path) != before
