"""Seeds for each use of randomness, derived by hashing named axes."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *axes: str) -> int:
    """Return a seed for one use (``"initialisation"``, ``"order"``, …) of a cell's seed.

    Cells that differ in other axes than the named ones share it, so that a comparison shares
    its data order. Range 0 to 2**63 - 1.
    """
    text = "\x00".join((str(seed), *axes))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
