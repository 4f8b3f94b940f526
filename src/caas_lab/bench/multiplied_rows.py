"""The statements that multiply the rows of a stored world, each for a range of copies.

A copy differs from the world in its ids, its times and its numbers, and in nothing else. Hash
chains are computed; acknowledgements are signed, each with its own text.

Rule a change must keep: a new table or column needs nothing here, unless its values are unique in
another way than by an id or a time.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caas.rules.vehicle_signatures import SignedMessage
from caas_lab.bench.copied_ids import (
    BY_DAY,
    BY_MONTH,
    BY_PLATFORM,
    DAY,
    ONCE,
    REPORTED,
    SERIES,
    Calendar,
    Ids,
    digest_in_copy,
    last_numbers,
    literal,
    quoted,
)
from caas_lab.bench.stored_world import StoredTable, StoredWorld

CHAINED: Final = frozenset({"payments", "payment_events"})

DIGESTS: Final = frozenset({"key_hash", "token_hash", "body_hash", "request_key"})
EPOCHS: Final = frozenset({"epoch", "reported_epoch"})
COUNTED_BY_DAY: Final = frozenset({
    "line_count", "gross_total", "net_total", "lines_stored", "gross_stored", "net_stored", "lines",
})  # fmt: skip
COUNTED_BY_MONTH: Final = frozenset({
    "subscriptions", "seen", "invoices", "charges", "charged_number",
})  # fmt: skip
PROCESS: Final = "held_by"
LINES: Final = frozenset({"settlement_lines", "identified_lines", "discrepancies"})

_TIME: Final = re.compile(r"(?<=\")\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|\+00:00)(?=\")")
_ISO: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'


class Acknowledgement(msgspec.Struct, frozen=True):
    """A signed acknowledgement of the world, and its place in the signatures of a copy."""

    place: int
    row: Mapping[str, str | None]


@dataclass(slots=True)
class Multiplication:
    """A world, and the statements for ranges of its copies."""

    world: StoredWorld
    calendar: Calendar
    tables: Mapping[str, StoredTable] = field(init=False)
    ids: Ids = field(init=False)
    _in_json: re.Pattern[str] = field(init=False)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    acknowledgements: dict[str, Acknowledgement] = field(default_factory=dict)
    epochs: int = 0

    def __post_init__(self) -> None:
        """Find what is the same and what differs in every copy."""
        self.tables = {**self.world.tables, **_reports_with_lines(self.world.tables)}
        self.ids = Ids.of(self.tables)
        self._in_json = re.compile(f"{self.ids.pattern.pattern}|{_TIME.pattern}")
        signed = [row for row in self.tables["delivery_evidence"].rows if row["signature"]]
        self.acknowledgements = {
            str(row["id"]): Acknowledgement(place, row) for place, row in enumerate(signed, 1)
        }
        self.epochs = max(int(row["epoch"] or 0) for row in self.tables["ota_commands"].rows)

    @property
    def payments(self) -> int:
        """How many payments one copy has."""
        return len(self.tables["payments"].rows)

    def once(self) -> Iterator[str]:
        """Yield the statements for what all copies share."""
        for name in sorted(ONCE & self.tables.keys()):
            table = self.tables[name]
            for row in table.rows:
                values = (literal(row[column], kind) for column, kind in table.types.items())
                yield f"{_insert(table)} select {', '.join(values)} on conflict do nothing"
        for series, count in last_numbers(self.tables).items():
            following = count * self.calendar.copies + 1
            yield f"insert into invoice_series values ({quoted(series)}, {following})"  # noqa: S608 - a series
        table = self.tables[BY_MONTH]
        for row in table.rows:
            values = (
                self._month(row[column], column, kind) for column, kind in table.types.items()
            )
            yield f"{_insert(table)} select {', '.join(values)}"
        yield f"select setval('ota_epochs', {self.epochs * self.calendar.copies + 1})"

    def days(self) -> Iterator[str]:
        """Yield the statements for reports and runs, one of each a day; `$1` to `$2` are days."""
        calendar = self.calendar
        days = int(calendar.first_shift / DAY)
        source = f"""with s as materialized (
  select k, k + ({days}) as days, (k + ({days})) * interval '1 day' as shift,
         least({calendar.by_day}, {calendar.copies} - k * {calendar.by_day}) as many
    from generate_series($1::bigint, $2::bigint) k)"""  # noqa: S608 - numbers
        for name in BY_DAY:
            table = self.tables[name]
            for row in table.rows:
                values = ", ".join(
                    f"{literal(row[column], kind)} * s.many"
                    if column in COUNTED_BY_DAY and row[column] is not None
                    else self._value(name, row, column, stays=False)
                    for column, kind in table.types.items()
                )
                yield f"{source} {_insert(table)} select {values} from s"  # noqa: S608 - the world's values

    def copies(self, *, of_month: bool) -> Iterator[str]:
        """Yield the statements for the copies `$1` to `$2`; `$3` are signatures.

        What belongs to subscriptions is written after everything else, because it is later.
        """
        source = f"with {self.calendar.source()}"
        skipped = BY_PLATFORM | ONCE | CHAINED | {*BY_DAY, BY_MONTH, SERIES}
        for name, table in self.tables.items():
            rows = [
                row
                for row in table.rows
                if self.ids.named_in(row) and self._stays(name, row) is of_month
            ]
            if rows and name not in skipped:
                parts = (f"select {self._values(name, row)} from s" for row in rows)  # noqa: S608 - the world's values
                yield f"{source} {_insert(table)} {' union all '.join(parts)}"
        for payment in self.tables["payments"].rows:
            if self._stays("payments", payment) is of_month:
                yield f"{source}, {self._chained(payment)}"

    def _stays(self, table: str, row: Mapping[str, str | None]) -> bool:
        return table != REPORTED and self.ids.stay_in_month(row)

    def _chained(self, payment: Mapping[str, str | None]) -> str:
        """Return the payment and its events with their hashes."""
        table = self.tables["payment_events"]
        events = sorted(
            (row for row in table.rows if row["payment_id"] == payment["id"]),
            key=lambda row: int(row["seq"] or 0),
        )
        laterals, before, stays = [], "''::bytea", self.ids.stay_in_month(payment)
        digested = ("payment_id", "seq", "event", "to_state", "source", "facts", "at")
        for place, row in enumerate(events):
            values = ", ".join(
                self._value("payment_events", row, one, stays=stays) for one in digested
            )
            hashed = f"select event_digest({before}, {values}) as h offset 0"
            laterals.append(f"cross join lateral ({hashed}) e{place}")
            before = f"e{place}.h"
        hashes = ", ".join(f"e{place}.h as hash{place}" for place in range(len(events)))
        chain = f"chain as materialized (select s.*, {hashes} from s {' '.join(laterals)})"  # noqa: S608 - the world's values
        inserted = " union all ".join(
            f"select {self._values('payment_events', row, hash=f's.hash{place}')} from chain s"  # noqa: S608 - the world's values
            for place, row in enumerate(events)
        )
        last = self._values("payments", payment, event_hash=f"s.hash{len(events) - 1}")
        insert = _insert(self.tables["payments"])
        return (
            f"{chain}, events as ({_insert(table)} {inserted}) {insert} select {last} from chain s"  # noqa: S608 - the world's values
        )

    def _values(self, table: str, row: Mapping[str, str | None], **given: str) -> str:
        """Return SQL for the values of this row in a copy."""
        types = self.tables[table].types
        stays = self._stays(table, row)
        return ", ".join(
            given.get(column) or self._value(table, row, column, stays=stays) for column in types
        )

    def _value(self, table: str, row: Mapping[str, str | None], column: str, *, stays: bool) -> str:
        kind, text = self.tables[table].types[column], row[column]
        if text is None or column == PROCESS:
            return f"null::{kind}"
        numbered = self._numbered(table, row, column)
        return numbered or self._by_type(text, kind, stays=stays)

    def _numbered(self, table: str, row: Mapping[str, str | None], column: str) -> str | None:
        """Return SQL for a value that is unique in another way than by an id or a time."""
        text, acknowledgement = str(row[column]), self.acknowledgements.get(str(row.get("id")))
        if column == "signature" and acknowledgement is not None:
            each = len(self.acknowledgements)
            return f"($3::bytea[])[(s.n - $1) * {each} + {acknowledgement.place}]"
        if column == "public_key":
            return literal(f"\\x{self.key.public_key().public_bytes_raw().hex()}", "bytea")
        if column in DIGESTS:
            return digest_in_copy(text)
        step = 0
        if column in EPOCHS:
            step = self.epochs
        elif (table, column) == ("invoices", "number"):
            step = last_numbers(self.tables)[str(row["series"])]
        elif column == "line_no" and table in LINES:
            return f"{text} + s.j * {len(self.tables[REPORTED].rows)}"
        return f"{text} + s.n * {step}" if step else None

    def _by_type(self, text: str, kind: str, *, stays: bool) -> str:
        match kind:
            case "uuid":
                return self.ids.uuid(text)
            case "timestamp with time zone":
                return f"{literal(text, kind)} + s.{'month_' if stays else ''}shift"
            case "date" if not stays:
                return f"({literal(text, kind)} + s.days::integer)"
            case "bytea":
                return self._of_bytes(text)
            case "text" | "jsonb" | "text[]":
                return self._with_ids(text, kind, stays=stays)
            case _:
                return literal(text, kind)

    def _with_ids(self, text: str, kind: str, *, stays: bool = True) -> str:
        """Return a text in which ids become the copy's, and in JSON the times, too."""
        parts, end = [], 0
        pattern = self._in_json if kind == "jsonb" else self.ids.pattern
        for found in pattern.finditer(text):
            parts += [quoted(text[end : found.start()])] if found.start() > end else []
            is_time = found.start() > 0 and _TIME.match(text, found.start()) is not None
            parts.append(_time(found[0], stays=stays) if is_time else self.ids.expression(found[0]))
            end = found.end()
        if not parts:
            return literal(text, kind)
        parts += [quoted(text[end:])] if end < len(text) else []
        return f"({' || '.join(parts)})::{kind}"

    def _of_bytes(self, text: str) -> str:
        """Return bytes, in which ids stand if they are a stored answer."""
        plain = bytes.fromhex(text[2:]).decode(errors="replace")
        if not self.ids.pattern.search(plain):
            return literal(text, "bytea")
        return f"convert_to({self._with_ids(plain, 'text')}, 'UTF8')"

    def _month(self, text: str | None, column: str, kind: str) -> str:
        if column in COUNTED_BY_MONTH and text is not None:
            return f"{text} * {self.calendar.copies}::bigint"
        if kind == "uuid" and text is not None:
            last = self.ids.of_copy(text, self.calendar.copies - 1, self.calendar)
            return literal(last, kind)
        return literal(text, kind)

    def signatures(self, first: int, last: int) -> list[bytes]:
        """Sign every acknowledgement of these copies with the vehicles' key."""
        return [
            self.key.sign(self._signed(acknowledgement.row, copy).encode())
            for copy in range(first, last + 1)
            for acknowledgement in self.acknowledgements.values()
        ]

    def _signed(self, row: Mapping[str, str | None], copy: int) -> str:
        def of_copy(column: str) -> str:
            return self.ids.of_copy(str(row[column]), copy, self.calendar)

        return SignedMessage(
            vin=of_copy("vin"), command_id=of_copy("command_id"),
            epoch=int(row["epoch"] or 0) + copy * self.epochs, payment_id=of_copy("subject"),
            service=str(row["service"]),
            action=row["action"] if row["signs_action"] == "true" else None,
            status=str(row["status"]), at=str(row["at"]),
        ).text  # fmt: skip


def _reports_with_lines(tables: Mapping[str, StoredTable]) -> dict[str, StoredTable]:
    """Leave out the reports, runs and days that have no line."""
    lines = tables["settlement_lines"].rows
    kept = {row[column] for row in lines for column in ("report_id", "run_id")}
    closed = {row["day"] for row in tables["settlement_reports"].rows if row["id"] in kept}
    days = (row for row in tables["reconciliation_days"].rows if row["day"] in closed)
    kept |= {row["closed_by_run"] for row in days}
    return {
        name: StoredTable(name, tables[name].types, [
            row for row in tables[name].rows
            if (row["id"] in kept if "id" in row else row["day"] in closed)
        ])
        for name in BY_DAY
    }  # fmt: skip


def _insert(table: StoredTable) -> str:
    return f"insert into {table.name} ({', '.join(map(_name, table.types))})"


def _time(text: str, *, stays: bool) -> str:
    """Return SQL for the text of a time in a copy."""
    moved = f"'{text}'::timestamptz + s.{'month_' if stays else ''}shift"
    return f"to_char(({moved}) at time zone 'UTC', '{_ISO}')"


def _name(column: str) -> str:
    return f'"{column}"'
