"""Settlement reports as files: recognises their format and checks that they are readable.

The seed's `GET /settlements` returns the canonical CSV. Stripe's itemized reports and Adyen's
settlement details report are built in; any other provider's format is a mapping
(`report_mappings`). A format is recognised by its header only (decision 33).

Rules a change must keep: a file is scanned once in full before any line is read; an error names its
line, and nothing of a faulty file is applied; a format only defines where the canonical columns
are.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

import msgspec

from caas.external_systems.report_mappings import ReportMapping
from caas.external_systems.report_text import (
    DELIMITERS,
    HEADER_BYTES_MAX,
    HEADER_LINES_MAX,
    UTF_8,
    BadReportError,
    Head,
    quoted,
    read_head,
    readable_copy,
    walk,
)

__all__ = ["BadReportError"]

NOT_THIS_ONE: Final = {
    frozenset({"Customer Facing Amount", "Available On (UTC)", "Net"}): (
        "This is Stripe's balance history, which lacks what a payment is known by. Export the "
        "itemized report instead: Reports, Balance or Payout reconciliation, itemized."
    ),
}


NO_TRANSACTIONS: Final = (
    "This is a report of Stripe's without a column 'created' or 'created_utc', such as that of "
    "its payouts: it lists what went to the bank, and no payment. Export the itemized Balance or "
    "Payout reconciliation report instead."
)


ABSENT: Final = "null::varchar"
"""What is read of an optional column that a file does not have."""


class ReportFormat(msgspec.Struct, frozen=True):
    """A format: its identifying columns, its optional ones, and its mapping if it is data."""

    name: str
    needed: frozenset[str]
    optional: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    lines_have_ids: bool = False
    mapping: ReportMapping | None = None

    @property
    def ids_are_of_the_provider(self) -> bool:
        """Return whether the ids of lines are given by the provider, and not built from values."""
        line_id = self.mapping.columns.line_id if self.mapping is not None else None
        return self.lines_have_ids and (self.mapping is None or len(line_id or ()) == 1)

    def statement(self, columns: tuple[str, ...]) -> str:
        """Return the statement that converts a file with these columns to the canonical ones."""
        if self.mapping is not None:
            return self.mapping.statement()
        placed = {
            place: next((quoted(name) for name in found if name in columns), ABSENT)
            for place, found in self.optional.items()
        }
        present = {f"has_{it}": str(name != ABSENT).lower() for it, name in placed.items()}
        return Template(statement(self.name)).substitute(placed | present)

    def read(self, columns: tuple[str, ...]) -> list[str]:
        """Return those of these columns that are read."""
        known = self.needed.union(*self.optional.values())
        return [column for column in columns if column in known]


class ReportFile(msgspec.Struct, frozen=True):
    """A readable file: its format, encoding, columns, and size."""

    path: Path
    format: ReportFormat
    columns: tuple[str, ...]
    delimiter: str
    header_line: int
    lines: int
    digest: str


CANONICAL: Final = ReportFormat(
    "canonical",
    frozenset(
        {
            "line_no", "batch_id", "transaction_id", "reference", "type", "gross", "fee", "net",
            "currency", "booked_at", "value_date",
        }
    ),
    {"line_id": ("line_id",), "method": ("method",)},
)  # fmt: skip
STRIPE: Final = ReportFormat(
    "stripe",
    frozenset({"balance_transaction_id", "reporting_category", "currency", "gross", "fee", "net"}),
    {
        "payout": ("automatic_payout_id",),
        "payment_intent": ("payment_intent_id",),
        "charge": ("charge_id", "source_id"),
        "reference": ("payment_metadata[reference]", "payment_intent_metadata[reference]"),
        "created": ("created_utc", "created"),
        "dated": ("created", "created_utc"),
        "available": ("available_on_utc", "available_on", "automatic_payout_effective_at_utc"),
        "effective": ("automatic_payout_effective_at_utc", "automatic_payout_effective_at"),
        "facing_amount": ("customer_facing_amount",),
        "facing_currency": ("customer_facing_currency",),
        "method": ("payment_method_type",),
    },
    lines_have_ids=True,
)
ADYEN: Final = ReportFormat(
    "adyen",
    frozenset(
        {
            "Psp Reference", "Creation Date", "Type", "Net Currency", "Net Debit (NC)",
            "Net Credit (NC)", "Batch Number",
        }
    ),
    {
        "reference": ("Merchant Reference",),
        "method": ("Payment Method", "Payment Method Variant"),
        "zone": ("TimeZone",),
        "modification": ("Modification Reference",),
        "gross_currency": ("Gross Currency",),
        "gross_debit": ("Gross Debit (GC)",),
        "gross_credit": ("Gross Credit (GC)",),
        "exchange_rate": ("Exchange Rate",),
        "commission_nc": ("Commission (NC)",),
        "markup_nc": ("Markup (NC)",),
        "scheme_fees_nc": ("Scheme Fees (NC)",),
        "interchange_nc": ("Interchange (NC)",),
    },
)  # fmt: skip
FORMATS: Final = (CANONICAL, STRIPE, ADYEN)


def statement(name: str) -> str:
    """Return a stored statement that reads reports."""
    folder = resources.files("caas.external_systems") / "report_formats"
    return (folder / f"{name}.sql").read_text("utf-8")


def mapped(mappings: Mapping[str, ReportMapping]) -> tuple[ReportFormat, ...]:
    """Return the formats of these mappings, the one with the most columns first."""
    formats = [
        ReportFormat(
            name, mapping.needed, lines_have_ids=mapping.columns.line_id is not None,
            mapping=mapping,
        )
        for name, mapping in mappings.items()
    ]  # fmt: skip
    return tuple(sorted(formats, key=lambda it: (-len(it.needed), it.name)))


def examine(
    path: Path, folder: Path, formats: tuple[ReportFormat, ...] = (), *, may_be_empty: bool = False
) -> ReportFile:
    """Check that a file is text, complete, and of a known format.

    A file that the reader cannot read directly is copied to the folder.

    Raises:
        BadReportError: it is not; the message names the line where possible.
    """
    if not path.is_file():
        raise BadReportError(f"There is no file at {path}.")
    head = read_head(path)
    known, columns, delimiter, at = _recognised(head, (*FORMATS, *formats))
    encoding = known.mapping.encoding if known.mapping is not None else UTF_8
    if known.mapping is not None and head.encoding == UTF_8 and _is_utf_8(path):
        encoding = UTF_8
    lines, digest = walk(path, encoding, returns_only=head.returns_only)
    if lines < at + 2 and not may_be_empty:
        raise BadReportError("There is a header, and no line after it.", line=at + 1)
    if encoding != UTF_8 or head.returns_only:
        path = readable_copy(path, folder / "readable.csv", encoding)
    return ReportFile(path, known, columns, delimiter, at, lines - at - 1, digest)


def has_lines(path: Path) -> bool:
    """Return whether a file has a line after its header; one without a header has none."""
    with path.open("rb") as file:
        file.readline(HEADER_BYTES_MAX)
        return bool(file.readline(HEADER_BYTES_MAX).strip())


def _is_utf_8(path: Path) -> bool:
    try:
        walk(path, UTF_8, returns_only=False)
    except BadReportError:
        return False
    return True


def _recognised(
    head: Head, formats: tuple[ReportFormat, ...]
) -> tuple[ReportFormat, tuple[str, ...], str, int]:
    """Return the format of a header, its columns, their separator, and its line number.

    Raises:
        BadReportError: the format is unknown.
    """
    for at in range(min(len(head.lines), HEADER_LINES_MAX)):
        for delimiter in DELIMITERS:
            columns = head.columns(at, delimiter)
            for known in formats:
                if known.needed <= set(columns) and (at == 0 or known.mapping is not None):
                    _refuse_without(columns, known, at)
                    _refuse_twice(columns, known, at)
                    return known, columns, delimiter, at
    raise _unknown(head, formats)


def _refuse_without(columns: tuple[str, ...], known: ReportFormat, at: int) -> None:
    """Reject a similar report of the same provider that lists no transactions."""
    if known is STRIPE and not {"created", "created_utc"} & set(columns):
        raise BadReportError(NO_TRANSACTIONS, line=at + 1)


def _refuse_twice(columns: tuple[str, ...], known: ReportFormat, at: int) -> None:
    read = known.read(columns) if known.mapping is not None else list(columns)
    twice = {column for column in read if columns.count(column) > 1}
    if twice:
        raise BadReportError(f"The column '{min(twice)}' is there twice.", line=at + 1)


def _unknown(head: Head, formats: tuple[ReportFormat, ...]) -> BadReportError:
    columns = set(head.columns(0, head.delimiter))
    for known, sentence in NOT_THIS_ONE.items():
        if known <= columns:
            return BadReportError(sentence, line=1)
    nearest = max(formats, key=lambda known: len(known.needed & columns))
    lacking = ", ".join(sorted(nearest.needed - columns)[:5])
    return BadReportError(
        f"No settlement report known here has such a header ({len(columns)} columns, separated by "
        f"{DELIMITERS[head.delimiter]}, in {head.encoding.upper()}); it comes nearest to the "
        f"{nearest.name} one, which would need {lacking} too. A mapping can be kept for it.",
        line=1,
    )
