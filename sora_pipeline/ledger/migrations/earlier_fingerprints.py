"""Fingerprints as each version of the program wrote them: what is paid for must be recognised for ever.

Frozen: outputs and ledgers of those versions hold these hashes. Specs are those of ``ledger.rows.spec_of``.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint_0002(spec: Mapping[str, Any], provider: str) -> str:
    """Until ledgers of schema 0002: the wire format was part of it."""
    return _hash([*_row(spec), provider])


def fingerprint_0003(spec: Mapping[str, Any]) -> str:
    """From schema 0003 on: what decides the picture, and whether it is real."""
    return _hash([*_row(spec), "simulated" if spec["simulated"] else "real"])


def _row(spec: Mapping[str, Any]) -> list[Any]:
    return [spec["prompt"], spec["image_sha256"], spec["duration"], spec["size"], spec["model"]]


def _hash(decisive: list[Any]) -> str:
    return hashlib.sha256(json.dumps(decisive, ensure_ascii=False).encode()).hexdigest()
