"""Everything the simulated Stripe remembers: objects by id, in memory and in one SQLite file.

Rules: an object is a dict as it goes on the wire; fields that begin with `_` are our own and are
never shown; what a request changed is written in one transaction before it is answered.
"""

import random
import sqlite3
import string
from collections.abc import Iterator
from pathlib import Path

import msgspec

from caas_simulators.simulated_time import Clock
from caas_simulators.stripe.refusals import Json, StripeRefusal, missing

_LETTERS = string.ascii_letters + string.digits
_ID_CHARS = 24
_SCHEMA = "create table if not exists objects (id text primary key, kind text, body text)"
_WRITE = """insert into objects values (?, ?, ?)
  on conflict (id) do update set body = excluded.body"""
_REMOVE = "delete from objects where id = ?"
FILE = "stripe.sqlite"


class Store:
    """The objects of one account in one mode."""

    def __init__(
        self, folder: Path | None, clock: Clock, chance: random.Random, *, file: str = FILE
    ) -> None:
        """Read what a folder has; without one, everything is forgotten at the end."""
        self.clock = clock
        self._chance = chance
        self._kinds: dict[str, dict[str, Json]] = {}
        self._changed: dict[str, Json] = {}
        self._removed: list[str] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(":memory:" if folder is None else folder / file)
        self._file.execute(_SCHEMA)
        for (body,) in self._file.execute("select body from objects order by rowid"):
            one = msgspec.json.decode(body)
            self._kinds.setdefault(one["object"], {})[one["id"]] = one

    def now(self) -> int:
        """Seconds since 1970 in this world."""
        return int(self.clock.now())

    def new_id(self, prefix: str) -> str:
        """Return an id that no other object has."""
        return f"{prefix}_{''.join(self._chance.choices(_LETTERS, k=_ID_CHARS))}"

    def put(self, one: Json) -> Json:
        """Remember an object as it is now."""
        self._kinds.setdefault(one["object"], {})[one["id"]] = one
        self._changed[one["id"]] = one
        return one

    def remove(self, one: Json) -> None:
        """Forget an object for good."""
        del self._kinds[one["object"]][one["id"]]
        self._changed.pop(one["id"], None)
        self._removed.append(one["id"])

    def find(self, kind: str, identifier: str | None) -> Json | None:
        """Return an object, or None."""
        return self._kinds.get(kind, {}).get(identifier or "")

    def get(self, kind: str, identifier: str, *, param: str = "id", status: int = 404) -> Json:
        """Return an object.

        Raises:
            StripeRefusal: there is none with this id.
        """
        found = self.find(kind, identifier)
        if found is None:
            raise missing(kind.replace("checkout.", "checkout "), identifier, param=param,
                          status=status)  # fmt: skip
        return found

    def some(self, kind: str, **equal: object) -> Iterator[Json]:
        """Yield the objects of a kind with these values, the newest first."""
        for one in reversed(tuple(self._kinds.get(kind, {}).values())):
            if all(one.get(name) == value for name, value in equal.items()):
                yield one

    def page(self, url: str, kind: str, asked: Json, **equal: object) -> Json:
        """Return a page of a list, the newest first.

        Raises:
            StripeRefusal: the limit or the cursor is none.
        """
        limit = asked.get("limit", 10)
        if not 1 <= limit <= 100:  # noqa: PLR2004 - as documented
            raise StripeRefusal("Invalid limit: 1 to 100.", param="limit", stored=False)
        wanted = {name: value for name, value in equal.items() if value is not None}
        found = [one for one in self.some(kind, **wanted) if _within(one, asked.get("created", {}))]
        ids = [one["id"] for one in found]
        if "starting_after" in asked:
            self.get(kind, asked["starting_after"], param="starting_after", status=400)
            found = found[ids.index(asked["starting_after"]) + 1 :]
        elif "ending_before" in asked:
            self.get(kind, asked["ending_before"], param="ending_before", status=400)
            found = found[: ids.index(asked["ending_before"])][-limit:]
        data = found[:limit]
        return {"object": "list", "url": url, "has_more": len(found) > limit, "data": data}

    def flush(self) -> None:
        """Write what was changed, all or nothing."""
        if not self._changed and not self._removed:
            return
        rows = [
            (one["id"], one["object"], msgspec.json.encode(one).decode())
            for one in self._changed.values()
        ]
        with self._file:
            self._file.executemany(_WRITE, rows)
            self._file.executemany(_REMOVE, [(identifier,) for identifier in self._removed])
        self._changed.clear()
        self._removed.clear()

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        self._file.close()


def _within(one: Json, created: Json) -> bool:
    at: int = one["created"]
    return bool(
        at > created.get("gt", -1)
        and at >= created.get("gte", 0)
        and at < created.get("lt", at + 1)
        and at <= created.get("lte", at)
    )
