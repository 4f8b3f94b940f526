"""The clerk's day over HTTP: run, verdict, report, discrepancies, documents, the seal."""

import base64
import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from caas.rules.scopes import Scope
from tests.api.addresses import NOBODYS_ID
from tests.api.conftest import Doors, standing_open
from tests.people import employed, key_of
from tests.reconciliation.crowd import report_file, settlements
from tests.reconciliation.office import Office

ROOT = "/v1/reconciliation"
LARGE = 60_000
CLERK, CHIEF = "operators", "admin"


@pytest.fixture
async def doors(office: Office) -> AsyncIterator[Doors]:
    """The API of the office's installation on a socket."""
    async with standing_open(office.installation) as opened:
        yield opened


async def closed(office: Office, doors: Doors) -> Any:
    """Let the gateway close today, and reconcile it by a call."""
    await office.installation.gateway_does("close-day", date=office.today.isoformat())
    answer = await doors.post(f"{ROOT}/runs", {"day": office.today.isoformat()}, caller=CLERK)
    assert answer.status == 201, answer.json
    return answer.json


async def only_one(doors: Doors, query: str = "unresolved=true") -> Any:
    """Return the one discrepancy that a list shows."""
    listed = await doors.get(f"{ROOT}/discrepancies?{query}", caller=CLERK)
    [found] = listed.json["data"]
    return found


async def test_a_run_says_what_matched_and_its_day_s_verdict(office: Office, doors: Doors) -> None:
    await office.line(await office.capturing())

    done = await closed(office, doors)
    again = await doors.get(done["links"]["self"], caller=CLERK)
    days = await doors.get(f"{ROOT}/days", caller=CLERK)

    assert (done["run"]["counts"], done["day"]["verdict"]) == ({"matched": 1}, "closed")
    assert again.json == done["run"]
    assert days.json["data"] == [done["day"]]


async def test_a_run_that_is_asked_for_twice_with_one_key_is_one_run(
    office: Office, doors: Doors
) -> None:
    body, headers = {"day": office.today.isoformat()}, {"idempotency-key": str(uuid4())}

    first, second = [
        await doors.post(f"{ROOT}/runs", body, caller=CLERK, headers=headers) for _ in range(2)
    ]

    assert first.json == second.json
    assert second.headers["idempotency-replayed"] == "true"
    assert len(await office.reconciliation.runs_of(office.today)) == 1


async def test_a_day_that_has_not_begun_is_not_reconciled(office: Office, doors: Doors) -> None:
    """A typing error in the year made every open payment late, and left a day in the list."""
    payment = await office.capturing()

    refused = await doors.post(f"{ROOT}/runs", {"day": "2062-11-19"}, caller=CLERK)

    assert (refused.status, refused.json["code"]) == (422, "day_out_of_reach")
    assert await office.reconciliation.listed() == []
    assert await office.found(payment_id=payment.id) == []


async def test_a_silent_gateway_is_a_problem_to_come_back_with(
    office: Office, doors: Doors
) -> None:
    await office.installation.gateway_does(
        "faults", match={"operation": "settlements"}, action={"status": 503}
    )

    answer = await doors.post(f"{ROOT}/runs", {"day": office.today.isoformat()}, caller=CLERK)

    assert answer.status == 503
    [run] = await office.reconciliation.runs_of(office.today)
    assert run.state == "refused"


async def test_the_report_comes_as_data_as_csv_and_on_paper(office: Office, doors: Doors) -> None:
    await office.line(await office.capturing())
    await office.line(transaction_id="txn_alien")
    day = (await closed(office, doors))["day"]

    report, table, paper = [
        await doors.get(day["links"][form], caller=CLERK)
        for form in ("report", "report_csv", "report_pdf")
    ]

    rows = list(csv.reader(io.StringIO(table.body.decode())))
    assert (report.json["matched_lines"], report.json["differing_lines"]) == (1, 1)
    assert report.json["ties_out"] is True
    assert ["missing_in_book", "1", "12.99", "0.43", "12.56", "EUR"] in rows
    assert paper.body.startswith(b"%PDF")
    assert paper.headers["content-disposition"].endswith(f'-{office.today}.pdf"')


