"""Merkle trees after RFC 9162, section 2.1, with SHA-256: roots, inclusion and consistency proofs, and their checks.

Proofs are made from hashes of *complete subtrees*, which never change once they are full: `subtree(level, index)` is
the root over the leaves index * 2^level to (index + 1) * 2^level - 1. Who stores them need not know this file's
recursion, and a proof reads about 2 log2(n) of them.
"""

import hashlib
from collections.abc import Callable, Sequence

from evidence.errors import ProofInvalid

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Subtree = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(size: int, subtree: Subtree) -> bytes:
    """Return the root over the first `size` leaves."""
    return EMPTY_ROOT if size == 0 else _root(0, size, subtree)


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root of `size` leaves (section 2.1.3.1).

    Raises ProofInvalid: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofInvalid("inclusion", f"a log of {size} entries has no entry {index}")
    return _inclusion(index, 0, size, subtree)


def consistency_path(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that show that the first `old` of `new` leaves are those of the old tree (section 2.1.4.1).

    Raises ProofInvalid: the old tree is empty or larger.
    """
    if not 0 < old <= new:
        raise ProofInvalid("consistency", f"none leads from a log of {old} entries to one of {new}")
    return [] if old == new else _consistency(old, 0, new, subtree, whole=True)


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a proof leads to (section 2.1.3.2). Compare it with the one that you trust.

    Raises ProofInvalid: no such leaf, a path of another length, or what is no hash.
    """
    if not 0 <= index < size:
        raise ProofInvalid("inclusion", f"a log of {size} entries has no entry {index}")
    _check_hashes("inclusion", [leaf, *path])
    position, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            raise ProofInvalid("inclusion", "it is too long")
        if position & 1 or position == last:
            found = node_hash(step, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, step)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofInvalid("inclusion", "it is too short")
    return found


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes) -> None:
    """Raise ProofInvalid unless `leaf` is entry `index` of the log of `size` entries that has this root."""
    if root_of_inclusion(leaf, index, size, path) != expected_root:
        raise ProofInvalid("inclusion", "it leads to another root")


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Raise ProofInvalid unless the new log begins with all entries of the old one (section 2.1.4.2).

    From an empty log nothing can be proved, since every log begins with it.
    """
    if not 0 < old <= new:
        raise ProofInvalid("consistency", f"it cannot lead from a log of {old} entries to one of {new}")
    if old == new:
        if path:
            raise ProofInvalid("consistency", "it is too long")
        if old_root != new_root:
            raise ProofInvalid("consistency", "two logs of the same size have different roots")
        return
    _check_hashes("consistency", [old_root, new_root, *path])
    steps = list(path)
    if old & (old - 1) == 0:  # the old tree is a complete subtree of the new one, and not repeated in the proof
        steps.insert(0, old_root)
    if not steps:
        raise ProofInvalid("consistency", "it is too short")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_found = new_found = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofInvalid("consistency", "it is too long")
        if position & 1 or position == last:
            old_found, new_found = node_hash(step, old_found), node_hash(step, new_found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_found = node_hash(new_found, step)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofInvalid("consistency", "it is too short")
    if old_found != old_root:
        raise ProofInvalid("consistency", "it leads to another old root")
    if new_found != new_root:
        raise ProofInvalid("consistency", "it leads to another new root")


def _check_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if any(len(found) != HASH_SIZE for found in hashes):
        raise ProofInvalid(what, f"it holds something that is no hash of {HASH_SIZE} bytes")


def _split(size: int) -> int:
    """Return the largest power of two below `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _root(start: int, size: int, subtree: Subtree) -> bytes:
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return subtree(level, start >> level)
    left = _split(size)
    return node_hash(_root(start, left, subtree), _root(start + left, size - left, subtree))


def _inclusion(index: int, start: int, size: int, subtree: Subtree) -> list[bytes]:
    if size == 1:
        return []
    left = _split(size)
    if index < left:
        return [*_inclusion(index, start, left, subtree), _root(start + left, size - left, subtree)]
    return [*_inclusion(index - left, start + left, size - left, subtree), _root(start, left, subtree)]


def _consistency(old: int, start: int, size: int, subtree: Subtree, *, whole: bool) -> list[bytes]:
    if old == size:
        return [] if whole else [_root(start, size, subtree)]
    left = _split(size)
    if old <= left:
        return [
            *_consistency(old, start, left, subtree, whole=whole),
            _root(start + left, size - left, subtree),
        ]
    return [
        *_consistency(old - left, start + left, size - left, subtree, whole=False),
        _root(start, left, subtree),
    ]
