"""A head of the history: what every append-only table came to on one day, signed (decision 118).

Rules a change must keep: what is signed is the JSON of the head with its names in order and no
space; a head names the digest of the one before it, so that the newest vouches for all.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from caas.rules.vehicle_signatures import PUBLIC_KEY_BYTES, signed_with

KEY_ID_CHARACTERS: Final = 16


class NoHeadError(ValueError):
    """This text is no head."""


@dataclass(frozen=True, slots=True)
class TableHead:
    """What a table came to: how many rows, and the root over their digests, in hexadecimal."""

    rows: int
    root: str


NOT_READ: Final = (
    ValueError, LookupError, TypeError, AssertionError, AttributeError, RecursionError,
)  # fmt: skip
"""What data of another shape end in."""


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head and its signature; key and signature are base64."""

    body: str
    public_key: str
    signature: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a file.

        Raises:
            NoHeadError: it is no head.
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
        """The text of its file."""
        data = {"head": self._data, "public_key": self.public_key, "signature": self.signature}
        return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def number(self) -> int:
        """Which head this is, counted from one."""
        return int(self._data["head"])

    @property
    def made_at(self) -> str:
        """When it was made, as it says itself."""
        return str(self._data["made_at"])

    @property
    def digest_before(self) -> str:
        """The digest of the head before it, empty for the first."""
        return str(self._data["previous"])

    @property
    def digest(self) -> str:
        """What the next head holds of this one."""
        return hashlib.sha256(self.body.encode()).hexdigest()

    @property
    def tables(self) -> Mapping[str, TableHead]:
        """What each table came to."""
        return {
            str(name): TableHead(int(it["rows"]), str(it["root"]))
            for name, it in self._data["tables"].items()
        }

    @property
    def key_id(self) -> str:
        """The id of the key that should have signed it."""
        public = base64.b64decode(self.public_key)
        return hashlib.sha256(public).hexdigest()[:KEY_ID_CHARACTERS]

    @property
    def is_signed(self) -> bool:
        """Whether its key signed it."""
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
    """Say whether this is a public key in base64."""
    try:
        return len(base64.b64decode(text, validate=True)) == PUBLIC_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def body_of(
    number: int, *, made_at: str, digest_before: str, tables: Mapping[str, TableHead]
) -> str:
    """Return the text of a head that is to be signed."""
    return canonical(
        {
            "head": number,
            "made_at": made_at,
            "previous": digest_before,
            "tables": {name: {"rows": it.rows, "root": it.root} for name, it in tables.items()},
        }
    )


def canonical(data: object) -> str:
    """Return the one text of these data that is signed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
