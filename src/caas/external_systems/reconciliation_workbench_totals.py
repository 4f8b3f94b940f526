"""What providers write of their own files, held against the rows: totals, payouts and counts.

Rules a change must keep: half a file is refused; what cannot be added up is named with its line.
"""

from typing import TYPE_CHECKING

from caas.external_systems.reconciliation_workbench_identities import RowIdentities
from caas.external_systems.report_files import BadReportError, ReportFile, statement
from caas.external_systems.report_mappings import ReportMapping, is_word
from caas.external_systems.report_text import literal, quoted
from caas.rules.money import Money

if TYPE_CHECKING:
    import duckdb


class ProviderTotals(RowIdentities):
    """The totals of a file's provider, in a DuckDB that is given."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Look at this database."""
        super().__init__(connection)

    def _refuse_open_payout(self) -> None:
        """Hold Adyen's own totals, by currency, against its lines."""
        unread = self._connection.execute(statement("adyen_unread")).fetchone()
        if unread is not None:
            place, cell, column, currency = unread
            raise BadReportError(
                f"'{cell[:40]}' in the column '{column}' is no amount of {currency}, so that the "
                "payout cannot be held against its lines.",
                line=place,
            )
        totals = self._connection.execute(statement("adyen_payouts")).fetchall()
        wrong = [(currency, closings, left) for currency, closings, left in totals if left]
        unclosed = [currency for currency, closings, _ in totals if not closings]
        if unclosed:
            raise BadReportError(
                f"It has no MerchantPayout or Balancetransfer in {', '.join(unclosed)}: it is cut "
                "off, or not closed yet."
            )
        if wrong:
            reported = ", ".join(str(Money(abs(left), currency)) for currency, _, left in wrong)
            raise BadReportError(
                f"The control totals do not agree: the payout and the lines differ by {reported}; "
                "lines are missing, or are there twice."
            )

    def _refuse_trailers(self, report: ReportFile, mapping: ReportMapping) -> None:
        """Hold what a provider writes below its rows against those that are there."""
        for word in [*mapping.counts, *mapping.totals, *([mapping.last] if mapping.last else [])]:
            if not self._connection.execute(
                f"select 1 from raw where {_begins(mapping, [word])} limit 1"
            ).fetchone():
                raise BadReportError(
                    f"It has no row '{word}', below which it would end: it is cut off."
                )
        for word in mapping.counts:
            self._refuse_uncounted(report, mapping, word)
        for word in mapping.totals:
            self._refuse_other_sums(report, mapping, word)

    def _refuse_uncounted(self, report: ReportFile, mapping: ReportMapping, word: str) -> None:
        assert mapping.keep is not None, "a mapping that counts rows says which"
        number = quoted(distinct_names(report.columns)[1])
        found = self._connection.execute(
            f"select count(*) filter (where {_begins(mapping, mapping.keep[1])}),"
            f" sum(coalesce(try_cast({number} as bigint), -1)) filter"
            f" (where {_begins(mapping, [word])}) from raw"
        ).fetchone()
        assert found is not None, "a count is one row"
        rows, reported = found
        if rows != reported:
            raise BadReportError(
                f"It has {rows} rows '{', '.join(mapping.keep[1])}', and its own count '{word}' "
                f"says {reported}: it is not whole."
            )

    def _refuse_other_sums(self, report: ReportFile, mapping: ReportMapping, word: str) -> None:
        """Hold the totals of a word's rows, by currency, against the rows that are there."""
        assert mapping.keep is not None, "a mapping with totals says of which rows"
        code, *cells = (quoted(it) for it in distinct_names(report.columns)[1:6])
        stated = ", ".join(f"sum(coalesce(try_cast({it} as hugeint), -1))" for it in cells)
        currency, gross, fee = (
            " || ".join(f"coalesce({quoted(it)}, '')" for it in column or ())
            for column in (mapping.columns.currency, mapping.columns.gross, mapping.columns.fee)
        )
        assert mapping.debit is not None, "totals tell what adds from what takes away"
        assert mapping.fee_credit is not None, "totals tell what adds from what takes away"
        takes = is_word(*mapping.debit)
        gives = is_word(*mapping.fee_credit)
        summed = ", ".join(
            f"coalesce(sum(try_cast({amount} as hugeint)) filter (where {which}), 0)"
            for amount, which in (
                (gross, f"({takes}) is not true"), (gross, takes),
                (fee, gives), (fee, f"({gives}) is not true"),
            )
        )  # fmt: skip
        wrong = self._connection.execute(
            f"with stated as (select upper({code}) as code, [{stated}] as totals from raw"
            f" where {_begins(mapping, [word])} group by all),"
            f" rows_ as (select upper({currency}) as code, [{summed}] as totals from raw"
            f" where {_begins(mapping, mapping.keep[1])} group by all)"
            " select coalesce(s.code, r.code), s.totals, r.totals from stated s full join rows_ r"
            " on r.code = s.code where coalesce(s.totals, [0, 0, 0, 0]) is distinct from"
            " coalesce(r.totals, [0, 0, 0, 0]) order by 1 limit 1"
        ).fetchone()
        if wrong is not None:
            currency, reported, there = wrong
            raise BadReportError(
                f"Its rows '{word}' say {_in_words(reported)} {currency}, and its rows come to "
                f"{_in_words(there)}: it is not whole."
            )


def _begins(mapping: ReportMapping, words: list[str]) -> str:
    """Return the condition that a row begins with one of these words."""
    assert mapping.keep is not None, "a mapping that knows words of rows says where they are"
    column = quoted(mapping.keep[0])
    return "(" + " or ".join(f"starts_with({column}, {literal(it)})" for it in words) + ")"


def _in_words(totals: list[int] | None) -> str:
    if totals is None:
        return "nothing of"
    added, taken, fees_back, fees = totals
    return f"+{added} -{taken}, fees +{fees_back} -{fees}"


def distinct_names(columns: tuple[str, ...]) -> list[str]:
    """Name columns that a file names twice, or not at all, so that each has a name of its own."""
    named: list[str] = []
    for at, column in enumerate(columns):
        named.append(column if column and column not in named else f"{column}#{at}")
    return named
