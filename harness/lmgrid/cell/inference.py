"""A stored model, ready to predict without its corpus: weights and vocabulary of one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from lmgrid.errors import UserError
from lmgrid.machine.environment import cache_folder
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Record
from lmgrid.records.store import Store
from lmgrid.spec import Context, LogProbs, Predicts, Stored, Tokens
from lmgrid.vocabulary import EOS, UNK, Text, Vocabulary

VOCABULARY = "vocabulary.json"


@dataclass(frozen=True)
class _SavedVocabulary:
    vocabulary: Vocabulary
    counts: tuple[int, ...]


def save_vocabulary(folder: Path, text: Text) -> None:
    """Write a corpus's vocabulary and train counts beside the weights."""
    saved = _SavedVocabulary(text.vocabulary, tuple(map(int, text.counts)))
    (folder / VOCABULARY).write_bytes(msgspec.json.encode(saved))


@dataclass(frozen=True)
class StoredModel:
    """A model that says what comes next."""

    model: Predicts
    vocabulary: Vocabulary


def load_model(store: Store, record: Record, registry: Registry) -> StoredModel:
    """Return the model of a record; UserError if it was not kept or cannot predict."""
    folder = store.model_folder(record.inputs.address)
    part = registry.model(record.cell.model)
    if not (folder / VOCABULARY).exists():
        raise UserError(
            f"{folder}: the model was not kept; run the grid again without --discard-models in "
            "another results folder"
        )
    if damage := next(store.damages_of(record.inputs.address), None):
        raise UserError(f"{damage.path}: {damage.reason}")
    data = (folder / VOCABULARY).read_bytes()
    saved = msgspec.json.decode(data, type=_SavedVocabulary)
    counts = np.array(saved.counts, dtype=np.int64)
    model = part.make(Context(saved.vocabulary, counts, 0, "cpu", cache_folder()))
    if not (isinstance(model, Stored) and isinstance(model, Predicts)):
        raise UserError(f"{record.cell.model.name!r} cannot say what comes next")
    model.load(folder)
    return StoredModel(model, saved.vocabulary)


@dataclass(frozen=True)
class Sampling:
    """How to draw: ``temperature`` divides the logarithms; 0 takes the most probable."""

    length: int
    temperature: float
    seed: int


def sample(stored: StoredModel, prompt: Tokens, how: Sampling) -> Tokens:
    """Return so many tokens drawn one after the other, each from all before it; never ``<unk>``."""
    rng = np.random.default_rng(how.seed)
    tokens = list(prompt)
    for _ in range(how.length):
        logs = np.array(stored.model.next_log_probs(np.array(tokens, dtype=np.int32)))
        logs[UNK] = -np.inf
        tokens.append(_draw(logs, how.temperature, rng))
    return np.array(tokens[len(prompt) :], dtype=np.int32)


def _draw(logs: LogProbs, temperature: float, rng: np.random.Generator) -> int:
    if np.isneginf(logs).all():
        return EOS  # nothing was ever seen here: end the sentence
    if temperature == 0:
        return int(logs.argmax())
    weights = np.exp((logs - logs.max()) / temperature)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


@dataclass(frozen=True)
class Guess:
    """A next token and its probability."""

    token: str
    probability: float


def predict(stored: StoredModel, context: Tokens, count: int) -> tuple[Guess, ...]:
    """Return the most probable next tokens, best first."""
    logs = stored.model.next_log_probs(context)
    best = np.argsort(-logs, kind="stable")[:count]
    words = stored.vocabulary.words
    return tuple(Guess(str(words[i]), float(np.exp(logs[i]))) for i in best)
