"""Reading the log's tree from the database: hashes of complete subtrees, for roots and proofs.

Leaves are rows. Of the levels above, only those whose number is a multiple of 8 are stored (a node over 256 below it);
the others are computed from at most 256 rows, which are read once and kept while the reader lives.
"""

from __future__ import annotations

from sqlalchemy import select

from evidence.merkle import consistency_path, inclusion_path, node_hash, root
from ledger.database import Transaction
from ledger.errors import LogDamaged
from ledger.tables import Leaf, LogNode

TILE_LEVELS = 8
TILE = 1 << TILE_LEVELS


class StoredTree:
    """The tree as one transaction sees it."""

    def __init__(self, tx: Transaction) -> None:
        self._session = tx.session
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def root(self, size: int) -> bytes:
        """Return the root over the first `size` leaves."""
        return root(size, self._subtree)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the path of leaf `index` in the log of `size` entries. Raises ProofInvalid."""
        return inclusion_path(index, size, self._subtree)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the path from the log of `old` entries to that of `new`. Raises ProofInvalid."""
        return consistency_path(old, new, self._subtree)

    def complete_tile(self, level: int, tile: int) -> bytes:
        """Return the node over 256 nodes of `level` (a multiple of 8) from number 256 * tile on."""
        return self._subtree(level + TILE_LEVELS, tile, stored=False)

    def _subtree(self, level: int, index: int, *, stored: bool = True) -> bytes:
        """Return the root over leaves index * 2^level to (index + 1) * 2^level - 1, which must all be there.

        Raises LogDamaged.
        """
        base = level - level % TILE_LEVELS if stored else level - TILE_LEVELS
        width = 1 << (level - base)
        first = index * width
        nodes = self._tile(base, first // TILE)[first % TILE : first % TILE + width]
        if len(nodes) != width:
            raise LogDamaged(f"entries below node {index} of level {level} are missing")
        while len(nodes) > 1:
            nodes = [node_hash(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
        return nodes[0]

    def _tile(self, level: int, tile: int) -> list[bytes]:
        """Return up to 256 neighbouring nodes of a stored level, in order."""
        if (level, tile) not in self._tiles:
            first, last = tile * TILE, tile * TILE + TILE - 1
            if level == 0:
                query = select(Leaf.leaf_hash).where(Leaf.position.between(first, last)).order_by(Leaf.position)
            else:
                query = (
                    select(LogNode.hash)
                    .where(LogNode.level == level, LogNode.position.between(first, last))
                    .order_by(LogNode.position)
                )
            self._tiles[level, tile] = list(self._session.execute(query).scalars())
        return self._tiles[level, tile]
