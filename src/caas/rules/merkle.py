"""Append-only Merkle trees as defined in RFC 6962 (decision 118).

A root commits to every leaf and their order. A growing tree stores only its peaks: the roots of its
full subtrees, largest first, one for each set bit of its size.

Rule a change must keep: roots and leaves follow RFC 6962, section 2.1, with SHA-256, so that
standard tools can verify them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

DIGEST_BYTES: Final = 32


def leaf_digest(content: bytes) -> bytes:
    """Return the digest of a leaf."""
    return hashlib.sha256(b"\x00" + content).digest()


class GrowingTree:
    """A Merkle tree that supports appending leaves."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Resume from a tree of this size with these peaks."""
        assert len(peaks) == size.bit_count(), "a peak for each bit of the size"
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of its full subtrees, the largest first."""
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Append the digest of one leaf."""
        carried, height = leaf, self.size
        while height & 1:
            carried = _node(self._peaks.pop(), carried)
            height >>= 1
        self._peaks.append(carried)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The root over all leaves."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        *others, root = self._peaks
        for peak in reversed(others):
            root = _node(peak, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over the digests of these leaves."""
    tree = GrowingTree()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