async def test_discrepancies_are_listed_by_what_is_asked_and_page_by_page(
    office: Office, doors: Doors
) -> None:
    for number in range(3):
        await office.line(transaction_id=f"txn_alien_{number}")
    await office.line(await office.capturing(), gross=1399, fee=45)
    await closed(office, doors)

    first = (await doors.get(f"{ROOT}/discrepancies?limit=3", caller=CLERK)).json
    rest = (
        await doors.get(f"{ROOT}/discrepancies?cursor={first['next_cursor']}", caller=CLERK)
    ).json
    amount = await only_one(doors, f"kind=amount&day={office.today}&status=open")

    shown = [found["id"] for page in (first, rest) for found in page["data"]]
    assert (len(first["data"]), rest["next_cursor"], len({*shown})) == (3, None, 4)
    assert amount["links"]["payment"].endswith(amount["payment_id"])


async def test_a_clerk_takes_one_notes_attaches_and_resolves_it(
    office: Office, doors: Doors
) -> None:
    await office.line(transaction_id="txn_alien")
    await closed(office, doors)
    path = (await only_one(doors))["links"]["self"]
    scan = b"\x89PNG" + bytes(300_000)

    await doors.post(f"{path}/owner", {}, caller=CLERK)
    await doors.post(
        f"{path}/notes", {"note": "DiscrepancyFilter the gateway.\nThey are looking."}, caller=CLERK
    )
    document = await doors.post(
        f"{path}/evidence",
        {
            "name": "päper.png",
            "media_type": "image/png",
            "content": base64.b64encode(scan).decode(),
        },
        caller=CLERK,
    )
    resolved = await doors.post(
        f"{path}/resolutions", {"resolution": "correct_by_entry", "note": "Theirs."}, caller=CLERK
    )
    back = await doors.get(document.headers["location"], caller=CLERK)

    steps = [step["event"] for step in resolved.json["events"]]
    assert (resolved.json["owner"], resolved.json["status"]) == (CLERK, "resolved")
    assert steps == ["opened", "assigned", "noted", "evidence attached", "proposed", "resolved"]
    assert resolved.json["entries"]
    assert (back.body, back.headers["content-type"]) == (scan, "application/octet-stream")
    assert "p%C3%A4per.png" in back.headers["content-disposition"]


async def test_above_the_limit_another_account_must_agree(office: Office, doors: Doors) -> None:
    await office.line(transaction_id="txn_alien", gross=LARGE)
    await closed(office, doors)
    path = (await only_one(doors))["links"]["self"]
    wish = {"resolution": "correct_by_entry", "note": "Theirs."}
    database = office.installation.database
    ana, luis = [await employed(database, login) for login in ("ana", "luis")]
    one, two = [
        (await key_of(database, ana, name, Scope.OPERATIONS, activated_by=luis)).key
        for name in ("ana-day", "ana-night")
    ]
    luiss = (await key_of(database, luis, "luis", Scope.OPERATIONS, activated_by=ana)).key

    proposed = await doors.post(f"{path}/resolutions", wish, headers=bearer(one))
    alone = await doors.post(f"{path}/approval", {}, headers=bearer(two))
    settings = await doors.post(f"{path}/approval", {}, caller=CHIEF)
    rejected = await doors.post(f"{path}/rejection", {"note": "Not yet."}, caller=CHIEF)
    after = await doors.post(f"{path}/approval", {}, headers=bearer(luiss))
    await doors.post(f"{path}/resolutions", wish, caller=CLERK)
    approved = await doors.post(f"{path}/approval", {}, headers=bearer(luiss))

    assert (proposed.json["status"], proposed.json["entries"]) == ("proposed", [])
    assert (alone.status, alone.json["code"]) == (409, "same_person")
    assert (settings.status, settings.json["code"]) == (403, "approval_needs_account")
    assert "console" in settings.json["detail"]
    assert rejected.json["status"] == "open"
    assert (after.status, after.json["code"]) == (409, "already_rejected")
    assert "already rejected by admin at 20" in after.json["detail"]
    assert approved.json["status"] == "resolved"
    assert [it["decided_by"] for it in approved.json["resolutions"]] == [CHIEF, "luis"]
    assert [it["decided_account"] for it in approved.json["resolutions"]] == [
        None, str(luis.account),
    ]  # fmt: skip


