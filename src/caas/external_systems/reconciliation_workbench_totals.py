"""What providers write of their own files, held against the rows: totals, payouts and counts.

Rules a change must keep: half a file is refused; what cannot be added up is named with its line.
"""

from typing import TYPE_CHECKING

from caas.external_systems.reconciliation_workbench_identities import RowIdentities
from caas.external_systems.report_files import BadReportError, ReportFile, statement
from caas.external_systems.report_mappings import ReportMapping
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

    def _refuse_uncounted(self, report: ReportFile, mapping: ReportMapping) -> None:
        """Hold the number of rows that a provider writes below them against those that are there.

        The number is in the second column of the rows that the mapping names.
        """
        assert mapping.keep is not None, "a mapping that counts rows says which"
        column, kept = mapping.keep
        words = " or ".join(f"starts_with({quoted(column)}, {literal(it)})" for it in kept)
        number = quoted(distinct_names(report.columns)[1])
        found = self._connection.execute(
            f"from (from raw select ({words}) as kept, case when {quoted(column)} ="
            f" {literal(mapping.counted or '')} then coalesce(try_cast({number} as bigint), -1) end"
            " as told) select count(*) filter (where kept), sum(told), count(told)"
        ).fetchone()
        assert found is not None, "a count is one row"
        rows, reported, counts = found
        if not counts:
            raise BadReportError(
                f"It has no row '{mapping.counted}', below which it would end: it is cut off."
            )
        if rows != reported:
            raise BadReportError(
                f"It has {rows} rows '{', '.join(kept)}', and its own count '{mapping.counted}' "
                f"says {reported}: it is not whole."
            )


def distinct_names(columns: tuple[str, ...]) -> list[str]:
    """Name columns that a file names twice, or not at all, so that each has a name of its own."""
    named: list[str] = []
    for at, column in enumerate(columns):
        named.append(column if column and column not in named else f"{column}#{at}")
    return named
