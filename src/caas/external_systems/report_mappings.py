"""Report file formats as data: maps a provider's columns to the canonical ones.

A mapping defines the canonical columns, how the provider writes amounts and times, and the line
type of each of its words. Mappings for Redsys, PayPal and Mollie are built in; finance stores
others, or replacements of the same name, in the Billing Database.

Rules a change must keep: a mapping is data and never SQL, and every name and literal of it is
quoted; an invalid mapping is rejected when it is stored, not when a file arrives.
"""

import re
from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from caas.errors import RefusedError
from caas.external_systems.report_text import literal, quoted
from caas.rules.money import EXPONENTS

SHIPPED: Final = ("redsys", "paypal", "mollie")
ENTRIES_MAX: Final = 100
LINE_TYPES: Final = (
    "settlement", "refund", "refund_reversal", "chargeback", "chargeback_reversal", "fee",
    "settlement_failure", "adjustment", "cost", "tax", "invoice", "reserve", "transfer", "carried",
    "conversion",
)  # fmt: skip
CONVERTED: Final = (
    "settlement", "refund", "refund_reversal", "chargeback", "chargeback_reversal",
    "settlement_failure",
)  # fmt: skip
"""Types that become three lines when paid out in another currency: with the conversion."""
ABOUT_ANOTHER: Final = ("refund", "refund_reversal", "chargeback", "chargeback_reversal")
"""Types that concern an earlier transaction, which a format may name in its own column."""
ANY_END: Final = "*"
WITHOUT_GROSS: Final = ("fee", "cost", "tax", "invoice")
LEFT_OUT: Final = "left out"
NEEDED: Final = ("type", "gross", "booked_at")

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Column = Annotated[list[Text], msgspec.Meta(min_length=1, max_length=8)]


class MappingRefusedError(RefusedError):
    """The mapping cannot be used; nothing was kept."""

    code = "mapping_refused"


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The provider's columns for each of ours; several are joined with a blank."""

    type: Column
    gross: Column
    booked_at: Column
    net: Column | None = None
    fee: Column | None = None
    currency: Column | None = None
    net_currency: Column | None = None
    value_date: Column | None = None
    transaction_id: Column | None = None
    original_id: Column | None = None
    reference: Column | None = None
    batch_id: Column | None = None
    line_id: Column | None = None
    method: Column | None = None


class ReportMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's format.

    `types` maps each of the provider's words for a line, or its beginning (`T11*`), to a line type;
    `others` is the type of any other word. `described` takes precedence: a column, and the type of
    a row whose column begins with one of these words. `units`: amounts are in major or minor units.
    `debit` defines the sign of unsigned amounts: a column, and its words that make an amount
    negative. `keep` omits every row whose column does not begin with one of these words.
    `fee_is_negative`: fees have the sign of their effect on the balance. `ragged`: some rows have
    fewer columns than the header. `currency` is that of amounts without one. An id of several
    columns is for a provider without ids: rows that are equal in all of them are numbered. A net in
    another currency makes a row three lines: itself, and the conversion out of its currency and
    into the other. `original_id` is the column in which a refund or chargeback names its original
    transaction. `counted` begins the rows whose second column is the number of rows. `totals`
    begins those whose next columns are a currency, the sums that amounts add and take away, and the
    sums that fees add and take away. `last` begins the row that ends a file.
    """

    columns: Columns
    types: Annotated[dict[Text, str], msgspec.Meta(min_length=1, max_length=ENTRIES_MAX)]
    others: str = "adjustment"
    described: tuple[Text, Annotated[dict[Text, str], msgspec.Meta(max_length=20)]] | None = None
    time_format: Text = "%Y-%m-%d %H:%M:%S"
    date_format: Text = "%Y-%m-%d"
    zone: Text = "UTC"
    encoding: Literal["utf-8", "iso-8859-1", "windows-1252"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    units: Literal["major", "minor"] = "major"
    currency: str | None = None
    debit: tuple[Text, Text | Annotated[list[Text], msgspec.Meta(max_length=20)]] | None = None
    keep: tuple[Text, Annotated[list[Text], msgspec.Meta(max_length=20)]] | None = None
    fee_credit: tuple[Text, Text] | None = None
    fee_is_negative: bool = False
    refunds_are_positive: bool = False
    ragged: bool = False
    counted: Text | Annotated[list[Text], msgspec.Meta(max_length=20)] = []
    totals: Annotated[list[Text], msgspec.Meta(max_length=20)] = []
    last: Text | None = None

    @property
    def counts(self) -> list[str]:
        """Return the words that begin rows with a count."""
        return [self.counted] if isinstance(self.counted, str) else self.counted

    @property
    def needed(self) -> frozenset[str]:
        """Return every column that is read: a file with all of them has this format."""
        named = msgspec.structs.asdict(self.columns).values()
        columns = {name for column in named for name in column or ()}
        columns |= {self.debit[0]} if self.debit else set()
        columns |= {self.fee_credit[0]} if self.fee_credit else set()
        columns |= {self.keep[0]} if self.keep else set()
        columns |= {self.described[0]} if self.described else set()
        return frozenset(columns)

    def statement(self) -> str:
        """Return the statement that converts a file of this format to the canonical columns."""
        return _statement(self)


def read_mapping(text: bytes | str) -> ReportMapping:
    """Decode and validate a mapping.

    Raises:
        MappingRefusedError: it is invalid; the message names the fault.
    """
    try:
        mapping = msgspec.json.decode(text, type=ReportMapping)
    except msgspec.MsgspecError as error:
        raise MappingRefusedError(f"The mapping is not one: {error}.") from error
    _refuse_senseless(mapping)
    return mapping


def shipped() -> dict[str, ReportMapping]:
    """Return the built-in mappings by name."""
    folder = resources.files("caas.external_systems") / "report_formats"
    return {name: read_mapping((folder / f"{name}.json").read_bytes()) for name in SHIPPED}


def _refuse_senseless(mapping: ReportMapping) -> None:
    described = mapping.described[1].values() if mapping.described else ()
    unknown = {*mapping.types.values(), *described, mapping.others} - {*LINE_TYPES, LEFT_OUT}
    if unknown:
        known = ", ".join((*LINE_TYPES, LEFT_OUT))
        raise MappingRefusedError(f"'{min(unknown)}' is no type of line; those are: {known}.")
    _refuse_amounts(mapping)
    _refuse_uncountable(mapping)
    try:
        ZoneInfo(mapping.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise MappingRefusedError(f"'{mapping.zone}' is no time zone.") from error
    for form in (mapping.time_format, mapping.date_format):
        if not re.fullmatch(r"(?:%[YmdHMSfzyjpIbB]|[^%])+", form):
            raise MappingRefusedError(f"'{form}' is no format of a time, such as %d/%m/%Y %H:%M.")


def _refuse_uncountable(mapping: ReportMapping) -> None:
    trailers = mapping.counts or mapping.totals or mapping.last
    if trailers and (mapping.keep is None or not mapping.ragged):
        raise MappingRefusedError(
            "Rows are counted where `keep` says which they are, and `ragged` that others are there."
        )
    signed = mapping.debit is not None and mapping.fee_credit is not None
    if mapping.totals and (mapping.units != "minor" or not signed):
        raise MappingRefusedError(
            "Totals are held in minor units, where `debit` and `fee_credit` tell what adds from "
            "what takes away."
        )


def _refuse_amounts(mapping: ReportMapping) -> None:
    if (mapping.currency is None) == (mapping.columns.currency is None):
        raise MappingRefusedError("Name either a column with the currency, or the one currency.")
    if mapping.currency is not None and mapping.currency not in EXPONENTS:
        raise MappingRefusedError(f"'{mapping.currency}' is no currency.")
    if mapping.columns.net_currency is not None and mapping.columns.net is None:
        raise MappingRefusedError("A currency of the net needs the column of the net.")
    if mapping.columns.net is None and mapping.columns.fee is None:
        raise MappingRefusedError("Name the column of the net or that of the fee, or both.")


def _statement(mapping: ReportMapping) -> str:
    """Return the view of the canonical columns; a row in two currencies is three lines."""
    columns = mapping.columns
    method = _text(columns.method) if columns.method else "null"
    return f"""
