"""What a run says that it found, and what else ended because of it.

A run that found one line said two: it also counted a line of another day, whose discrepancy ended
because of it. A sum over the runs of a month counted such lines twice.
"""

import csv
import io
from pathlib import Path

from caas.cli.reconciliation_texts import summary
from tests.api.conftest import Doors
from tests.reconciliation.office import Office
from tests.reconciliation.test_money_adds_up import by_file, settled
from tests.reconciliation.test_over_http import CLERK, ROOT, doors  # noqa: F401

ALIEN = {"transaction_id": "txn_alien", "gross": 1299, "fee": 0}
TAKEN_BACK = ALIEN | {"gross": -1299}


async def test_a_run_counts_its_own_lines_and_names_what_ended_elsewhere(office: Office) -> None:
    await office.line(**ALIEN)
    first = await office.closed()
    await office.days_pass(1)
    await office.line(**TAKEN_BACK)

    second = await office.closed()

    assert (first.run.counts, first.run.cleared) == ({"missing_in_book": 1}, {})
    assert (second.run.counts, second.run.cleared) == ({"given_back": 1}, {"missing_in_book": 1})
    assert summary(second)[1:4] == [
        "       1  given_back",
        "open discrepancies that ended because of it:",
        "       1  missing_in_book",
    ]


async def test_a_late_settlement_that_came_is_named(office: Office) -> None:
    payment = await office.capturing()
    await office.a_settlement_is_late()
    await office.line(payment)

    done = await office.closed()

    assert (done.run.counts, done.run.cleared) == ({"matched": 1}, {"delayed_settlement": 1})


async def test_a_refund_whose_reversal_came_is_named_and_not_counted_again(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("Refunded", -300))

    done = await by_file(office, tmp_path, payment, ("RefundedReversed", 300))

    own = {name: number for name, number in done.run.counts.items() if name != "carried_balance"}
    assert (own, done.run.cleared) == ({"matched": 1}, {"refund_mismatch": 1})


async def test_the_api_and_the_file_say_the_same(
    office: Office,
    doors: Doors,  # noqa: F811
) -> None:
    await office.line(**ALIEN)
    await office.closed()
    await office.days_pass(1)
    await office.line(**TAKEN_BACK)
    done = await office.closed()

    answer = await doors.get(f"{ROOT}/runs/{done.run.id}", caller=CLERK)
    content = await office.reconciliation.of().reporting.file(office.today, "csv")
    rows = list(csv.reader(io.StringIO(content.decode())))
    head = rows.index(["Runs"]) + 1

    counts, cleared = {"given_back": 1}, {"missing_in_book": 1}
    assert (answer.json["counts"], answer.json["cleared"]) == (counts, cleared)
    [run] = [dict(zip(rows[head], row, strict=True)) for row in rows[head + 1 :] if row]
    assert (run["found"], run["cleared"]) == ("1 given_back", "1 missing_in_book")


async def test_the_verdict_of_a_file_has_a_column_for_each_value(office: Office) -> None:
    """Who sealed the day stood under "matching lines"."""
    await office.line(await office.capturing())
    await office.closed()
    await office.reconciliation.seal(office.today, by="olga")

    content = await office.reconciliation.of().reporting.file(office.today, "csv")
    [_, head, row, *_] = csv.reader(io.StringIO(content.decode()))

    verdict = dict(zip(head, row, strict=True))
    assert (verdict["sealed by"], verdict["matching lines"]) == ("olga", "1")
