"""The sparse non-negative matrix: scores tokens, and can be saved and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_snm.index import Index, Stream, Template

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import LogProbs, Tokens

BLOCK = 1 << 16  # tokens scored at once
FILE = "snm.npz"


@dataclass(frozen=True)
class Matrix:
    """M[i, t] of each link, the sum of each feature's row, and that of the uniform feature."""

    index: Index
    weights: NDArray[np.float32]  # (links,)
    sums: NDArray[np.float64]  # (features,)
    uniform: float  # M[i, *] of the feature that is always active

    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p of each token given those before it in its sentence, shape (n,)."""
        stream = Stream.of(tokens)
        blocks = [self._score(stream, low) for low in range(0, len(stream), BLOCK)]
        return np.concatenate([*blocks, np.zeros(0)])

    def _score(self, stream: Stream, low: int) -> LogProbs:
        past = min(low, max(template.reach for template in self.index.templates))
        block = stream.part(low - past, low + BLOCK)
        features = self.index.active(block)[:, past:]
        links = self.index.linked(features, block.tokens[past + 1 :])
        above = np.full(features.shape[1], self.uniform / self.index.vocabulary)
        below = np.full(features.shape[1], self.uniform)
        for feature, link in zip(features, links, strict=True):
            above += np.where(link >= 0, self.weights[link], 0)
            below += np.where(feature >= 0, self.sums[feature], 0)
        scores: LogProbs = np.log(above / below)
        return scores

    def distribution(self, context: Tokens) -> LogProbs:
        """Return ln p of each word after a context, shape (V,)."""
        reach = max(template.reach for template in self.index.templates)
        past = np.asarray(context, np.int32)[max(len(context) - reach, 0) :]
        stream = Stream.of(np.append(past, 0).astype(np.int32))
        features = self.index.active(stream)[:, -1]
        above = np.full(self.index.vocabulary, self.uniform / self.index.vocabulary)
        below = self.uniform
        for t in np.flatnonzero(features >= 0):
            targets, links = self.index.row(int(t), int(features[t]))
            above[targets] += self.weights[links]
            below += self.sums[features[t]]
        scores: LogProbs = np.log(above / below)
        return scores

    def save(self, folder: Path) -> None:
        """Write the matrix into an existing folder, without pickle."""
        index = self.index
        np.savez(
            folder / FILE,
            allow_pickle=False,
            templates=np.array([(t.parent, t.reach) for t in index.templates]),
            features=np.concatenate(index.features),
            first_features=np.array(index.first_features),
            links=np.concatenate(index.links),
            first_links=np.array(index.first_links),
            weights=self.weights,
            sums=self.sums,
            scalars=np.array([index.vocabulary, self.uniform]),
        )


def load(folder: Path) -> Matrix:
    """Return the matrix that was saved in a folder."""
    with np.load(folder / FILE, allow_pickle=False) as saved:
        vocabulary, uniform = saved["scalars"]
        index = Index(
            templates=tuple(
                Template(int(parent), int(reach)) for parent, reach in saved["templates"]
            ),
            vocabulary=int(vocabulary),
            features=tuple(np.split(saved["features"], saved["first_features"][1:-1])),
            links=tuple(np.split(saved["links"], saved["first_links"][1:-1])),
        )
        return Matrix(
            index=index,
            weights=saved["weights"],
            sums=saved["sums"],
            uniform=float(uniform),
        )
