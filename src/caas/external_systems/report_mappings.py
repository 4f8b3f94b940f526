"""Formats of report files as data: which column of a provider's file is which of ours.

A mapping says where the canonical columns are, how the provider writes amounts and times, and which
of its words is which type of line. Redsys, PayPal, Mollie and Worldline come with one; finance
keeps others, or its own of the same name, in the Billing Database.

Rules a change must keep: a mapping is data and never SQL, every name and literal of it is quoted;
what it cannot say is refused when it is kept, not when a file comes.
"""

import re
from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from caas.errors import RefusedError
from caas.external_systems.report_text import quoted
from caas.rules.money import EXPONENTS

SHIPPED: Final = ("redsys", "paypal", "mollie", "worldline")
ENTRIES_MAX: Final = 100
LINE_TYPES: Final = (
    "settlement", "refund", "refund_reversal", "chargeback", "chargeback_reversal", "fee",
    "settlement_failure", "adjustment", "cost", "tax", "invoice", "reserve", "transfer", "carried",
)  # fmt: skip
WITHOUT_GROSS: Final = ("fee", "cost", "tax", "invoice")
LEFT_OUT: Final = "left out"
NEEDED: Final = ("type", "gross", "booked_at")

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Column = Annotated[list[Text], msgspec.Meta(min_length=1, max_length=3)]


class MappingRefusedError(RefusedError):
    """The mapping cannot be used; nothing was kept."""

    code = "mapping_refused"


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where our columns are in the provider's file; several are joined with a blank."""

    type: Column
    gross: Column
    booked_at: Column
    net: Column | None = None
    fee: Column | None = None
    currency: Column | None = None
    value_date: Column | None = None
    transaction_id: Column | None = None
    reference: Column | None = None
    batch_id: Column | None = None
    line_id: Column | None = None
    method: Column | None = None


class ReportMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's format.

    `types` names each of the provider's words for a line, `others` what any other word is. `units`
    says whether amounts are written in major or minor units. `debit` tells unsigned amounts apart:
    a column, and the word in it that makes an amount negative. `keep` leaves out every row whose
    column does not begin with one of these words. `fee_is_negative`: fees are written as what they
    do to the balance. `ragged`: some rows have fewer columns than the header.
    """

    columns: Columns
    types: Annotated[dict[Text, str], msgspec.Meta(min_length=1, max_length=ENTRIES_MAX)]
    others: str = "adjustment"
    time_format: Text = "%Y-%m-%d %H:%M:%S"
    date_format: Text = "%Y-%m-%d"
    zone: Text = "UTC"
    encoding: Literal["utf-8", "iso-8859-1", "windows-1252"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    units: Literal["major", "minor"] = "major"
    currency: str | None = None
    debit: tuple[Text, Text] | None = None
    keep: tuple[Text, Annotated[list[Text], msgspec.Meta(max_length=20)]] | None = None
    fee_credit: tuple[Text, Text] | None = None
    fee_is_negative: bool = False
    refunds_are_positive: bool = False
    ragged: bool = False

    @property
    def needed(self) -> frozenset[str]:
        """Return every column that is read: a file that has them all is of this format."""
        named = msgspec.structs.asdict(self.columns).values()
        columns = {name for column in named for name in column or ()}
        columns |= {self.debit[0]} if self.debit else set()
        columns |= {self.fee_credit[0]} if self.fee_credit else set()
        columns |= {self.keep[0]} if self.keep else set()
        return frozenset(columns)

    def statement(self) -> str:
        """Return the statement that brings a file of this format into the canonical columns."""
        return _statement(self)


def read_mapping(text: bytes | str) -> ReportMapping:
    """Read a mapping, and refuse what it cannot mean.

    Raises:
        MappingRefusedError: the sentence says what of it is wrong.
    """
    try:
        mapping = msgspec.json.decode(text, type=ReportMapping)
    except msgspec.MsgspecError as error:
        raise MappingRefusedError(f"The mapping is not one: {error}.") from error
    _refuse_senseless(mapping)
    return mapping


def shipped() -> dict[str, ReportMapping]:
    """Return the mappings that come with the platform, by name."""
    folder = resources.files("caas.external_systems") / "report_formats"
    return {name: read_mapping((folder / f"{name}.json").read_bytes()) for name in SHIPPED}


def _refuse_senseless(mapping: ReportMapping) -> None:
    unknown = {*mapping.types.values(), mapping.others} - {*LINE_TYPES, LEFT_OUT}
    if unknown:
        known = ", ".join((*LINE_TYPES, LEFT_OUT))
        raise MappingRefusedError(f"'{min(unknown)}' is no type of line; those are: {known}.")
    if (mapping.currency is None) == (mapping.columns.currency is None):
        raise MappingRefusedError("Name either a column with the currency, or the one currency.")
    if mapping.currency is not None and mapping.currency not in EXPONENTS:
        raise MappingRefusedError(f"'{mapping.currency}' is no currency.")
    if mapping.columns.net is None and mapping.columns.fee is None:
        raise MappingRefusedError("Name the column of the net or that of the fee, or both.")
    try:
        ZoneInfo(mapping.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise MappingRefusedError(f"'{mapping.zone}' is no time zone.") from error
    for form in (mapping.time_format, mapping.date_format):
        if not re.fullmatch(r"(?:%[YmdHMSfzyjpIbB]|[^%])+", form):
            raise MappingRefusedError(f"'{form}' is no format of a time, such as %d/%m/%Y %H:%M.")


def _statement(mapping: ReportMapping) -> str:
    columns = mapping.columns
    currency = f"upper({_text(columns.currency)})" if columns.currency else _of(mapping.currency)
    gross = _amount(columns.gross, mapping)
    net = _amount(columns.net, mapping) if columns.net else None
    fee = _amount(columns.fee, mapping, is_fee=True) if columns.fee else None
    booked = f"try_strptime({_text(columns.booked_at)}, {_literal(mapping.time_format)})"
    if "%z" not in mapping.time_format:
        booked = f"timezone({_literal(mapping.zone)}, {booked})"
    valued = _text(columns.value_date) if columns.value_date else None
    return f"""
