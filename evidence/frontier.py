"""A Merkle tree that leaves are added to one by one, keeping only the roots of its complete subtrees."""

from evidence.merkle import EMPTY_ROOT, node_hash


class Frontier:
    """Memory grows with the logarithm of the size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []  # (level, root), levels falling

    def add(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf hash; return the complete subtrees that it ends: (level, index, root), the leaf first."""
        level, found, ended = 0, leaf, [(0, self.size, leaf)]
        self.size += 1
        while self._peaks and self._peaks[-1][0] == level:
            found = node_hash(self._peaks.pop()[1], found)
            level += 1
            ended.append((level, (self.size >> level) - 1, found))
        self._peaks.append((level, found))
        return ended

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            found = node_hash(peak, found)
        return found
