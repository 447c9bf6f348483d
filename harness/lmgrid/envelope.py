"""A record as the bytes of its file: sealed, read again, and held against what it states."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from lmgrid.record import SCHEMA, Failure, KernelRecord, Outcome, Record, RecordError

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


def unseal(data: bytes) -> tuple[Outcome, Envelope]:
    """Return what a file holds, without checking its hash; RecordError says what is wrong."""
    try:
        envelope = _ENVELOPE.decode(data)
        if envelope.schema > SCHEMA:
            raise RecordError(
                f"has schema {envelope.schema}, newer than {SCHEMA}, the newest that this lmgrid "
                "reads; install a newer lmgrid"
            )
        return _BODIES[envelope.kind].decode(envelope.body), envelope
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError) as error:
        raise RecordError(
            f"is torn or altered ({error}); delete it, and the next run makes it again"
        ) from None


def faults(data: bytes, name: str) -> str:
    """Return what is wrong with a file of that name, or nothing: hash, address and form."""
    try:
        outcome, envelope = unseal(data)
    except RecordError as error:
        return str(error)
    found = _content_hash(envelope.kind, envelope.schema, bytes(envelope.body))
    if found != envelope.sha256:
        return "is altered: it does not have the sha256 that it states"
    address = outcome.inputs.address
    if not address == envelope.address == name:
        return f"stands in the wrong place: its inputs have the address {address}"
    return ""


def _content_hash(kind: str, schema: int, body: bytes) -> str:
    return hashlib.sha256(f"{kind} {schema}\n".encode() + body).hexdigest()