create view told as
from (
  from (from raw select *, {_type(mapping)} as line_type, {currency} as code)
  left join currencies c using (code)
  select *, {gross} as gross_units, {net or f"({gross}) - ({fee})"} as net_units,
         {fee or "null::bigint"} as fee_units,
         timezone('UTC', {booked}) as booked
   where line_type <> {_literal(LEFT_OUT)} or line_type is null
) r
select place, formula, cast(place - 1 as varchar) as line_no,
       coalesce({_identifier(columns.batch_id)}, 'report') as batch_id,
       {_identifier(columns.line_id)} as line_id,
       {_identifier(columns.transaction_id)} as transaction_id,
       {_identifier(columns.reference)} as reference, line_type as type,
       cast(if(line_type in {WITHOUT_GROSS}, 0, gross_units) as varchar) as gross,
       cast(if(line_type in {WITHOUT_GROSS}, 0, gross_units) - net_units as varchar) as fee,
       cast(net_units as varchar) as net, code as currency,
       booked as booked_at,
       coalesce({
        f"cast(try_strptime({valued}, {_literal(mapping.date_format)}) as date)"
        if valued
        else "null"
    }, cast(booked as date)) as value_date,
       null::date as also_dated, lower({_text(columns.method) if columns.method else "null"})
         as method,
       null::bigint as commission, null::bigint as markup, null::bigint as scheme_fees,
       null::bigint as interchange, null::varchar as rate,
       case when line_type not in {WITHOUT_GROSS} and gross_units - fee_units <> net_units
            then 'gross - fee is not net' end as refused
"""


def _type(mapping: ReportMapping) -> str:
    word = f"trim({_text(mapping.columns.type)})"
    cases = " ".join(
        f"when {_literal(told)} then {_literal(type_)}" for told, type_ in mapping.types.items()
    )
    known = f"case {word} {cases} else {_literal(mapping.others)} end"
    if mapping.keep is None:
        return known
    column, words = mapping.keep
    kept = " or ".join(f"starts_with({quoted(column)}, {_literal(it)})" for it in words)
    return f"case when {kept or 'false'} then {known} else {_literal(LEFT_OUT)} end"


def _amount(column: Sequence[str], mapping: ReportMapping, *, is_fee: bool = False) -> str:
    factor = "c.factor" if mapping.units == "major" else "1"
    amount = f"units(plain({_text(column)}), {factor})"
    if is_fee and mapping.fee_is_negative:
        return f"- ({amount})"
    turned = mapping.fee_credit if is_fee else mapping.debit
    if turned is not None:
        amount = f"if({quoted(turned[0])} = {_literal(turned[1])}, - ({amount}), {amount})"
    if mapping.refunds_are_positive and not is_fee:
        amount = f"if(line_type in ('refund', 'chargeback'), - abs({amount}), {amount})"
    return amount


def _identifier(column: Sequence[str] | None) -> str:
    return f"identifier({_text(column)})" if column else "null::varchar"


def _text(column: Sequence[str] | None) -> str:
    return f"concat_ws(' ', {', '.join(quoted(name) for name in column or ())})"


def _of(currency: str | None) -> str:
    assert currency is not None, "a mapping names its currency, or a column with it"
    return _literal(currency)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