def bearer(key: str) -> dict[str, str]:
    """Return the header that sends a key."""
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("step", ["approval", "rejection"])
async def test_a_rule_is_decided_once(office: Office, doors: Doors, step: str) -> None:
    """A second approval answered 200 and that it had approved nothing."""
    await office.line(transaction_id="txn_alien", gross=LARGE)
    await closed(office, doors)
    database = office.installation.database
    ana, luis = [await employed(database, login) for login in ("ana", "luis")]
    luiss = (await key_of(database, luis, "luis", Scope.OPERATIONS, activated_by=ana)).key
    rule = {"kind": "missing_in_book", "currency": "EUR", "resolution": "correct_by_entry"}
    made = await doors.post(f"{ROOT}/bulk-resolutions", rule | {"note": "Theirs."}, caller=CLERK)
    path, body = f"{ROOT}/bulk-resolutions/{made.json['id']}", {"note": "No."}
    bodies: dict[str, dict[str, str]] = {"approval": {}, "rejection": body}

    first = await doors.post(f"{path}/{step}", bodies[step], headers=bearer(luiss))
    later = [await doors.post(f"{path}/{it}", bodies[it], headers=bearer(luiss)) for it in bodies]
    path = f"{ROOT}/bulk-resolutions/{NOBODYS_ID}"
    nobody = [await doors.post(f"{path}/{it}", bodies[it], headers=bearer(luiss)) for it in bodies]

    done = "approved" if step == "approval" else "rejected"
    assert (first.status, first.json[done]) == (200, 1)
    assert [(it.status, it.json["code"]) for it in later] == [(409, f"already_{done}")] * 2
    assert all(f"already {done} by luis at 20" in it.json["detail"] for it in later)
    assert [(it.status, it.json["code"]) for it in nobody] == [(404, "bulk_not_found")] * 2


async def test_a_day_is_sealed_when_nothing_is_open_and_stays_as_it_is(
    office: Office, doors: Doors
) -> None:
    """A sealed day answered 500 to whoever wrote to one of its discrepancies."""
    await office.line(transaction_id="txn_alien")
    day = (await closed(office, doors))["day"]
    path = (await only_one(doors))["links"]["self"]

    early = await doors.post(day["links"]["seal"], {}, caller=CLERK)
    wish = {"resolution": "correct_by_entry", "note": "Theirs."}
    await doors.post(f"{path}/resolutions", wish, caller=CLERK)
    reopened = await doors.post(f"{path}/reopening", {"note": "Wait."}, caller=CLERK)
    await doors.post(f"{path}/resolutions", wish, caller=CLERK)
    sealed = await doors.post(day["links"]["seal"], {}, caller=CLERK)
    late = [
        await doors.post(f"{path}/reopening", {"note": "Again."}, caller=CLERK),
        await doors.post(f"{path}/notes", {"note": "Again."}, caller=CLERK),
    ]
    run = await doors.post(f"{ROOT}/runs", {"day": day["day"]}, caller=CLERK)

    assert (early.status, early.json["code"]) == (409, "day_not_closed")
    assert reopened.json["status"] == "open"
    assert (sealed.json["verdict"], sealed.json["sealed_by"]) == ("closed", CLERK)
    assert [(it.status, it.json["code"]) for it in late] == [(409, "day_sealed")] * 2
    assert (run.status, run.json["run"]["late_of"]) == (201, day["day"])


async def test_a_line_that_could_not_be_read_is_released_with_a_reason(
    office: Office, doors: Doors
) -> None:
    await office.line(await office.capturing(), currency="EURO")
    day = (await closed(office, doors))["day"]
    seen = (await doors.get(day["links"]["self"], caller=CLERK)).json
    [aside] = seen["quarantined"]

    wish = {"report": aside["report_id"], "place": aside["place"], "note": "It comes tomorrow."}
    released = await doors.post(f"{ROOT}/quarantine/releases", wish, caller=CLERK)
    again = await doors.post(f"{ROOT}/quarantine/releases", wish, caller=CLERK)

    assert seen["day"]["verdict"] == "incomplete"
    assert released.json["verdict"] == "closed"
    assert (again.status, again.json["code"]) == (404, "quarantined_line_not_found")


async def test_exposure_losses_and_disputes_are_told_of_any_days(
    office: Office, doors: Doors
) -> None:
    await office.capturing()
    disputed = await office.installation.settled()
    await office.disputed(disputed)
    await office.line(await office.capturing(), gross=1399, fee=45)
    await closed(office, doors)
    amount = await only_one(doors, "kind=amount")
    await doors.post(
        f"{amount['links']['self']}/resolutions",
        {"resolution": "write_off", "note": "Small."},
        caller=CLERK,
    )

    days = f"since={office.today}&until={office.today}"
    reported = (await doors.get(f"{ROOT}/position?{days}", caller=CLERK)).json
    wrong = await doors.get(f"{ROOT}/position?since=2026-01-02&until=2026-01-01", caller=CLERK)

    assert sum(it["amount"] for it in reported["exposure"]) >= 1299
    assert reported["losses"] == []
    assert reported["unallocated_income"] == [{"currency": "EUR", "amount": 100}]
    assert [(it["state"], it["amount"]) for it in reported["disputes"]] == [("opened", 1299)]
    assert (wrong.status, wrong.json["code"]) == (422, "day_out_of_reach")


