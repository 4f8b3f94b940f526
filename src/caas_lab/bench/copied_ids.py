"""The ids and times of the copies of a stored world: what each becomes in copy `n`.

Every id becomes another one, wherever it stands: in a column, in JSON, in a gateway's reference. A
UUID that begins with a time still does. Every time moves to the day and hour of the copy.

Rule a change must keep: SQL and Python give a copy the same ids, because signatures cover them.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.payments import DIGEST_CHARS
from caas_lab.bench.stored_world import StoredTable, StoredWorld

COPIES_OF_PART: Final = 25
COPIES_AT_ONCE_MAX: Final = 100
PARTS_OF_DAY: Final = 4
DAYS_MIN, DAYS_MAX = 3, 90
"""A day is written in several parts, where there are more than a few copies: as in operation, a
table's rows stand in the order of their times, roughly."""
DAY: Final = timedelta(days=1)
EARLIEST: Final = timedelta(hours=1)
LATEST: Final = timedelta(hours=16)
"""A copy begins one to sixteen hours later than the world: on its day in winter and in summer."""

BY_PLATFORM: Final = frozenset({
    "api_keys", "heartbeats", "history_heads", "history_leaves", "history_trees",
    "invariant_checks", "jobs", "processes",
})  # fmt: skip
"""What running processes write and no payment, although it has ids."""
ONCE: Final = frozenset({
    "dealership_markets", "gateway_accounts", "services", "vehicle_models",
})  # fmt: skip
BY_DAY: Final = ("settlement_reports", "reconciliation_runs", "reconciliation_days")
BY_MONTH: Final = "billing_runs"
REPORTED: Final = "settlement_lines"
SERIES: Final = "invoice_series"
NAMED_BY_OTHERS: Final = (
    ("payments", "gateway_transaction_id"), ("refunds", "gateway_refund_id"), ("disputes", "id"),
    ("disputes", "gateway_dispute_id"), ("webhook_inbox", "event_id"),
    ("gateway_customers", "gateway_customer"), ("orders", "factory_order_id"),
    ("orders", "delivery_id"), ("settlement_lines", "line_id"),
    ("settlement_lines", "transaction_id"),
)  # fmt: skip
"""Ids that gateway and partners give, and which are no UUIDs."""
NUMBER_DIGITS: Final = 6
TIMED: Final = 7
"""The version of UUIDs that begin with a time."""
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DAY_MS, _EARLIEST_MS, _LATEST_MS = (
    int(one / timedelta(milliseconds=1)) for one in (DAY, EARLIEST, LATEST)
)
_SPREAD_MS: Final = _LATEST_MS - _EARLIEST_MS


