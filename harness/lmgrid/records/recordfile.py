"""Encodes outcomes as the content of their files, and decodes and verifies such files."""

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

SCHEMA = 3  # increases with each change of what is stored; conversion.py converts older ones
KINDS: dict[str, type[Any]] = {"record": Record, "kernel": KernelRecord, "failure": Failure}


class Envelope(msgspec.Struct, frozen=True):
    """The content of a file: a body, and the hash and address by which it is verified."""

    kind: str
    schema: int
    address: str
    sha256: str  # of the kind, the schema and the bytes of the body
    body: msgspec.Raw


_ENCODER = msgspec.json.Encoder(order="deterministic")
_ENVELOPE = msgspec.json.Decoder(Envelope)
_BODIES = {kind: msgspec.json.Decoder(type_) for kind, type_ in KINDS.items()}


def encode_outcome(outcome: Outcome) -> bytes:
    """Return the content of the file of an outcome.

    Raises RecordError if the outcome holds a value that JSON cannot.
    """
    kind = next(kind for kind, type_ in KINDS.items() if isinstance(outcome, type_))
    try:
        body = _ENCODER.encode(outcome)
        _BODIES[kind].decode(body)
    except (TypeError, msgspec.MsgspecError) as error:
        raise RecordError(f"the result cannot be recorded: {error}") from None
    digest = _content_hash(kind, SCHEMA, body)
    envelope = Envelope(
        kind=kind,
        schema=SCHEMA,
        address=outcome.inputs.address,
        sha256=digest,
        body=msgspec.Raw(body),
    )
    return _ENCODER.encode(envelope)


def decode_outcome(data: bytes, name: str) -> Outcome:
    """Return the outcome in the content of a file; ``name`` is the file's name without ending.

    An older schema is converted. Raises NewerRecordError if a newer lmgrid wrote the file, and
    RecordError if it is damaged: if its hash is wrong, or if ``name`` is not its address.
    """
    try:
        envelope = _ENVELOPE.decode(data)
        body = bytes(envelope.body)
        if _content_hash(envelope.kind, envelope.schema, body) != envelope.sha256:
            raise RecordError("is altered: it does not have the sha256 that it names")
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
        raise RecordError(f"is in the wrong place: its inputs have the address {address}")
    return outcome


def _read(kind: str, schema: int, body: bytes) -> Outcome:
    """Return the outcome in a body. Raises NewerRecordError if the body has an unknown field."""
    if schema == SCHEMA:
        # A body that is encoded to the same bytes again has no unknown field.
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