create view reported as
from ({_amounts_of(mapping)}) r
cross join lateral (
  from parts p select part, suffix,
       if(part > 0, 'conversion', line_type) as kind,
       if(converted and part < 2, r.code, r.paid_in) as row_currency,
       case when part = 1 then - gross_units when part = 2 then net_units
            when line_type in {WITHOUT_GROSS} then 0 else gross_units end as moved,
       case when part = 1 then - gross_units when part = 0 and converted then gross_units
            else net_units end as left_over
   where part = 0 or converted) s
select place, formula, cast(place - 1 + part * 1000000000 as varchar) as line_no,
       coalesce({_identifier(columns.batch_id)}, 'report') as batch_id,
       {_line_id(columns)} || suffix as line_id,
       if(part > 0, null, {_transaction_id(columns)}) as transaction_id,
       if(part > 0, null, {_identifier(columns.reference)}) as reference, kind as type,
       cast(moved as varchar) as gross, cast(moved - left_over as varchar) as fee,
       cast(left_over as varchar) as net, row_currency as currency,
       booked as booked_at, coalesce({_value_date(mapping)}, cast(booked as date)) as value_date,
       {_dated(mapping)} as dated, null::date as also_dated, lower({method}) as method,
       null::bigint as commission, null::bigint as markup, null::bigint as scheme_fees,
       null::bigint as interchange,
       if(part > 0, rate_of(net_units, paid_factor, gross_units, factor), null) as rate,
       if(part = 0 and converted, coalesce(fee_units, 0), null) as payout_fee,
       if(part = 0 and converted, 1, null) as payout_unit,
       case when {_is_missing(mapping, "gross")} then 'its gross is missing'
            when {_is_missing(mapping, "net")} then 'its net is missing'
            when not converted and line_type not in {WITHOUT_GROSS}
             and gross_units - fee_units <> net_units
            then 'gross - fee is not net' end as refused
"""


def _is_missing(mapping: ReportMapping, amount: Literal["gross", "net"]) -> str:
    """Return the condition that a row lacks an amount that its type needs.

    What the provider keeps may stand in the column of the fee instead of that of the gross.
    """
    columns = mapping.columns
    if amount == "net":
        return f"is_blank({_text(columns.net)})" if columns.net else "false"
    missing = f"is_blank({_text(columns.gross)})"
    if columns.net is None:
        fee = f"is_blank({_text(columns.fee)})"
        return f"{missing} and (line_type not in {WITHOUT_GROSS} or {fee})"
    return f"{missing} and line_type not in {WITHOUT_GROSS}"


def _amounts_of(mapping: ReportMapping) -> str:
    """Return the query of rows with their types, amounts, currencies and times."""
    columns = mapping.columns
    currency = (
        f"upper({_text(columns.currency)})"
        if columns.currency
        else f"code_in({_text(columns.gross)}, {_of(mapping.currency)})"
    )
    paid_in = f"upper({_text(columns.net_currency)})" if columns.net_currency else "code"
    gross = _amount(columns.gross, mapping)
    net = _amount(columns.net, mapping, factor="n.factor") if columns.net else None
    fee = _amount(columns.fee, mapping, is_fee=True) if columns.fee else None
    booked = f"try_strptime({_text(columns.booked_at)}, {literal(mapping.time_format)})"
    if "%z" not in mapping.time_format:
        booked = f"timezone({literal(mapping.zone)}, {booked})"
    return f"""
  from (from (from raw select *, {_type(mapping)} as line_type, {currency} as code)
        select *, {paid_in} as paid_in) r
  left join currencies c using (code)
  left join currencies n on n.code = r.paid_in
  select r.*, c.factor, n.factor as paid_factor, {gross} as gross_units,
         {net or f"({gross}) - ({fee})"} as net_units, {fee or "null::bigint"} as fee_units,
         timezone('UTC', {booked}) as booked,
         coalesce(r.paid_in <> r.code, false) and line_type in {CONVERTED} as converted
   where line_type <> {literal(LEFT_OUT)} or line_type is null
