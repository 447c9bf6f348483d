"""WikiText-2, as it is distributed: tokenised, with its rare words already ``<unk>``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgrid.spec import Place
from lmgrid.text import RawText, TextCorpusPart, TextError
from lmgrid.vocabulary import SPLITS
from lmgrid_text.archive import Archive, locate

USUAL = ("wikitext-2", "wikitext-2.zip", "wikitext-2-v1", "wikitext-2-v1.zip")


@dataclass(frozen=True, kw_only=True)
class WikiText2Part(TextCorpusPart):
    """WikiText-2: good and featured articles of the English Wikipedia (Merity et al. 2016).

    Licence: CC BY-SA 3.0. Size: 2,088,628 training, 217,646 validation and 245,569 test tokens,
    line ends included; 33,278 types; 13 MB. Not shipped: get wikitext-2-v1.zip.

    Every line is a sentence, including blank lines and headings (`` = Title = ``). ``<unk>`` in the
    text is the unknown word.

    ``path`` contains train.txt, valid.txt and test.txt, or wiki.train.tokens, wiki.valid.tokens and
    wiki.test.tokens. Without it, the corpus is read from wikitext-2, wikitext-2-v1 or either with
    .zip in the folder named by the environment variable LMGRID_DATA.

    ``tokens``, ``lowercase``, ``min_count`` and ``vocabulary`` set how the text becomes tokens.
    """

    digests_files: ClassVar[bool] = True
    digests: ClassVar[tuple[str, ...]] = (  # sha256 of train, valid and test
        "728c77e87e176af4730f9a80fc6008bcaff421a7202c1c048877c0eec3685f89",
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    )

    path: Annotated[
        Path | None,
        Meta(description="Folder or zip file of the corpus; by default one in LMGRID_DATA."),
    ] = None

    def digest(self, place: Place) -> str:
        self._contents(place)
        return hashlib.sha256("\n".join(self.digests).encode()).hexdigest()

    def read(self, place: Place) -> RawText:
        train, valid, test = (data.decode() for data in self._contents(place))
        return RawText(train, valid, test)

    def _contents(self, place: Place) -> list[bytes]:
        """Return train, valid and test. Raises TextError if one is not the published file."""
        archive = Archive(locate(self.path, USUAL, place))
        names = [_find(archive, split) for split in SPLITS]
        contents = archive.read(names)
        for name, data, expected in zip(names, contents, self.digests, strict=True):
            digest = hashlib.sha256(data).hexdigest()
            if digest != expected:
                raise TextError(
                    f"{name} in {archive.path} is not WikiText-2's: sha256 {digest}, "
                    f"expected {expected}; get wikitext-2-v1.zip (not the raw one)"
                )
        return contents


def _find(archive: Archive, split: str) -> str:
    wanted = (f"{split}.txt", f"wiki.{split}.tokens")
    for name in archive.names():
        if PurePosixPath(name).name in wanted:
            return name
    raise TextError(f"{archive.path} holds neither {wanted[0]} nor {wanted[1]}")
