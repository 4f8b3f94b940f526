"""The clerk's commands for many discrepancies, claims, fees and mappings, at the same limits."""

import json
from pathlib import Path
from uuid import UUID

from tests.people import employed
from tests.reconciliation.office import Office
from tests.reconciliation.test_command_line import Caas, caas, installation_rows  # noqa: F401

LARGE = 30_000
MAPPING = {
    "columns": {"type": ["Art"], "gross": ["Brutto"], "fee": ["Kosten"], "booked_at": ["Am"]},
    "types": {"Zahlung": "settlement"}, "currency": "EUR", "delimiter": ";",
    "time_format": "%d.%m.%Y %H:%M",
}  # fmt: skip


async def test_a_rule_is_proposed_here_and_approved_by_an_account(
    office: Office,
    caas: Caas,  # noqa: F811
) -> None:
    for number in range(2):
        await office.line(transaction_id=f"txn_{number}", gross=-LARGE, fee=0)
    await office.line(transaction_id="txn_small", gross=100, fee=0)
    await office.closed()
    rule = ("discrepancies", "resolve-all", "missing_in_book")

    small = await caas(*rule, "correct_by_entry", "--up-to", "5.00", "--note", "Cents.", "--json")
    claimed = await caas(*rule, "claim_from_gateway", "--note", "Theirs.", "--by", "Ana", "--json")
    waiting = await caas("discrepancies", "proposals", "--json")
    [bulk] = {it["id"] for it in waiting.json}
    alone = await caas("discrepancies", "approve-all", bulk, "--by", "Ana")
    await office.reconciliation.bulk.approve(
        UUID(bulk), by=await employed(office.installation.database, "luis")
    )
    listed = await caas("claims", "list", "--json")
    claim = listed.json[0]["discrepancy_id"]
    lacking = await caas("claims", "step", claim, "sent", "--note", "Sent.")
    stepped = await caas(
        "claims", "step", claim, "sent", "--receipt", "T-4711", "--note", "Sent.", "--by", "Ana"
    )

    assert (small.json["met"], small.json["by_status"]) == (1, {"resolved": 1})
    assert (claimed.json["needs_second_approver"], claimed.json["by_status"]) == (
        True, {"proposed": 2},
    )  # fmt: skip
    assert (waiting.json[0]["discrepancies"], waiting.json[0]["amount"]) == (2, 2 * LARGE)
    assert (alone.status, "an API key that was made there" in alone.err) == (4, True)
    assert len(listed.json) == 2
    assert (lacking.status, "receipt" in lacking.err) == (4, True)
    assert stepped.out.split()[1:5] == ["sent", "300.00", "EUR", "T-4711"]


async def test_a_rule_that_was_proposed_is_turned_down_as_one(
    office: Office,
    caas: Caas,  # noqa: F811
) -> None:
    for number in range(2):
        await office.line(transaction_id=f"txn_{number}", gross=LARGE, fee=0)
    await office.closed()

    proposed = await caas(
        "discrepancies",
        "resolve-all",
        "missing_in_book",
        "correct_by_entry",
        "--note",
        "No.",
        "--json",
    )
    rejected = await caas(
        "discrepancies", "reject-all", proposed.json["id"], "--note", "Ask first."
    )

    assert rejected.out.strip() == "2 rejected"
    assert {it.status for it in await office.found(unresolved=True)} == {"open"}


async def test_fees_and_mappings_are_kept_shown_tried_and_deleted(
    office: Office,
    caas: Caas,  # noqa: F811
    tmp_path: Path,
) -> None:
    mapping, report = tmp_path / "acquirer.json", tmp_path / "acquirer.csv"
    mapping.write_text(json.dumps(MAPPING))
    report.write_text("Am;Art;Brutto;Kosten\n01.11.2026 12:00;Zahlung;12,99;0,43\n")

    kept = await caas(
        "fees", "keep", "--method", "visa", "--percent", "1.45", "--fixed", "25",
        "--tolerance", "2", "--from", office.today, "--by", "Ana",
    )  # fmt: skip
    refused = await caas("fees", "keep", "--percent", "1.00001", "--from", office.today)
    listed = await caas("fees", "list")
    unread = await caas("preview", report)
    tried = await caas("preview", report, "--mapping", mapping)
    await caas("mappings", "keep", "acquirer", mapping, "--by", "Ana")
    read = await caas("preview", report)
    shown = await caas("mappings", "show", "acquirer")
    deleted = await caas("mappings", "delete", "acquirer")
    gone = await caas("preview", report)
    twice = await caas("mappings", "delete", "acquirer")
    names = await caas("mappings", "list")

    assert (kept.status, refused.status) == (0, 4)
    assert listed.out.split()[:7] == [
        office.reconciliation.of().gateway, "*", "visa", "settlement", "1.45", "%", "+",
    ]  # fmt: skip
    assert (unread.status, gone.status) == (4, 4)
    assert tried.out.startswith("tried, 1 rows, 1 lines, 2026-11-01")
    assert read.out.startswith("acquirer, 1 rows, 1 lines, 2026-11-01")
    assert shown.json["delimiter"] == ";"
    assert deleted.out.strip() == "acquirer: version 2, retired"
    assert (twice.status, "No mapping named 'acquirer' is in use" in twice.err) == (4, True)
    assert "acquirer version 2, retired" in " ".join(names.out.split())
