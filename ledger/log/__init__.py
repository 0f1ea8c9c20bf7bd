"""The transparency log: events at fixed places in one Merkle tree, and signed statements of its size and root."""
