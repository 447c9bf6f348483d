"""Reads a text file, plain or gzip, line by line or in blocks of lines, with line numbers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import NoReturn

from lmgrid_ngram.arpa.writer import ArpaError

CHUNK = 1 << 20  # bytes read at once
_GZIP = b"\x1f\x8b"


class LineReader:
    """The lines of a file, read once from the first to the last."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0  # of the last line returned
        self._chunks = self._read()
        self._rest = b""  # bytes read but not yet returned

    def next(self) -> str:
        """Return the next line that is not blank."""
        text = ""
        while not text:
            end = self._rest.find(b"\n") + 1
            while not end and self._more():
                end = self._rest.find(b"\n") + 1
            if not (line := self._hand_out(end or len(self._rest))):
                why = "the file ends here, without \\end\\; get or write the whole file again"
                self.fail(why, max(self.number, 1))
            self.number += 1
            text = self._decode(line, self.number).strip()
        return text

    def body(self) -> Iterator[bytes]:
        """Yield the lines before the next one that begins with a backslash, in blocks.

        While a block is worked on, ``number`` is that of the line before it.
        """
        while (self._rest or self._more()) and not self._rest.startswith(b"\\"):
            end = self._rest.find(b"\n\\") + 1 or self._rest.rfind(b"\n") + 1
            if not end and self._more():
                continue
            block = self._hand_out(end or len(self._rest))
            self._decode(block, self.number + 1)
            yield block
            self.number += block.count(b"\n")

    def fail(self, why: str, number: int | None = None) -> NoReturn:
        """Raise ArpaError for a line, by default the last one returned."""
        raise ArpaError(f"{self.path}, line {number or self.number}: {why}") from None

    def fields(self, number: int) -> list[str]:
        """Return the fields of one line; reads the file again from its beginning."""
        with self._open() as file:
            return next(islice(file, number - 1, None)).decode().split()

    def _hand_out(self, end: int) -> bytes:
        line, self._rest = self._rest[:end], self._rest[end:]
        return line

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        self._rest += chunk
        return bool(chunk)

    def _read(self) -> Iterator[bytes]:
        try:
            with self._open() as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            number = self.number + self._rest.count(b"\n") + 1
            self.fail(f"the gzip data are damaged ({error}); get or write the file again", number)

    def _open(self) -> gzip.GzipFile | BufferedReader:
        with self.path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
        return gzip.open(self.path) if packed else self.path.open("rb")

    def _decode(self, data: bytes, number: int) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            at = number + data.count(b"\n", 0, error.start)
            byte = f"byte {data[error.start]:#04x}"
            self.fail(f"{byte} is not UTF-8; convert the file (iconv -t UTF-8)", at)
