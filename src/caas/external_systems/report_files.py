"""Settlement reports as files: whose format it is, and whether it can be read at all.

The seed's `GET /settlements` gives the canonical CSV; two providers' published formats are known
besides, Stripe's itemized reconciliation reports and Adyen's settlement details report. A format is
recognised by its header and by nothing else (decision 33).

Rules a change must keep: a file is looked at once from end to end before a line of it is read, in
pieces of a fixed size; what is wrong is said with the line it is on, and nothing of such a file is
applied; a format only says where the canonical columns are.
"""

import codecs
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from caas.errors import RefusedError

PIECE_BYTES: Final = 1 << 20
HEADER_BYTES_MAX: Final = 1 << 16
COLUMNS_MAX: Final = 200
LINE_FEED: Final = b"\n"

NOT_TEXT: Final = (
    (b"PK\x03\x04", "a zip archive (or a spreadsheet); unpack it, or save it as CSV"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet; save it as CSV"),
    (b"%PDF", "a PDF"),
    (b"\xff\xfe", "text in UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16; save it as UTF-8"),
)


class BadReportError(RefusedError):
    """The settlement report cannot be read; nothing of it was applied."""

    code = "bad_report"

    def __init__(self, sentence: str, *, line: int | None = None) -> None:
        """Say what is wrong, and on which line when it is on one."""
        where = f"Line {line}: " if line is not None else ""
        super().__init__(f"{where}{sentence} Nothing was applied.", line=line)


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """A provider's format: the columns that tell it, and those it may lack."""

    name: str
    needed: frozenset[str]
    optional: dict[str, tuple[str, ...]]
    lines_have_ids: bool = False

    @property
    def statement(self) -> str:
        """The statement that brings a file of this format into the canonical columns."""
        return statement(self.name)


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file that can be read: its format, its columns in order, and what it weighs."""

    path: Path
    format: ReportFormat
    columns: tuple[str, ...]
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
    {"line_id": ("line_id",)},
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
        "available": ("available_on_utc", "available_on", "automatic_payout_effective_at_utc"),
        "effective": ("automatic_payout_effective_at_utc", "automatic_payout_effective_at"),
    },
    lines_have_ids=True,
)
ADYEN: Final = ReportFormat(
    "adyen",
    frozenset(
        {
            "Psp Reference", "Merchant Reference", "Creation Date", "TimeZone", "Type",
            "Modification Reference", "Gross Currency", "Gross Debit (GC)", "Gross Credit (GC)",
            "Net Currency", "Net Debit (NC)", "Net Credit (NC)", "Batch Number",
        }
    ),
    {},
)  # fmt: skip
FORMATS: Final = (CANONICAL, STRIPE, ADYEN)


def statement(name: str) -> str:
    """Return one of the statements that read reports."""
    folder = resources.files("caas.external_systems") / "report_formats"
    return (folder / f"{name}.sql").read_text("utf-8")


def examine(path: Path) -> ReportFile:
    """Look a file over: is it text, whole, and of a format that is known.

    Raises:
        BadReportError: it is not; the sentence names the line where it can.
    """
    if not path.is_file():
        raise BadReportError(f"There is no file at {path}.")
    header = _header(path)
    columns = tuple(_columns(header))
    known = recognise(columns)
    lines, digest = _walk(path)
    if lines < 2:  # noqa: PLR2004 - the header, and one line
        raise BadReportError("There is a header, and no line after it.", line=1)
    return ReportFile(path, known, columns, lines - 1, digest)


def recognise(columns: tuple[str, ...]) -> ReportFormat:
    """Return the format that has these columns.

    Raises:
        BadReportError: none has.
    """
    twice = {column for column in columns if columns.count(column) > 1}
    if twice:
        raise BadReportError(f"The column '{min(twice)}' is there twice.", line=1)
    for known in FORMATS:
        if known.needed <= set(columns):
            return known
    nearest = max(FORMATS, key=lambda known: len(known.needed & set(columns)))
    lacking = ", ".join(sorted(nearest.needed - set(columns))[:5])
    raise BadReportError(
        "No settlement report known here has such a header; it comes nearest to the "
        f"{nearest.name} one, which would need {lacking} too.",
        line=1,
    )


def _header(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES_MAX)
    if not head.strip():
        raise BadReportError("The file is empty.")
    for magic, what in NOT_TEXT:
        if head.startswith(magic):
            raise BadReportError(f"The file is {what}.", line=1)
    first, found, _ = head.removeprefix(codecs.BOM_UTF8).partition(LINE_FEED)
    if not found and len(head) == HEADER_BYTES_MAX:
        raise BadReportError(f"It is longer than {HEADER_BYTES_MAX} bytes; no header is.", line=1)
    try:
        return first.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadReportError("It is not UTF-8.", line=1) from error


def _columns(header: str) -> list[str]:
    columns = next(csv.reader([header.rstrip("\r")]), [])
    if len(columns) > COLUMNS_MAX:
        raise BadReportError(f"There are {len(columns)} columns; no report has as many.", line=1)
    return [column.strip() for column in columns]


def _walk(path: Path) -> tuple[int, str]:
    """Count the lines and digest the bytes, refusing what is not UTF-8 or is cut off."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, last = 0, b""
    for piece in _pieces(path):
        digest.update(piece)
        _refuse_bytes(piece, decoder, lines)
        lines += piece.count(LINE_FEED)
        last = piece
    if not last.endswith(LINE_FEED):
        raise BadReportError("The file breaks off in the middle of it.", line=lines + 1)
    return lines, digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _refuse_bytes(piece: bytes, decoder: codecs.IncrementalDecoder, lines_before: int) -> None:
    if b"\0" in piece:
        at = piece.index(b"\0")
        raise BadReportError(
            "There is a zero byte in it; the file is not text.",
            line=lines_before + piece[:at].count(LINE_FEED) + 1,
        )
    if piece.isascii() and not decoder.getstate()[0]:
        return
    try:
        decoder.decode(piece)
    except UnicodeDecodeError as error:
        at = max(error.start, 0)
        raise BadReportError(
            "It is not UTF-8; the file was saved in another encoding.",
            line=lines_before + piece[:at].count(LINE_FEED) + 1,
        ) from error
