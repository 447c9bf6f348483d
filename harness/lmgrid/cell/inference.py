"""Loads a stored model with its vocabulary, and samples and predicts from it."""

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
    """Write the vocabulary of a corpus and its train counts into a folder of weights."""
    saved = _SavedVocabulary(text.vocabulary, tuple(map(int, text.counts)))
    (folder / VOCABULARY).write_bytes(msgspec.json.encode(saved))


@dataclass(frozen=True)
class StoredModel:
    """A loaded model and the vocabulary of the corpus that it was trained on."""

    model: Predicts
    vocabulary: Vocabulary


def load_model(store: Store, record: Record, registry: Registry) -> StoredModel:
    """Return the model of a record.

    Raises UserError if the weights were not kept or are damaged, or if the model cannot predict.
    """
    folder = store.model_folder(record.inputs.address)
    part = registry.model(record.cell.model)
    if not (folder / VOCABULARY).exists():
        raise UserError(
            f"{folder}: the model was not kept; run the grid again without --discard-models in "
            "another results folder"
        )
    if damage := next(store.verify_model(record.inputs.address), None):
        raise UserError(f"{damage.path}: {damage.reason}")
    data = (folder / VOCABULARY).read_bytes()
    saved = msgspec.json.decode(data, type=_SavedVocabulary)
    counts = np.array(saved.counts, dtype=np.int64)
    model = part.make(
        Context(
            vocabulary=saved.vocabulary, counts=counts, seed=0, device="cpu", cache=cache_folder()
        )
    )
    if not (isinstance(model, Stored) and isinstance(model, Predicts)):
        raise UserError(f"{record.cell.model.name!r} cannot predict the next token")
    model.load(folder)
    return StoredModel(model, saved.vocabulary)


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling.

    ``length`` is in tokens. ``temperature`` divides the log probabilities; 0 always takes the
    most probable token.
    """

    length: int
    temperature: float
    seed: int


def sample(stored: StoredModel, prompt: Tokens, how: Sampling) -> Tokens:
    """Return ``how.length`` tokens that continue a prompt, int32; ``<unk>`` is never drawn.

    Each token is drawn given all tokens before it.

    >>> class Bigram:
    ...     def next_log_probs(self, context):
    ...         with np.errstate(divide="ignore"):
    ...             p = [0.0, 0.1, 0.2, 0.7] if context[-1] == 2 else [0.0, 0.1, 0.9, 0.0]
    ...             return np.log(p)
    >>> stored = StoredModel(Bigram(), Vocabulary(("<unk>", "<eos>", "the", "cat")))
    >>> prompt = stored.vocabulary.encode("the")
    >>> sample(stored, prompt, Sampling(length=3, temperature=0, seed=0))
    array([3, 2, 3], dtype=int32)
    """
    rng = np.random.default_rng(how.seed)
    tokens = list(prompt)
    for _ in range(how.length):
        logs = np.array(stored.model.next_log_probs(np.array(tokens, dtype=np.int32)))
        logs[UNK] = -np.inf
        tokens.append(_draw(logs, how.temperature, rng))
    return np.array(tokens[len(prompt) :], dtype=np.int32)


def _draw(logs: LogProbs, temperature: float, rng: np.random.Generator) -> int:
    if np.isneginf(logs).all():
        return EOS  # no token has a probability above 0: end the sentence
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
    """Return the ``count`` most probable next tokens after a context, most probable first."""
    logs = stored.model.next_log_probs(context)
    best = np.argsort(-logs, kind="stable")[:count]
    words = stored.vocabulary.words
    return tuple(Guess(str(words[i]), float(np.exp(logs[i]))) for i in best)