async def test_a_run_judged_again_gives_the_same_digest(office: Office, doors: Doors) -> None:
    await office.line(await office.capturing())
    run = (await closed(office, doors))["run"]

    replayed = await doors.post(f"{run['links']['self']}/replay", {}, caller=CLERK)

    assert replayed.json["is_the_same"] is True
    assert replayed.json["output_hash"] == run["output_hash"]


@pytest.mark.parametrize("path", ["days", "discrepancies", f"runs/{NOBODYS_ID}", "days/2026-11-19"])
async def test_only_operations_see_the_books(doors: Doors, path: str) -> None:
    refused = await doors.get(f"{ROOT}/{path}", caller="orders")

    assert (refused.status, refused.json["code"]) == (403, "scope_missing")


async def test_a_file_is_looked_at_and_taken_over_http(
    office: Office, doors: Doors, tmp_path: Path
) -> None:
    path = report_file(tmp_path / "day.csv", settlements([await office.capturing()]))
    content = base64.b64encode(path.read_bytes()).decode()
    wish = {"day": office.today.isoformat(), "content": content}

    preview = await doors.post(f"{ROOT}/reports/preview", {"content": content}, caller=CLERK)
    half = await doors.post(f"{ROOT}/reports", wish | {"lines": 2}, caller=CLERK)
    bare = await doors.post(f"{ROOT}/reports", wish | {"nets": ["12.56"]}, caller=CLERK)
    taken = await doors.post(f"{ROOT}/reports", wish | {"nets": ["12.56 EUR"]}, caller=CLERK)

    assert (preview.json["format"], preview.json["rows"]) == ("canonical", 1)
    assert (half.status, half.json["code"]) == (422, "bad_report")
    assert (bare.status, bare.json["code"]) == (422, "net_without_currency")
    assert (taken.status, taken.json["day"]["verdict"]) == (201, "closed")


async def test_mappings_and_fees_are_kept_over_http(office: Office, doors: Doors) -> None:
    day = office.today.isoformat()
    mapping = {
        "columns": {"type": ["a"], "gross": ["b"], "booked_at": ["c"], "net": ["d"]},
        "types": {"Sale": "settlement"}, "currency": "EUR",
    }  # fmt: skip
    fee = {"method": "visa", "kind": "settlement", "valid_from": day, "rate_ppm": 14_000,
           "fixed": 25, "tolerance": 1}  # fmt: skip
    named = [{"name": name, "mapping": mapping} for name in ("acquirer", "stripe")]

    kept, wrong = [await doors.post(f"{ROOT}/mappings", body, caller=CLERK) for body in named]
    mappings = await doors.get(f"{ROOT}/mappings", caller=CLERK)
    fees = await doors.post(f"{ROOT}/fee-terms", fee, caller=CLERK)
    listed = await doors.get(f"{ROOT}/fee-terms?day={day}", caller=CLERK)

    assert (kept.json["version"], wrong.json["code"]) == (1, "mapping_refused")
    assert [it["name"] for it in mappings.json["data"]] == ["acquirer"]
    assert "redsys" in mappings.json["shipped"]
    assert fees.json == listed.json
    assert listed.json["data"][0]["tolerance"] == 1


async def test_a_rule_and_a_claim_of_nothing_are_told_over_http(doors: Doors) -> None:
    rule = {"kind": "amount", "currency": "EUR", "resolution": "write_off", "note": "Small."}
    step = {"status": "refused", "note": "None."}

    ruled = await doors.post(f"{ROOT}/bulk-resolutions", rule, caller=CLERK)
    approved = await doors.post(f"{ROOT}/bulk-resolutions/{NOBODYS_ID}/approval", {}, caller=CLERK)
    waiting = await doors.get(f"{ROOT}/bulk-resolutions", caller=CLERK)
    rejected = await doors.post(
        f"{ROOT}/bulk-resolutions/{NOBODYS_ID}/rejection", {"note": "No."}, caller=CLERK
    )
    claims = await doors.get(f"{ROOT}/claims?open=true", caller=CLERK)
    no_claim = await doors.post(f"{ROOT}/claims/{NOBODYS_ID}/steps", step, caller=CLERK)

    assert (ruled.json["met"], waiting.json["data"], claims.json["data"]) == (0, [], [])
    assert [it.json["code"] for it in (approved, rejected)] == ["bulk_not_found"] * 2
    assert (no_claim.status, no_claim.json["code"]) == (404, "claim_not_found")
