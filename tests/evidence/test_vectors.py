"""Test vectors of other implementations, from a folder `vectors/rfc6962` beside the project, where there is one.

The recursive reference in test_merkle.py is what every run relies on; these are a second opinion.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from evidence.errors import ProofInvalid
from evidence.merkle import check_consistency, check_inclusion

FOLDERS = sorted(Path(__file__).resolve().parents[3].glob("*/vectors/rfc6962"))
VECTORS = [path for folder in FOLDERS for path in sorted(folder.rglob("*.json"))]


def unpack(value: str | None) -> bytes:
    return base64.b64decode(value or "")


@pytest.mark.skipif(not VECTORS, reason="no folder of vectors beside the project")
def test_vectors() -> None:
    refused = {True: 0, False: 0}
    for path in VECTORS:
        vector = json.loads(path.read_text())
        proof = [unpack(step) for step in vector["proof"] or []]
        try:
            if "leafHash" in vector:
                check_inclusion(
                    unpack(vector["leafHash"]), vector["leafIdx"], vector["treeSize"], proof, unpack(vector["root"])
                )
            else:
                sizes = vector["size1"], vector["size2"]
                check_consistency(sizes[0], unpack(vector["root1"]), sizes[1], unpack(vector["root2"]), proof)
        except ProofInvalid:
            assert vector["wantErr"], path
        else:
            assert not vector["wantErr"], path
        refused[vector["wantErr"]] += 1
    assert min(refused.values()) > 0