class Calendar(msgspec.Struct, frozen=True):
    """When each copy happened: on which day, and how much later on it.

    Purchases of past days end before now. What belongs to a subscription stays in its month, which
    the database's clock has left (`StoredWorld.moved`); its ids, too, are older than any new one.
    """

    copies: int
    days: int
    first_shift: timedelta
    morning: timedelta

    @property
    def by_day(self) -> int:
        """How many copies a day has."""
        return -(-self.copies // self.days)

    @property
    def at_once(self) -> int:
        """How many copies are written at once: part of a day."""
        return min(max(self.by_day // PARTS_OF_DAY, 1), COPIES_AT_ONCE_MAX)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield the first and last copy of each part."""
        for first in range(0, self.copies, self.at_once):
            yield first, min(first + self.at_once, self.copies) - 1

    @classmethod
    def until(cls, now: datetime, *, copies: int, world: StoredWorld) -> "Calendar":
        """Return the calendar whose last copy has just ended.

        All of it is in one year, because a series of documents is of a year.
        """
        times = [
            datetime.fromisoformat(str(row["at"])) for row in world.tables["payment_events"].rows
        ]
        days_back = max(-(-(max(times) + LATEST - now) // DAY), 0)
        begins = min(times) - days_back * DAY
        most = max(copies // (PARTS_OF_DAY * COPIES_OF_PART), min(copies, DAYS_MIN))
        days = max(min(DAYS_MAX, most, begins.timetuple().tm_yday - 2), 1)
        days = -(-copies // -(-copies // days))  # each day has a copy
        return cls(copies, days, -(days_back + days - 1) * DAY, world.morning)

    def source(self) -> str:
        """Return the rows of a range of copies, `$1` to `$2`: what their expressions need.

        `shift` moves a time and `ms` an id, `month_shift` and `month_ms` within their day.
        """
        days = int(self.first_shift / DAY)
        return f"""
s as materialized (
  select n, n::text as t, k, k + ({days}) as days, n - k * {self.by_day} as j,
         lpad(to_hex(n), 6, '0') as h, later + (k + ({days})) * {_DAY_MS} + {self._id_ms} as ms,
         later - {_LATEST_MS} as month_ms, later * interval '1 millisecond' as month_shift,
         (later + (k + ({days})) * {_DAY_MS}) * interval '1 millisecond' as shift
    from (select n, n / {self.by_day} as k from generate_series($1::bigint, $2::bigint) n) c
    cross join lateral (
      select {_EARLIEST_MS} + (n - k * {self.by_day}) * {_SPREAD_MS} / {self.by_day} as later) m)"""  # noqa: S608 - numbers

    def ms(self, copy: int, *, of_month: bool) -> int:
        """Return what `source` calls `ms` or `month_ms`."""
        day = copy // self.by_day
        later = _EARLIEST_MS + (copy - day * self.by_day) * _SPREAD_MS // self.by_day
        if of_month:
            return later - _LATEST_MS
        return later + (day + int(self.first_shift / DAY)) * _DAY_MS + self._id_ms

    @property
    def _id_ms(self) -> int:
        """How far times were ahead of ids in the world."""
        return int(self.morning / timedelta(milliseconds=1))


class Ids(msgspec.Struct):
    """Every id of the world, and what it becomes in a copy."""

    others: Mapping[str, str]
    of_day: frozenset[str]
    of_month: frozenset[str]
    pattern: re.Pattern[str]
    places: dict[str, int] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, tables: Mapping[str, StoredTable]) -> "Ids":
        """Find the ids of the rows that are multiplied."""
        others = dict(_named_by_others(tables))
        alternatives = sorted(map(re.escape, others), key=len, reverse=True)
        pattern = re.compile("|".join((*alternatives, _UUID)))
        of_day = frozenset(
            str(row["id"])
            for table in BY_DAY if "id" in tables[table].types
            for row in tables[table].rows
        )  # fmt: skip
        return cls(others, of_day, _of_month(tables, pattern), pattern)

    def expression(self, found: str) -> str:
        """Return SQL for the text of this id in a copy."""
        return self.others.get(found) or f"{self.uuid(found)}::text"

    def uuid(self, found: str) -> str:
        """Return SQL for this UUID in a copy: those that begin with a time keep their order."""
        if found in self.of_day:
            return f"md5('{found}' || s.k)::uuid"
        plain = UUID(found)
        if plain.version != TIMED:
            return f"md5('{found}' || s.t)::uuid"
        ms = "s.month_ms" if found in self.of_month else "s.ms"
        return (
            f"(lpad(to_hex({plain.int >> 80} + {ms}), 12, '0') || '{plain.hex[12:20]}' || s.h"
            f" || '{self._place(found):06x}')::uuid"
        )

    def of_copy(self, found: str, copy: int, calendar: Calendar) -> str:
        """Return what `uuid` and `expression` evaluate to, for a UUID or a VIN."""
        if found in self.others:
            return f"WVW{copy:06X}{found[-8:]}"
        plain = UUID(found)
        if plain.version != TIMED:
            return str(UUID(hashlib.md5(f"{found}{copy}".encode()).hexdigest()))  # noqa: S324 - an id
        ms = (plain.int >> 80) + calendar.ms(copy, of_month=found in self.of_month)
        return str(UUID(f"{ms:012x}{plain.hex[12:20]}{copy:06x}{self._place(found):06x}"))

    def stay_in_month(self, row: Mapping[str, str | None]) -> bool:
        """Say whether the row belongs to a subscription."""
        return any(found in self.of_month for found in self.named_in(row))

    def named_in(self, row: Mapping[str, str | None]) -> list[str]:
        """Return the ids in a row; one without any belongs to no payment."""
        return self.pattern.findall(" ".join(text for text in row.values() if text))

    def _place(self, found: str) -> int:
        return self.places.setdefault(found, len(self.places))


def _named_by_others(tables: Mapping[str, StoredTable]) -> Iterator[tuple[str, str]]:
    """Yield ids that are no UUIDs, each with SQL for it in a copy."""
    for table, column in NAMED_BY_OTHERS:
        for row in tables[table].rows:
            if value := row[column]:
                yield value, f"{quoted(value)} || s.h"
    for row in tables["customers"].rows:
        yield str(row["email"]), f"s.h || {quoted(str(row['email']))}"
    for row in tables["vehicles"].rows:
        yield str(row["vin"]), f"'WVW' || upper(s.h) || '{str(row['vin'])[-8:]}'"
    for row in tables["invoices"].rows:
        series, number = str(row["series"]), int(row["number"] or 0)
        in_copy = f"({number} + s.n * {last_numbers(tables)[series]})::text"
        padded = f"lpad({in_copy}, greatest({NUMBER_DIGITS}, length({in_copy})), '0')"
        yield f"{series}-{number:0{NUMBER_DIGITS}}", f"'{series}-' || {padded}"
    for row in tables["idempotency_keys"].rows:
        caller, key = str(row["caller"]), str(row["key_hash"])
        stated = hashlib.sha256(caller.encode() + bytes.fromhex(key[2:])).hexdigest()
        in_copy = f"sha256(convert_to({quoted(caller)}, 'UTF8') || {digest_in_copy(key)})"
        yield stated[:DIGEST_CHARS], f"left(encode({in_copy}, 'hex'), {DIGEST_CHARS})"


def _of_month(tables: Mapping[str, StoredTable], pattern: re.Pattern[str]) -> frozenset[str]:
    """Return every id that is connected with a subscription by rows that name both."""
    groups: dict[str, set[str]] = {}
    for table in tables.values():
        if table.name in BY_PLATFORM | ONCE or table.name in {*BY_DAY, BY_MONTH, REPORTED}:
            continue
        for row in table.rows:
            named = {one for text in row.values() if text for one in pattern.findall(text)}
            together = set().union(named, *(groups.get(one, ()) for one in named))
            groups.update(dict.fromkeys(together, together))
    return frozenset().union(*(groups[str(row["id"])] for row in tables["subscriptions"].rows))


def last_numbers(tables: Mapping[str, StoredTable]) -> dict[str, int]:
    """Return how many documents of each series the world has."""
    return {str(row["series"]): int(row["next"] or 1) - 1 for row in tables[SERIES].rows}


def digest_in_copy(text: str) -> str:
    """Return SQL for a digest that is another one in each copy."""
    return f"sha256({literal(text, 'bytea')} || convert_to(s.t, 'UTF8'))"


def quoted(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def literal(text: str | None, kind: str) -> str:
    """Return a value as SQL."""
    return f"null::{kind}" if text is None else f"{quoted(text)}::{kind}"
