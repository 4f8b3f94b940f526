"""Report mappings and agreed fees, and the preview of a report file.

Rules a change must keep: a mapping is validated before it is saved; a preview stores nothing.
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from caas.billing_database.report_terms import FeeTerm, KeptMapping, ReportTerms
from caas.errors import NotFoundError, RefusedError
from caas.external_systems import report_files
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.report_files import ReportFormat
from caas.external_systems.report_mappings import MappingRefusedError, read_mapping, shipped
from caas.rules.card_numbers import scrub

TRIED: Final = "tried"
ANY: Final = "*"
NAME: Final = r"[a-z0-9][a-z0-9_-]{0,39}"
METHOD: Final = r"\*|[a-z0-9][a-z0-9_-]{0,39}"
KINDS: Final = (
    "settlement", "refund", "refund_reversal", "chargeback", "chargeback_reversal", "fee",
)  # fmt: skip
AMOUNT_MAX: Final = 1_000_000
SHOWN_MAX: Final = 20


class FeeRefusedError(RefusedError):
    """A fee is a rate in millionths, a fixed part and a tolerance, each from 0 to 1000000."""

    code = "fee_refused"


class MappingNotFoundError(NotFoundError):
    """No mapping has this name."""

    code = "mapping_not_found"


class PreviewedSum(msgspec.Struct, frozen=True):
    """Lines of one type and currency, and their total in minor units."""

    type: str
    currency: str
    lines: int
    gross: int
    fee: int
    net: int


class Preview(msgspec.Struct, frozen=True):
    """How a file is read: format, dates, sums, and unreadable lines."""

    format: str
    rows: int
    first_day: date | None
    last_day: date | None
    sums: list[PreviewedSum]
    lines: list[dict[str, Any]]
    unreadable: list[str]
    unreadable_lines: int


class FinanceTerms:
    """The provider's report mappings and agreed fees."""

    def __init__(self, terms: ReportTerms, *, gateway: str, zone: ZoneInfo) -> None:
        """Use this gateway's terms, with dates in this zone."""
        self._terms = terms
        self._gateway = gateway
        self._zone = zone

    async def formats(self) -> tuple[ReportFormat, ...]:
        """Return the formats described by shipped and saved mappings."""
        mappings = dict(shipped())
        for kept in await self._terms.mappings():
            mappings.pop(kept.name, None)
            if not kept.retired:
                mappings[kept.name] = read_mapping(msgspec.json.encode(kept.mapping))
        return report_files.mapped(mappings)

    async def mappings(self) -> list[KeptMapping]:
        """Return the saved mappings in their latest version."""
        return await self._terms.mappings()

    async def shipped(self) -> Mapping[str, dict[str, Any]]:
        """Return the mappings shipped with the platform."""
        return {name: msgspec.to_builtins(mapping) for name, mapping in shipped().items()}

    async def keep_mapping(
        self, name: str, mapping: dict[str, Any], *, by: str, retired: bool = False
    ) -> KeptMapping:
        """Save a mapping as the latest version of its name; `retired` takes it out of use.

        Raises:
            MappingRefusedError: the mapping is invalid.
        """
        if not _matches(NAME, name) or name in {it.name for it in report_files.FORMATS}:
            raise MappingRefusedError(
                f"'{name[:40]}' is not a valid mapping name. Use lower-case "
                "letters, digits, '-' and '_', and not the name of a built-in "
                "format."
            )
        checked = read_mapping(msgspec.json.encode(mapping))
        return await self._terms.keep_mapping(name, msgspec.to_builtins(checked), by=by,
                                              retired=retired)  # fmt: skip

    async def retire_mapping(self, name: str, *, by: str) -> KeptMapping:
        """Retire a mapping, saved or shipped; its versions are kept.

        Raises:
            MappingNotFoundError: no mapping of this name is in use.
        """
        kept = {it.name: it for it in await self._terms.mappings()}
        if name in kept:
            mapping = None if kept[name].retired else kept[name].mapping
        else:
            mapping = (await self.shipped()).get(name)
        if mapping is None:
            raise MappingNotFoundError(f"No mapping named '{name[:40]}' is in use.")
        return await self.keep_mapping(name, dict(mapping), by=by, retired=True)

    async def today(self) -> date:
        """Return the current day in the market's time zone."""
        return await self._terms.today(self._zone.key)

    async def fees(self, day: date) -> list[FeeTerm]:
        """Return the fees in effect on a day."""
        return await self._terms.fees(self._gateway, day)

    async def fees_of(self, provider: str, day: date) -> list[FeeTerm]:
        """Return the fees that apply to a provider's report on a day.

        Fees agreed with the provider itself take precedence over those for any provider.
        """
        kept = await self.fees(day)
        own = {it.kind for it in kept if it.provider == provider}
        return [it for it in kept if it.provider == (provider if it.kind in own else ANY)]

    async def keep_fee(
        self,
        method: str,
        kind: str,
        valid_from: date,
        amounts: tuple[int, int, int],
        *,
        provider: str = ANY,
        by: str,
    ) -> None:
        """Save a fee: rate in millionths, fixed part and tolerance in minor units.

        `provider` is the format of its reports, built-in or mapped.

        Raises:
            FeeRefusedError: the fee is invalid.
        """
        _refuse_fee(method, kind, amounts)
        known = {ANY, *(it.name for it in (*report_files.FORMATS, *await self.formats()))}
        if provider not in known:
            raise FeeRefusedError(
                f"'{provider[:40]}' is not a known provider format. Known: "
                f"{', '.join(sorted(known))}."
            )
        await self._terms.keep_fee(
            self._gateway, method, kind, valid_from, amounts, provider=provider, by=by
        )

    async def preview(
        self,
        path: Path,
        bench_in: AbstractAsyncContextManager[Workbench],
        mapping: dict[str, Any] | None = None,
    ) -> Preview:
        """Show how a file would be read, optionally with a mapping that is not saved.

        Raises:
            BadReportError: the file cannot be read.
            MappingRefusedError: the mapping is invalid.
        """
        formats = await self.formats()
        if mapping is not None:
            tried = {TRIED: read_mapping(msgspec.json.encode(mapping))}
            formats = (*report_files.mapped(tried), *formats)
        async with bench_in as bench:
            return await asyncio.to_thread(self._read, path, bench, formats)

    def _read(self, path: Path, bench: Workbench, formats: tuple[ReportFormat, ...]) -> Preview:
        file = report_files.examine(path, bench.folder, formats)
        bench.read(file)
        days = bench.days(self._zone.key)
        first, last = (days.own[0], days.own[-1]) if days else (None, None)
        unreadable = bench.quarantined()
        return Preview(
            file.format.name,
            bench.rows(),
            first,
            last,
            [PreviewedSum(*row) for row in bench.sums_by_type()],
            [
                {name: scrub(value) if isinstance(value, str) else value
                 for name, value in line.items()}
                for line in bench.first_lines(SHOWN_MAX)
            ],
            [f"line {bad.place}: {bad.reason}" for bad in unreadable[:SHOWN_MAX]],
            len(unreadable),
        )  # fmt: skip


def _refuse_fee(method: str, kind: str, amounts: tuple[int, int, int]) -> None:
    rate, fixed, tolerance = amounts
    if not 0 <= rate <= AMOUNT_MAX:
        raise FeeRefusedError(f"{Decimal(rate) / 10_000:f} % is not between 0 and 100 %.")
    for name, amount in (("fixed part", fixed), ("tolerance", tolerance)):
        if not 0 <= amount <= AMOUNT_MAX:
            raise FeeRefusedError(f"The {name} {amount} is not between 0 and {AMOUNT_MAX}.")
    if kind not in KINDS:
        raise FeeRefusedError(f"'{kind[:40]}' is no type of line with a fee: {', '.join(KINDS)}.")
    if not _matches(METHOD, method):
        raise FeeRefusedError(
            f"'{method[:40]}' is no payment method: lower-case letters, digits, '-' and '_', or "
            "'*' for any."
        )


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None
