"""A record as the bytes of its file: sealed, read again, and held against what it states."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from lmgrid.records.conversion import convert, unknown_field
from lmgrid.records.record import (
    Failure,
    KernelRecord,
    NewerRecordError,
    Outcome,
    Record,
    RecordError,
)

SCHEMA = 3  # goes up with each change of what is stored; conversion.py reads what is older
KINDS: dict[str, type[Any]] = {"record": Record, "kernel": KernelRecord, "failure": Failure}


class Envelope(msgspec.Struct, frozen=True):
    """A file of the store: a body, and what proves that it is whole and in its place."""

    kind: str
    schema: int
    address: str
    sha256: str  # of kind, schema and the body's bytes
    body: msgspec.Raw


_ENCODER = msgspec.json.Encoder(order="deterministic")
_ENVELOPE = msgspec.json.Decoder(Envelope)
_BODIES = {kind: msgspec.json.Decoder(made) for kind, made in KINDS.items()}


def seal(outcome: Outcome) -> bytes:
    """Return an outcome as the bytes of its file."""
    kind = next(kind for kind, made in KINDS.items() if isinstance(outcome, made))
    try:
        body = _ENCODER.encode(outcome)
        _BODIES[kind].decode(body)
    except (TypeError, msgspec.MsgspecError) as error:
        raise RecordError(f"what came out cannot be recorded: {error}") from None
    digest = _content_hash(kind, SCHEMA, body)
    return _ENCODER.encode(
        Envelope(kind, SCHEMA, outcome.inputs.address, digest, msgspec.Raw(body))
    )


def unseal(data: bytes, name: str) -> Outcome:
    """Return what the file of that name holds; RecordError says why it is not to be trusted.

    A record of a newer lmgrid is told as such, one of an older lmgrid is converted, and one that
    does not have the hash or the address that it states is damaged.
    """
    try:
        envelope = _ENVELOPE.decode(data)
        body = bytes(envelope.body)
        if _content_hash(envelope.kind, envelope.schema, body) != envelope.sha256:
            raise RecordError("is altered: it does not have the sha256 that it states")
        if envelope.schema > SCHEMA:
            raise NewerRecordError(f"it has schema {envelope.schema}, this one reads {SCHEMA}")
        if envelope.schema < 1:
            raise RecordError(f"has schema {envelope.schema}, which no lmgrid wrote")
        if envelope.kind not in KINDS:
            raise NewerRecordError(f"it is of the kind {envelope.kind!r}")
        outcome = _read(envelope.kind, envelope.schema, body)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"is torn or altered ({error}); delete it, and the next run makes it again"
        ) from None
    address = outcome.inputs.address
    if not address == envelope.address == name:
        raise RecordError(f"stands in the wrong place: its inputs have the address {address}")
    return outcome


def _read(kind: str, schema: int, body: bytes) -> Outcome:
    """Return what a body says; RecordError where it says more than this lmgrid knows of."""
    if schema == SCHEMA:
        outcome: Outcome = _BODIES[kind].decode(body)
        if _ENCODER.encode(outcome) == body:
            return outcome
        plain = msgspec.json.decode(body)
    else:
        plain = convert(msgspec.json.decode(body), schema, SCHEMA)
        outcome = msgspec.convert(plain, KINDS[kind])
    if field := unknown_field(plain, msgspec.to_builtins(outcome)):
        raise NewerRecordError(f"it has the field {field!r}, which this one does not know")
    return outcome


def _content_hash(kind: str, schema: int, body: bytes) -> str:
    return hashlib.sha256(f"{kind} {schema}\n".encode() + body).hexdigest()
