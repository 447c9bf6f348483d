"""The language model of a grid that is read from an ARPA file and not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmgrid.checksum import sha256
from lmgrid_ngram.arpa.reader import read_arpa
from lmgrid_ngram.arpa.writer import ArpaError
from lmgrid_ngram.model import BackoffLanguageModel

if TYPE_CHECKING:
    from lmgrid.spec import Tokens
    from lmgrid.vocabulary import Vocabulary
    from lmgrid_ngram.parts import ArpaPart


class ArpaModel(BackoffLanguageModel):
    """The model of an ARPA file, over the ids of a corpus with the same words."""

    def __init__(self, options: ArpaPart, vocabulary: Vocabulary) -> None:
        super().__init__(len(vocabulary))
        self.options = options
        self.words = vocabulary.words

    def learn(self, train: Tokens) -> None:
        """Read the file; ``train`` is not used. ArpaError if the file is missing or differs."""
        path, expected = self.options.path, self.options.sha256
        try:
            found = sha256(path)
        except OSError as error:
            raise ArpaError(
                f"cannot read {path}: {error.strerror}; set the option path to an ARPA file"
            ) from error
        if found != expected:
            raise ArpaError(
                f"{path} has the sha256 {found}, not {expected}; correct the option path or sha256"
            )
        self._fitted = read_arpa(path, self.words).model
