"""Trees against a slow recursive reference, a known tree, and the failures that a proof must have."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import ProofInvalid
from evidence.frontier import Frontier
from evidence.merkle import (
    EMPTY_ROOT,
    Subtree,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    root,
)

ENTRIES = [b"entry %d" % i for i in range(70)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def slow_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162, section 2.1.1, and nothing else."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while 2 * half < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:half]) + slow_root(leaves[half:])).digest()


def slow_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = 1
    while 2 * half < len(leaves):
        half *= 2
    if index < half:
        return [*slow_path(index, leaves[:half]), slow_root(leaves[half:])]
    return [*slow_path(index - half, leaves[half:]), slow_root(leaves[:half])]


def subtrees(leaves: list[bytes]) -> Subtree:
    def subtree(level: int, index: int) -> bytes:
        part = leaves[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "only complete subtrees are asked for"
        return slow_root(part)

    return subtree


def test_known_hashes() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_roots_and_paths_equal_the_reference(size: int) -> None:
    leaves = LEAVES[:size]
    assert root(size, subtrees(leaves)) == slow_root(leaves)
    for index in range(size):
        path = inclusion_path(index, size, subtrees(leaves))
        assert path == slow_path(index, leaves)
        check_inclusion(leaves[index], index, size, path, slow_root(leaves))


@pytest.mark.parametrize("new", range(1, 33))
def test_every_log_follows_its_beginnings(new: int) -> None:
    for old in range(1, new + 1):
        path = consistency_path(old, new, subtrees(LEAVES[:new]))
        check_consistency(old, slow_root(LEAVES[:old]), new, slow_root(LEAVES[:new]), path)


@given(st.data())
def test_a_changed_inclusion_proof_fails(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 64))
    index = data.draw(st.integers(0, size - 1))
    leaves = LEAVES[:size]
    path, top = inclusion_path(index, size, subtrees(leaves)), slow_root(leaves)
    how = data.draw(st.sampled_from(["bit", "cut", "longer", "leaf", "index", "root", "swap"]))
    leaf, place = leaves[index], index
    if how == "bit":
        at = data.draw(st.integers(0, len(path) - 1))
        path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
    elif how == "cut":
        path.pop(data.draw(st.integers(0, len(path) - 1)))
    elif how == "longer":
        path.insert(data.draw(st.integers(0, len(path))), LEAVES[-1])
    elif how == "leaf":
        leaf = LEAVES[-1]
    elif how == "index":
        place = data.draw(st.integers(-2, size + 1).filter(lambda i: i != index))
    elif how == "root":
        top = slow_root(LEAVES[: size + 1])
    elif len(path) > 1:
        path[0], path[1] = path[1], path[0]
    else:
        return
    with pytest.raises(ProofInvalid):
        check_inclusion(leaf, place, size, path, top)


@given(st.data())
def test_a_rewritten_log_does_not_follow(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 48))
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    forged = [leaf_hash(b"forged") if i == changed else leaf for i, leaf in enumerate(LEAVES[:new])]
    path = consistency_path(old, new, subtrees(forged))
    with pytest.raises(ProofInvalid):
        check_consistency(old, slow_root(LEAVES[:old]), new, slow_root(forged), path)


@given(st.integers(2, 60), st.data())
def test_a_changed_consistency_proof_fails(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    path = consistency_path(old, new, subtrees(LEAVES[:new]))
    how = data.draw(st.sampled_from(["bit", "cut", "longer", "sizes"]))
    if how == "bit":
        at = data.draw(st.integers(0, len(path) - 1))
        path[at] = path[at][:-1] + bytes([path[at][-1] ^ 128])
    elif how == "cut":
        path.pop()
    elif how == "longer":
        path.append(LEAVES[-1])
    with pytest.raises(ProofInvalid):
        check_consistency(
            old, slow_root(LEAVES[:old]), new + (how == "sizes"), slow_root(LEAVES[: new + (how == "sizes")]), path
        )


def test_sizes_that_no_log_has() -> None:
    with pytest.raises(ProofInvalid, match="no entry 3"):
        inclusion_path(3, 3, subtrees(LEAVES))
    with pytest.raises(ProofInvalid, match="none leads"):
        consistency_path(4, 3, subtrees(LEAVES))
    with pytest.raises(ProofInvalid, match="cannot lead"):
        check_consistency(4, EMPTY_ROOT, 3, EMPTY_ROOT, [])


def test_the_empty_log_and_equal_logs() -> None:
    for old, old_root, path in (
        (0, EMPTY_ROOT, []),
        (0, EMPTY_ROOT, [LEAVES[0]]),
        (5, slow_root(LEAVES[1:6]), []),
        (5, slow_root(LEAVES[:5]), [LEAVES[0]]),
    ):
        with pytest.raises(ProofInvalid):
            check_consistency(old, old_root, 5, slow_root(LEAVES[:5]), path)
    with pytest.raises(ProofInvalid):
        consistency_path(0, 5, subtrees(LEAVES))


def test_paths_differ_from_entry_to_entry() -> None:
    paths = [tuple(inclusion_path(i, 16, subtrees(LEAVES[:16]))) for i in range(16)]
    assert all(a != b for a, b in pairwise(paths))


def test_what_is_wrong_with_an_inclusion_proof_is_named() -> None:
    path, top = inclusion_path(5, 13, subtrees(LEAVES[:13])), slow_root(LEAVES[:13])
    for changed, told in (
        ([*path, LEAVES[0]], "it is too long"),
        ([*path, *path], "it is too long"),
        (path[:-1], "it is too short"),
        ([], "it is too short"),
        ([path[0][:-1], *path[1:]], "no hash of 32 bytes"),
        ([*path[:-1], path[-1] + b"0"], "no hash of 32 bytes"),
        ([LEAVES[60], *path[1:]], "it leads to another root"),
    ):
        with pytest.raises(ProofInvalid, match=told):
            check_inclusion(LEAVES[5], 5, 13, changed, top)
    with pytest.raises(ProofInvalid, match="no hash of 32 bytes"):
        check_inclusion(LEAVES[5] + b"0", 5, 13, path, top)


def test_what_is_wrong_with_a_consistency_proof_is_named() -> None:
    old, new = slow_root(LEAVES[:6]), slow_root(LEAVES[:13])
    path = consistency_path(6, 13, subtrees(LEAVES[:13]))
    for changed, told in (
        ([*path, LEAVES[0]], "it is too long"),
        (path[:-1], "it is too short"),
        ([], "it is too short"),
        ([path[0][:-1], *path[1:]], "no hash of 32 bytes"),
        ([*path[:-1], LEAVES[0]], "it leads to another new root"),
        ([LEAVES[0], *path[1:]], "it leads to another old root"),
    ):
        with pytest.raises(ProofInvalid, match=told):
            check_consistency(6, old, 13, new, changed)
    for roots in ((old[:-1], new), (old, new + b"0")):
        with pytest.raises(ProofInvalid, match="no hash of 32 bytes"):
            check_consistency(6, roots[0], 13, roots[1], path)
    # An old tree that is a complete subtree is not repeated in the proof, so none at all is a proof that is cut short.
    with pytest.raises(ProofInvalid, match="it is too short"):
        check_consistency(4, slow_root(LEAVES[:4]), 13, new, [])


def test_a_tree_that_grows_has_the_same_roots_and_names_what_each_leaf_ends() -> None:
    tree, ended = Frontier(), []
    assert tree.root() == slow_root([])
    for size, leaf in enumerate(LEAVES, start=1):
        ended += tree.add(leaf)
        assert (tree.size, tree.root()) == (size, slow_root(LEAVES[:size]))
    complete = {(level, index) for level in range(7) for index in range(len(LEAVES) >> level)}
    assert sorted(complete) == sorted((level, index) for level, index, _ in ended)
    subtree = subtrees(LEAVES)
    assert all(found == subtree(level, index) for level, index, found in ended)
