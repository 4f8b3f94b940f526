"""Signed heads and their Merkle trees: a daily commitment to the history (decision 118).

A head commits to every append-only table. Trees are those of RFC 6962: a root commits to every leaf
and their order. A growing tree stores only its peaks: the roots of its full subtrees, largest
first, one for each set bit of its size.

Rules a change must keep: the signed text is the head's JSON with sorted names and no spaces; each
head contains the digest of the previous one, so the newest commits to all; roots and leaves follow
RFC 6962, section 2.1, with SHA-256, so that standard tools can verify them.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from caas.rules.vehicle_signatures import PUBLIC_KEY_BYTES, signed_with

KEY_ID_CHARACTERS: Final = 16


class NoHeadError(ValueError):
    """The text is not a signed head."""


@dataclass(frozen=True, slots=True)
class TableHead:
    """A table's row count and the Merkle root of its rows in hexadecimal."""

    rows: int
    root: str


NOT_READ: Final = (
    ValueError, LookupError, TypeError, AssertionError, AttributeError, RecursionError,
)  # fmt: skip
"""Exceptions that malformed data can raise."""


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head and its signature; key and signature are base64."""

    body: str
    public_key: str
    signature: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a head file.

        Raises:
            NoHeadError: the text is not a head.
        """
        try:
            data = json.loads(text)
            found = cls(canonical(data["head"]), data["public_key"], data["signature"])
            assert found.number > 0, "heads are counted from one"
            _ = found.tables, found.digest_before, base64.b64decode(found.public_key, validate=True)
        except NOT_READ as error:
            raise NoHeadError from error
        return found

    @property
    def text(self) -> str:
        """The text of the head file."""
        data = {"head": self._data, "public_key": self.public_key, "signature": self.signature}
        return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def number(self) -> int:
        """The head's number, counted from one."""
        return int(self._data["head"])

    @property
    def made_at(self) -> str:
        """The time of creation, as stated in the head."""
        return str(self._data["made_at"])

    @property
    def digest_before(self) -> str:
        """The digest of the previous head, empty for the first."""
        return str(self._data["previous"])

    @property
    def digest(self) -> str:
        """The digest that the next head contains."""
        return hashlib.sha256(self.body.encode()).hexdigest()

    @property
    def tables(self) -> Mapping[str, TableHead]:
        """The commitment to each table."""
        return {
            str(name): TableHead(int(it["rows"]), str(it["root"]))
            for name, it in self._data["tables"].items()
        }

    @property
    def key_id(self) -> str:
        """The id of the signing key."""
        public = base64.b64decode(self.public_key)
        return hashlib.sha256(public).hexdigest()[:KEY_ID_CHARACTERS]

    @property
    def is_signed(self) -> bool:
        """Whether the signature is valid for the key."""
        try:
            public, signature = map(base64.b64decode, (self.public_key, self.signature))
        except binascii.Error:
            return False
        return signed_with(public, signature=signature, text=self.body)

    @property
    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)
        return data


def is_public_key(text: str) -> bool:
    """Return whether the text is a base64 public key."""
    try:
        return len(base64.b64decode(text, validate=True)) == PUBLIC_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def body_of(
    number: int, *, made_at: str, digest_before: str, tables: Mapping[str, TableHead]
) -> str:
    """Return the text of a head to sign."""
    return canonical(
        {
            "head": number,
            "made_at": made_at,
            "previous": digest_before,
            "tables": {name: {"rows": it.rows, "root": it.root} for name, it in tables.items()},
        }
    )


def canonical(data: object) -> str:
    """Return the canonical JSON text that is signed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


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
