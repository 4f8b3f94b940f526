"""Text files of unknown origin: detects encoding, separator and line ends, and converts them.

Rules a change must keep: a file is read in chunks of a fixed size and never held in memory; an
error names the problem (encoding, separator, line ends) and its line; only files that the reader
cannot read directly are copied.
"""

import codecs
import csv
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from caas.errors import RefusedError

PIECE_BYTES: Final = 1 << 20
HEADER_BYTES_MAX: Final = 1 << 16
HEADER_LINES_MAX: Final = 20
ENCODING_SAMPLE_BYTES: Final = 256
COLUMNS_MAX: Final = 200
UTF_8: Final = "utf-8"
LINE_FEED: Final = b"\n"
RETURN: Final = b"\r"
DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

NOT_TEXT: Final = (
    (b"PK\x03\x04", "a zip archive (or a spreadsheet); unpack it, or save it as CSV"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet; save it as CSV"),
    (b"%PDF", "a PDF"),
    (b"\xff\xfe", "text in UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16; save it as UTF-8"),
)

# Abbreviations as reports write them, in minutes east of UTC.
ZONES: Final[Mapping[str, int]] = {
    "UTC": 0, "GMT": 0, "WET": 0, "WEST": 60, "BST": 60, "CET": 60, "CEST": 120, "EET": 120,
    "EEST": 180, "EST": -300, "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360,
    "PST": -480, "PDT": -420, "JST": 540, "SGT": 480, "HKT": 480, "AEST": 600, "AEDT": 660,
}  # fmt: skip


class BadReportError(RefusedError):
    """The settlement report cannot be read; nothing of it was applied."""

    code = "bad_report"

    def __init__(self, sentence: str, *, line: int | None = None) -> None:
        """Store the fault and its line, if it has one."""
        where = f"Line {line}: " if line is not None else ""
        super().__init__(f"{where}{sentence} Nothing was applied.", line=line)


class Head(msgspec.Struct, frozen=True):
    """The first lines of a file, and its encoding."""

    lines: tuple[str, ...]
    encoding: str
    returns_only: bool

    def columns(self, line: int, delimiter: str) -> tuple[str, ...]:
        """Return the columns of a header line."""
        try:
            named = next(csv.reader([self.lines[line]], delimiter=delimiter), [])
        except csv.Error as error:
            sentence = "It is no row of CSV: it has a line end, or a quote, inside a cell."
            raise BadReportError(sentence, line=line + 1) from error
        if len(named) > COLUMNS_MAX:
            raise BadReportError(
                f"There are {len(named)} columns; no report has as many.", line=line + 1
            )
        return tuple(" ".join(column.split()) for column in named)

    @property
    def delimiter(self) -> str:
        """Return the most likely separator of the first line."""
        return max(DELIMITERS, key=self.lines[0].count) if self.lines else ","


def read_head(path: Path) -> Head:
    """Read the beginning of a file.

    Raises:
        BadReportError: it is empty, not text, or has no line end where a header would end.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES_MAX)
    if not head.strip():
        raise BadReportError("The file is empty.")
    for magic, what in NOT_TEXT:
        if head.startswith(magic):
            raise BadReportError(f"The file is {what}.", line=1)
    if _is_utf_16(head):
        raise BadReportError("The file is text in UTF-16; save it as UTF-8.", line=1)
    head = head.removeprefix(codecs.BOM_UTF8)
    returns_only = LINE_FEED not in head and RETURN in head
    end = RETURN if returns_only else LINE_FEED
    if end not in head and len(head) >= HEADER_BYTES_MAX - len(codecs.BOM_UTF8):
        raise BadReportError(f"It is longer than {HEADER_BYTES_MAX} bytes; no header is.", line=1)
    first = head.split(end)[:HEADER_LINES_MAX]
    if len(first) == HEADER_LINES_MAX or len(head) < HEADER_BYTES_MAX - len(codecs.BOM_UTF8):
        whole = first
    else:
        whole = first[:-1]
    encoding = UTF_8 if _is_utf_8(end.join(whole)) else "iso-8859-1"
    return Head(tuple(line.decode(encoding).rstrip("\r") for line in whole), encoding, returns_only)


def walk(path: Path, encoding: str, *, returns_only: bool) -> tuple[int, str]:
    """Count the lines and digest the bytes; reject bytes that are invalid in this encoding."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder(encoding)()
    end = RETURN if returns_only else LINE_FEED
    lines, last = 0, b""
    for piece in _pieces(path):
        digest.update(piece)
        _refuse_bytes(piece, decoder, lines, end)
        lines += piece.count(end)
        last = piece
    return lines + (not last.endswith(end)), digest.hexdigest()


def readable_copy(path: Path, copy: Path, encoding: str) -> Path:
    """Copy a file as UTF-8 with line feeds; return the copy's path."""
    with (
        path.open(encoding=encoding, newline=None) as source,
        copy.open("w", encoding=UTF_8, newline="\n") as target,
    ):
        while piece := source.read(PIECE_BYTES):
            target.write(piece)
    return copy


def quoted(name: str) -> str:
    """Quote any column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def _is_utf_16(head: bytes) -> bool:
    """Return whether every other byte is zero, as in Western text in UTF-16."""
    sample = head[: len(head) // 2 * 2][:ENCODING_SAMPLE_BYTES]
    halves = (sample[::2], sample[1::2])
    return len(sample) > 1 and any(not any(it) for it in halves) and any(sample)


def _is_utf_8(text: bytes) -> bool:
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(text)
    except UnicodeDecodeError:
        return False
    return True


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _refuse_bytes(
    piece: bytes, decoder: codecs.IncrementalDecoder, lines_before: int, end: bytes
) -> None:
    if b"\0" in piece:
        at = piece.index(b"\0")
        raise BadReportError(
            "There is a zero byte in it; the file is not text.",
            line=lines_before + piece[:at].count(end) + 1,
        )
    if piece.isascii() and not decoder.getstate()[0]:
        return
    try:
        decoder.decode(piece)
    except UnicodeDecodeError as error:
        at = max(error.start, 0)
        raise BadReportError(
            "It is not UTF-8; the file was saved in another encoding.",
            line=lines_before + piece[:at].count(end) + 1,
        ) from error
