"""Finance in a browser: a wrong settlement is found, investigated, decided by two, and sealed."""

from typing import Any

import pytest
from playwright.async_api import Browser, FilePayload, expect

from caas.console.operations_payments import defused
from tests.console.journeys import (
    DESK,
    ENGLISH,
    OPERATIONS,
    PHONE,
    SECOND,
    SPANISH,
    Tongue,
    Visitor,
    windows,
)
from tests.console.test_operations import engineer
from tests.console.town import Town

STRANGER = 60_000
"""600 euros that no payment of ours explains: more than one person may decide about."""


async def wrong_settlement(town: Town, gross: int = STRANGER) -> str:
    """Let a day's report hold a line for a transaction nobody knows, and reconcile the day."""
    await town.gateway_does(
        "lines", transaction_id="txn_stranger", reference="nobody", type="settlement",
        gross=gross,
    )  # fmt: skip
    await town.gateway_does("close-day")
    today, _ = await town.platform.reconciliation.days.today()
    await town.platform.reconciliation.reconcile(today)
    return today.isoformat()


@pytest.mark.parametrize(("tongue", "window"), windows((SPANISH, DESK), (ENGLISH, PHONE)))
async def test_a_wrong_settlement_is_decided_by_two_people(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    day = await wrong_settlement(town)
    one = await engineer(town, chromium, tongue, **window)
    two = await engineer(town, chromium, tongue, SECOND, **window)

    await one.page.locator("a.tile[href='/operations/discrepancies']").click()
    await one.page.locator("td a").first.click()
    await one.page.locator("#take").click()
    await expect(one.page.locator("dd", has_text=OPERATIONS)).to_be_visible()
    await one.page.locator("textarea#note").fill("DiscrepancyFilter the gateway, ticket 4711.")
    await one.page.locator("#add-note").click()
    await one.page.locator("#document").set_input_files(
        {"name": "answer.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 \r\n--x\r\n 1"}
    )
    await one.page.locator("#attach").click()
    await expect(one.page.get_by_role("link", name="answer.pdf")).to_be_visible()
    await one.page.locator("input[value='correct_by_entry']").check()
    await one.page.locator("#resolve-note").fill("Their mistake, they will take it back.")
    await one.page.locator("#resolve").click()
    await expect(one.page.locator("#reject")).to_be_visible()
    await expect(one.page.locator("#approve")).to_have_count(0)
    path = one.page.url.removeprefix(town.url).partition("?")[0]
    await two.go(path)
    await two.page.locator("#approve").click()
    await expect(two.page.locator("#reopen")).to_have_count(0)
    await two.page.locator("#confirm-it").click()
    await expect(two.page.locator("#reopen")).to_be_visible()
    link = await two.page.get_by_role("link", name="answer.pdf").get_attribute("href")
    document = await two.context.request.get(f"{town.url}{link}")
    await two.go(f"/operations/reconciliation/{day}")
    pdf = await two.context.request.get(f"{town.url}/operations/reconciliation/{day}.pdf")
    table = await two.context.request.get(f"{town.url}/operations/reconciliation/{day}.csv")
    await two.page.locator("#seal").click()
    await expect(two.page.get_by_role("heading", level=1)).to_contain_text(str(day))
    assert [one.sealed_at for one in await town.platform.reconciliation.listed()] == [None]
    await two.page.locator("#confirm-it").click()

    await expect(two.page.locator(".notice.good", has_text=SECOND)).to_be_visible()
    assert await document.body() == b"%PDF-1.7 \r\n--x\r\n 1"
    assert document.headers["content-disposition"] == 'attachment; filename="answer.pdf"'
    assert (await pdf.body()).startswith(b"%PDF-")
    assert "missing_in_book" in await table.text()
    assert one.complaints == []


async def test_whoever_proposed_a_resolution_cannot_agree_to_it(
    town: Town, chromium: Browser
) -> None:
    await wrong_settlement(town)
    one = await engineer(town, chromium)
    await one.go("/operations/discrepancies")
    await one.page.locator("td a").first.click()
    await one.page.locator(".timeline summary").click()
    facts = one.page.locator(".timeline dd")
    await expect(facts.filter(has_text="€")).not_to_have_count(0)
    assert [it for it in await facts.all_inner_texts() if it.isdigit()] == [], "minor units"
    await one.page.locator("input[value='correct_by_entry']").check()
    await one.page.locator("#resolve-note").fill("Their mistake.")
    await one.page.locator("#resolve").click()

    await one.page.locator("form[action$='/reject']").evaluate(
        "form => { form.action = form.action.replace('reject', 'approve'); }"
    )
    await one.page.locator("#reject-note").fill("I agree with myself.")
    await one.page.locator("#reject").click()

    await expect(one.page.get_by_role("alert")).to_contain_text("Debe aprobarlo otra persona")


async def proposes(one: Visitor, note: str) -> str:
    """Propose to correct the first open discrepancy by an entry; return its address."""
    await one.go("/operations/discrepancies")
    await one.page.locator("td a").first.click()
    await one.page.locator("input[value='correct_by_entry']").check()
    await one.page.locator("#resolve-note").fill(note)
    await one.page.locator("#resolve").click()
    await one.page.wait_for_url("**?done=1")
    return one.page.url.removeprefix(one.town.url).partition("?")[0]


async def test_a_proposal_is_turned_down_and_what_was_decided_is_opened_again(
    town: Town, chromium: Browser
) -> None:
    await wrong_settlement(town)
    one = await engineer(town, chromium, ENGLISH, **PHONE)
    two = await engineer(town, chromium, ENGLISH, SECOND, **PHONE)
    await two.go(await proposes(one, "Their mistake."))

    await two.page.locator("#reject-note").fill("Not before they write to us.")
    await two.page.locator("#reject").click()
    await expect(two.page.get_by_text("Not before they write to us.")).to_be_visible()
    await two.go(await proposes(one, "They wrote, ticket 4711."))
    await two.page.locator("#approve").click()
    await two.page.locator("#confirm-it").click()
    await two.page.locator("#reopen-note").fill("The wrong ticket.")
    await two.page.locator("#reopen").click()

    await expect(two.page.locator("#resolve")).to_be_visible()
    await expect(two.page.get_by_text("The wrong ticket.")).to_be_visible()
    sums = await town.database.fetch("select sum(amount) as sum from ledger_lines")
    assert sums[0]["sum"] in {0, None}
    assert one.complaints + two.complaints == []


@pytest.mark.parametrize(("tongue", "window"), windows((ENGLISH, PHONE), (SPANISH, DESK)))
async def test_a_line_nobody_can_read_is_released_with_a_reason_and_the_day_sealed(
    town: Town, chromium: Browser, tongue: Tongue, window: dict[str, Any]
) -> None:
    await town.gateway_does(
        "lines", transaction_id="txn_x", reference="nobody", type="settlement", gross=100, fee=1,
        net=100,
    )  # fmt: skip
    await town.gateway_does("close-day")
    today, _ = await town.platform.reconciliation.days.today()
    await town.platform.reconciliation.reconcile(today)
    one = await engineer(town, chromium, tongue, **window)

    await one.go("/operations/reconciliation")
    await one.page.locator(f"a[href='/operations/reconciliation/{today}']").first.click()
    await expect(one.page.locator("#seal")).to_have_count(0)
    await expect(one.page.locator(".secret")).to_contain_text("settlement")
    await one.page.locator("#note-1").fill("The gateway wrote that it is void.")
    await one.page.locator("form[action*='/lines/'] button").dblclick(no_wait_after=True)
    await expect(one.page.get_by_text("The gateway wrote that it is void.")).to_be_visible()
    await one.page.locator("#seal").click()
    await one.page.locator("#confirm-it").click()

    await expect(one.page.locator(".notice.good", has_text=OPERATIONS)).to_be_visible()
    (day,) = await town.platform.reconciliation.listed()
    assert (day.verdict, day.sealed_by) == ("closed", OPERATIONS)
    assert one.complaints == []


@pytest.mark.parametrize(
    ("cell", "written"),
    [("=1+1", "'=1+1"), ("@x", "'@x"), ("-5.00", "-5.00"), ("-A1", "'-A1"), ("", ""),
     ("txn_1", "txn_1")],
)  # fmt: skip
def test_no_cell_is_a_formula(cell: str, written: str) -> None:
    assert defused(cell) == written


async def test_a_report_file_is_looked_at_and_a_format_is_kept(
    town: Town, chromium: Browser
) -> None:
    """A file of a provider nobody wrote code for is read once its columns are named."""
    one = await engineer(town, chromium, ENGLISH, **DESK)
    content = "Am;Art;Vorgang;Brutto;Kosten\n01.11.2026 12:00;Zahlung;x1;12,99;0,43\n"
    file: FilePayload = {
        "name": "acquirer.csv", "mimeType": "text/csv", "buffer": content.encode(),
    }  # fmt: skip
    mapping = (
        '{"columns": {"type": ["Art"], "gross": ["Brutto"], "fee": ["Kosten"],'
        ' "booked_at": ["Am"], "transaction_id": ["Vorgang"]}, "types": {"Zahlung": "settlement"},'
        ' "currency": "EUR", "delimiter": ";", "time_format": "%d.%m.%Y %H:%M"}'
    )
    page = one.page

    await page.goto(page.url.split("/operations")[0] + "/operations/report-formats")
    await page.locator("#document").set_input_files(file)
    await page.locator("#preview").click()
    await expect(page.locator("#refusal")).to_contain_text("separated by semicolons")
    await page.locator("#name").fill("acquirer")
    await page.locator("#mapping").fill(mapping)
    await page.locator("#keep").click()
    await expect(page.get_by_text("version 1")).to_be_visible()
    await page.locator("#document").set_input_files(file)
    await page.locator("#preview").click()
    await expect(page.locator("#seen")).to_contain_text("acquirer")
    await page.goto(page.url.split("/operations")[0] + "/operations/reconciliation")
    await page.locator("#file-document").set_input_files(file)
    await page.locator("#send-file").click()
    await expect(page.get_by_text("The file cannot be processed")).to_be_visible()
    await expect(page.get_by_text("It is the report of another day").first).to_be_visible()


async def test_many_discrepancies_claims_and_fees_are_finance_s_in_the_console(
    town: Town, chromium: Browser
) -> None:
    """A rule above the limit is proposed by one and agreed to by another; its claim is followed."""
    await wrong_settlement(town, -STRANGER)
    one = await engineer(town, chromium, ENGLISH, **DESK)
    two, third = [await engineer(town, chromium, ENGLISH, SECOND, **DESK) for _ in range(2)]

    await one.go("/operations/bulk-resolutions")
    await one.page.locator("#kind").select_option("missing_in_book")
    await one.page.locator("#resolution").select_option("claim_from_gateway")
    await one.page.locator("#note").fill("Theirs.")
    await one.page.locator("#resolve-all").click()
    await expect(one.page.get_by_text("Proposed: 1")).to_be_visible()
    await expect(one.page.locator("form[action$='/approve']")).to_have_count(0)
    await two.go("/operations/bulk-resolutions")
    await third.go("/operations/bulk-resolutions")
    await third.page.locator("form[action$='/approve'] button").click()
    await two.page.locator("form[action$='/approve'] button").click()
    await expect(two.page.get_by_text("Claim from gateway · 1 · ")).to_be_visible()
    await two.page.locator("#confirm-it").click()
    await expect(two.page.get_by_text("No proposals.")).to_be_visible()
    await third.page.locator("#confirm-it").click()
    await expect(third.page.get_by_role("heading", name="Already approved")).to_be_visible()
    await expect(third.page.get_by_text(f"Approved by {SECOND}")).to_be_visible()
    await one.go("/operations/claims")
    await one.page.locator("#note-1").fill("Sent by mail.")
    await one.page.get_by_role("button", name="Update").click()
    await expect(one.page.get_by_text("Provider’s reference required")).to_be_visible()
    await one.page.locator("#receipt-1").fill("T-4711")
    await one.page.locator("#note-1").fill("Sent by mail.")
    await one.page.get_by_role("button", name="Update").click()
    await expect(one.page.locator("dd", has_text="T-4711")).to_be_visible()
    await one.go("/operations/fee-terms")
    await one.page.locator("#method").fill("visa")
    await one.page.locator("#percent").fill("1.45")
    await one.page.locator("#keep-fee").click()
    await expect(one.page.get_by_role("heading", name="visa · 1.45 %")).to_be_visible()
    await one.page.locator("#confirm-it").click()
    await expect(one.page.locator("td", has_text="1.45 %")).to_be_visible()
    await one.go("/operations/report-formats")
    await one.page.get_by_role("button", name="Delete mollie").click()
    await expect(one.page.get_by_text("retired")).to_be_visible()

    terms = town.platform.reconciliation.finance_terms
    [claim] = await town.platform.reconciliation.bulk.claims()
    assert (claim.status, claim.receipt) == ("sent", "T-4711")
    assert "mollie" not in {it.name for it in await terms.formats()}