"""


def _dated(mapping: ReportMapping) -> str:
    """Return a row's day in the format's time zone; an instant belongs to the market's day."""
    if "%z" in mapping.time_format:
        return "null::date"
    return f"cast(timezone({literal(mapping.zone)}, timezone('UTC', booked)) as date)"


def _value_date(mapping: ReportMapping) -> str:
    column = mapping.columns.value_date
    if column is None:
        return "null"
    return f"cast(try_strptime({_text(column)}, {literal(mapping.date_format)}) as date)"


def _type(mapping: ReportMapping) -> str:
    word = f"trim({_text(mapping.columns.type)})"
    whole = {
        reported: type_
        for reported, type_ in mapping.types.items()
        if not reported.endswith(ANY_END)
    }
    begun = {
        reported: type_ for reported, type_ in mapping.types.items() if reported.endswith(ANY_END)
    }
    cases = [
        f"when {word} = {literal(reported)} then {literal(it)}" for reported, it in whole.items()
    ]
    cases += [
        f"when starts_with({word}, {literal(reported.removesuffix(ANY_END))}) then {literal(it)}"
        for reported, it in sorted(begun.items(), key=lambda one: -len(one[0]))
    ]
    if mapping.described is not None:
        column, words = mapping.described
        cases = [
            f"when starts_with(trim({quoted(column)}), {literal(reported)}) then {literal(it)}"
            for reported, it in words.items()
        ] + cases
    known = f"case {' '.join(cases)} else {literal(mapping.others)} end"
    if mapping.keep is None:
        return known
    column, kept_words = mapping.keep
    kept = " or ".join(f"starts_with({quoted(column)}, {literal(it)})" for it in kept_words)
    return f"case when {kept or 'false'} then {known} else {literal(LEFT_OUT)} end"


def _amount(
    column: Sequence[str],
    mapping: ReportMapping,
    *,
    is_fee: bool = False,
    factor: str = "c.factor",
) -> str:
    code = "r.paid_in" if factor.startswith("n.") else "r.code"
    factor = factor if mapping.units == "major" else "1"
    amount = f"amount_in({_text(column)}, {code}, {factor})"
    if is_fee and mapping.fee_is_negative:
        return f"- ({amount})"
    turned = mapping.fee_credit if is_fee else mapping.debit
    if turned is not None:
        amount = f"if({is_word(*turned)}, - ({amount}), {amount})"
    if mapping.refunds_are_positive and not is_fee:
        amount = f"if(line_type in ('refund', 'chargeback'), - abs({amount}), {amount})"
    return amount


def is_word(column: str, words: str | Sequence[str]) -> str:
    """Return the condition that a column has one of these words."""
    listed = [words] if isinstance(words, str) else words
    return f"trim({quoted(column)}) in ({', '.join(literal(word) for word in listed)})"


def _transaction_id(columns: Columns) -> str:
    """Return a row's transaction; a refund or chargeback has that of its original."""
    own = _identifier(columns.transaction_id)
    if columns.original_id is None:
        return own
    about, reference = _identifier(columns.original_id), _identifier(columns.reference)
    return (
        f"if(line_type in {ABOUT_ANOTHER}, coalesce({about}, if({reference} is null, {own}, null)),"
        f" {own})"
    )


def _line_id(columns: Columns) -> str:
    """Return the provider's id, or one built from all identifying columns and a number.

    It has only the digits of the first column, because a run of digits could look like a card
    number.
    """
    if columns.line_id is None or len(columns.line_id) == 1:
        return _identifier(columns.line_id)
    stated = f"md5({_text(columns.line_id)})"
    letters = f"translate({stated}, '0123456789', 'ghijklmnop')"
    turn = f"row_number() over (partition by {stated}, part order by place)"
    name = f"concat_ws('.', {_identifier(columns.line_id[:1])}, {letters})"
    return f"{name} || if({turn} > 1, '.' || {turn}, '')"


def _identifier(column: Sequence[str] | None) -> str:
    return f"identifier({_text(column)})" if column else "null::varchar"


def _text(column: Sequence[str] | None) -> str:
    return f"concat_ws(' ', {', '.join(quoted(name) for name in column or ())})"


def _of(currency: str | None) -> str:
    assert currency is not None, "a mapping names its currency, or a column with it"
    return literal(currency)
