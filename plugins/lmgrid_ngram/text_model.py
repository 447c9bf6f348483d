"""An n-gram model with its words: learns, scores, predicts and samples text without a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS
from lmgrid_ngram.arpa.reader import read_arpa
from lmgrid_ngram.arpa.writer import write_arpa
from lmgrid_ngram.counting.encoder import Encoder, by_frequency
from lmgrid_ngram.model import NGramModel
from lmgrid_ngram.scoring import storage
from lmgrid_ngram.scoring.backoff import BackoffModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import LogProbs
    from lmgrid_ngram.parts import NGramPart

WORDS = "words.txt"


@dataclass(frozen=True)
class TextModel:
    """A backoff model with the word of each of its ids.

    >>> from lmgrid_ngram.parts import NGramPart
    >>> model = TextModel.learn(b"a b\\na c\\n", NGramPart(order=2, smoothing="mle"))
    >>> model.predict("a", top=2)
    [('b', 0.5), ('c', 0.5)]
    """

    words: tuple[bytes, ...]
    model: BackoffModel

    @classmethod
    def learn(cls, text: bytes, options: NGramPart) -> TextModel:
        """Estimate a model from UTF-8 text, a sentence a line, words separated by white space."""
        encoder = Encoder()
        tokens = encoder.learn(text)
        words, tokens = by_frequency(encoder.words(), tokens)
        del encoder
        model = NGramModel(options, len(words))
        model.learn(tokens)
        return cls(tuple(words), model.fitted)

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self.words)

    def score(self, text: bytes) -> LogProbs:
        """Return ln p of each word and each line end, in the order of the text, shape (n,)."""
        return self.model.score(self.encoder.encode(text))

    def predict(self, context: str, top: int = 10) -> list[tuple[str, float]]:
        """Return the ``top`` likeliest next words after a context with their probabilities.

        The context is the beginning of a sentence; ``<eos>`` is its end.
        """
        p = self.model.next_probabilities([self._context(context)])[0]
        best = np.argsort(-p, kind="stable")[:top]
        return [(self.words[i].decode(), float(p[i])) for i in best]

    def sample(self, tokens: int, seed: int, context: str = "") -> str:
        """Return a random text of ``tokens`` words and line ends, each drawn given those before."""
        random = np.random.default_rng(seed)
        ids = self._context(context)
        for _ in range(tokens):
            p = self.model.next_probabilities([ids])[0]
            ids = np.append(ids, np.int32(random.choice(len(p), p=p / p.sum())))
        words = [b"\n" if i == EOS else self.words[i] for i in ids]
        return b" ".join(words).decode().replace(" \n ", "\n").replace(" \n", "\n")

    def _context(self, text: str) -> NDArray[np.int32]:
        return self.encoder.encode(text.encode())[:-1]

    def save(self, folder: Path) -> None:
        """Write the model into an existing folder."""
        (folder / WORDS).write_bytes(b"\n".join(self.words))
        storage.save(self.model, folder)

    @classmethod
    def load(cls, folder: Path) -> TextModel:
        return cls(tuple((folder / WORDS).read_bytes().split(b"\n")), storage.load(folder))

    def write_arpa(self, path: Path) -> None:
        write_arpa(self.model, [word.decode() for word in self.words], path)

    @classmethod
    def read_arpa(cls, path: Path) -> TextModel:
        arpa = read_arpa(path)
        return cls(tuple(word.encode() for word in arpa.words), arpa.model)
