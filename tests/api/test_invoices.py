"""Documents over a socket: listed and searched, in three forms, corrected and sent."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.connection import Database
from caas.billing_database.invariants import INVARIANTS
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.rules.payment_states import PaymentState
from caas.rules.scopes import Scope
from tests.api.conftest import Doors, Reply
from tests.billing.norm import broken_rules
from tests.business_day import business_day
from tests.installation import VIN
from tests.people import employed, key_of

ADDRESS = {
    "street": "Calle Mayor 1", "postcode": "28013", "city": "Madrid", "country": "ES",
    "tax_id": "12345678Z",
}  # fmt: skip


async def sold(doors: Doors, amount: int = 1299) -> dict[str, Any]:
    """Sell a service of this price until the bank has settled; return its only document."""
    installation = doors.installation
    await installation.platform.service_catalog.put_service(
        code="heated-seats", name="Heated seats", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": amount}],
    )  # fmt: skip
    payment = await installation.buys()
    await installation.until_settled(payment.id)
    await installation.platform.issuing.issue_due()
    (document,) = (await doors.get(f"/v1/invoices?subject={payment.subject}")).json["data"]
    return dict(document)


async def corrects(doors: Doors, document: dict[str, Any], **body: object) -> Reply:
    """Ask for a credit note."""
    path = f"/v1/invoices/{document['id']}/credit-notes"
    return await doors.post(path, {"reason": "The seats stayed cold.", **body}, caller="billing")


async def test_documents_are_listed_searched_and_paged(doors: Doors) -> None:
    mine = await sold(doors)
    note = (await corrects(doors, mine, amount=300)).json["credit_note"]
    today = business_day()

    async def listed(query: str, caller: str = "billing") -> list[str]:
        answer = await doors.get(f"/v1/invoices?{query}", caller=caller)
        assert answer.status == 200, answer.body
        return [one["id"] for one in answer.json["data"]]

    assert await listed(f"customer={mine['customer']}") == [note["id"], mine["id"]]
    assert await listed(f"customer={uuid4()}") == []
    since, until = today - timedelta(days=1), today + timedelta(days=1)
    assert await listed(f"from={since}&to={until}") == [note["id"], mine["id"]]
    assert await listed(f"from={until}") == await listed(f"to={since}") == []
    assert await listed("limit=1") == [note["id"]]
    assert await listed(f"limit=1&cursor={note['id']}") == [mine["id"]]
    assert await listed(f"number={mine['number'].lower()}") == [mine["id"]]
    assert await listed("number=2026-7") == await listed("number=%2D%2D") == []
    assert (await doors.get("/v1/invoices?month=2026-11")).status == 422
    assert (await doors.get("/v1/invoices", caller="ota")).status == 403
    assert (mine["kind"], mine["amount"], mine["net"], mine["tax"]) == (
        "service invoice", 1299, 1074, 225
    )  # fmt: skip


async def test_a_document_has_the_form_that_is_asked_for(doors: Doors) -> None:
    document = await sold(doors)
    path = f"/v1/invoices/{document['id']}"

    async def form(accept: str) -> Reply:
        return await doors.get(path, caller="billing", headers={"accept": accept})

    as_json, as_pdf, as_xml = [
        await form(accept)
        for accept in ("*/*", "text/html, application/pdf;q=0.9", "application/xml")
    ]

    assert as_json.json["document"]["totals"]["gross"] == 1299
    assert as_json.json["document"]["number"] == document["number"]
    assert as_json.json["proposal"] is None
    assert as_pdf.headers["content-type"] == "application/pdf"
    assert as_pdf.body.startswith(b"%PDF")
    assert broken_rules(as_xml.body) == []
    assert (await form("image/png")).status == 406
    assert (await doors.get(f"/v1/invoices/{uuid4()}", caller="billing")).status == 404


async def test_a_credit_note_says_whether_money_moves_and_is_issued_once(doors: Doors) -> None:
    document = await sold(doors)
    key = {"idempotency-key": str(uuid4())}
    path = f"/v1/invoices/{document['id']}/credit-notes"
    body = {"reason": "The seats stayed cold.", "amount": 500}

    first = await doors.call("POST", path, json=body, headers=key)
    again = await doors.call("POST", path, json=body, headers=key)
    too_much = await corrects(doors, document, amount=800)
    payment = await doors.installation.until(
        UUID(document["payment"]), lambda p: p.refunded_amount > 0
    )
    await doors.installation.platform.issuing.issue_due()

    assert (first.status, first.json["moves_money"]) == (201, True)
    assert again.json == first.json
    assert first.json["credit_note"]["amount"] == -500
    assert (too_much.status, too_much.json["code"]) == (409, "not_correctable")
    assert payment.refunded_amount == 500
    listed = await doors.get(f"/v1/invoices?subject={document['subject']}")
    assert [one["amount"] for one in listed.json["data"]] == [-500, 1299]
    assert (await corrects(doors, document, reason=" ")).status == 422


async def test_much_is_given_back_by_two_people(doors: Doors) -> None:
    document = await sold(doors, 60_000)
    database = doors.installation.database
    ana, luis = await employed(database, "ana"), await employed(database, "luis")
    keys = [
        (await key_of(database, me, me.name, Scope.OPERATIONS, activated_by=other)).key
        for me, other in ((ana, luis), (luis, ana))
    ]
    path = f"/v1/invoices/{document['id']}/credit-notes"

    async def asks(who: int, where: str, body: dict[str, object]) -> Reply:
        headers = {"authorization": f"Bearer {keys[who]}", "idempotency-key": str(uuid4())}
        return await doors.call("POST", where, caller=None, headers=headers, json=body)

    unsaid = await asks(0, path, {"reason": "Never delivered."})
    proposed = await asks(0, path, {"reason": "Never delivered.", "term": "end"})
    waiting = await doors.get(f"/v1/invoices/{document['id']}", caller="billing")
    twice = await asks(1, path, {"reason": "Never delivered.", "term": "end"})
    alone = await asks(0, f"{path}/approval", {})
    rejected = await asks(1, f"{path}/rejection", {})
    await asks(0, path, {"reason": "Never delivered.", "term": "keep"})
    agreed = await asks(1, f"{path}/approval", {})
    refunded = await doors.installation.until(
        UUID(document["payment"]), lambda p: p.state is PaymentState.REFUNDED
    )

    assert (unsaid.status, unsaid.json["code"]) == (422, "term_decision_required")
    assert (proposed.status, proposed.json["credit_note"]) == (202, None)
    assert proposed.json["proposal"]["term"] == "end"
    assert waiting.json["proposal"]["amount"] == 60_000
    assert (twice.status, twice.json["code"]) == (409, "decision_pending")
    assert (alone.status, alone.json["code"]) == (409, "same_person")
    assert rejected.status == 200
    assert (agreed.status, agreed.json["credit_note"]["amount"]) == (201, -60_000)
    assert refunded.refunded_amount == 60_000
    assert await left_on(doors, document)
    assert await broken(database) == []


async def test_a_document_is_issued_again_to_the_right_buyer_by_two_people(doors: Doors) -> None:
    document = await sold(doors, 60_000)
    database = doors.installation.database
    ana, luis = await employed(database, "ana"), await employed(database, "luis")
    keys = [
        (await key_of(database, me, me.name, Scope.OPERATIONS, activated_by=other)).key
        for me, other in ((ana, luis), (luis, ana))
    ]
    path = f"/v1/invoices/{document['id']}"

    async def asks(who: int, what: str, body: dict[str, object]) -> Reply:
        headers = {"authorization": f"Bearer {keys[who]}", "idempotency-key": str(uuid4())}
        return await doors.call("POST", path + what, caller=None, headers=headers, json=body)

    why: dict[str, object] = {"reason": "Another street."}
    same = await asks(0, "/reissues", why)
    details = f"/v1/customers/{document['customer']}/billing-details"
    await doors.call("PUT", details, json={**ADDRESS, "street": "Calle Menor 2"}, caller="orders")
    proposed = await asks(0, "/reissues", why)
    twice = await asks(1, "/credit-notes", {**why, "term": "keep"})
    alone = await asks(0, "/credit-notes/approval", {})
    agreed = await asks(1, "/credit-notes/approval", {})
    again = await asks(1, "/reissues", why)

    new = agreed.json["replacement"]
    assert (same.status, same.json["code"]) == (409, "nothing_to_correct")
    assert (proposed.status, proposed.json["moves_money"]) == (202, False)
    assert proposed.json["proposal"]["term"] == "reissue"
    assert (twice.status, twice.json["code"]) == (409, "decision_pending")
    assert (alone.status, alone.json["code"]) == (409, "same_person")
    assert (agreed.status, agreed.json["moves_money"]) == (201, False)
    assert agreed.json["credit_note"]["corrects"] == new["replaces"] == document["id"]
    assert agreed.json["credit_note"]["amount"] + new["amount"] == 0
    assert (again.status, again.json["code"]) == (409, "not_reissuable")
    old = (await doors.get(path, caller="billing")).json
    assert old["summary"]["replaced_by"] == new["id"]
    shown = (await doors.get(f"/v1/invoices/{new['id']}", caller="billing")).json["document"]
    assert shown["buyer"]["street"] == "Calle Menor 2"
    assert shown["replaces"]["number"] == document["number"]
    payment = await doors.installation.platform.tables.payments.get(UUID(document["payment"]))
    assert payment.refunded_amount == 0


async def left_on(doors: Doors, document: dict[str, Any]) -> bool:
    """Say whether the term that a document is about still runs."""
    term = await doors.installation.platform.tables.entitlements.of_order(UUID(document["subject"]))
    assert term is not None
    return term.state == "granted"


async def broken(database: Database) -> list[str]:
    """Return which of the invariants about what is given back the books break."""
    watched = {"refunded_terms_have_ended", "tax_on_documents_is_output_vat"}
    return [
        invariant.name
        for invariant in INVARIANTS
        if invariant.name in watched and await database.fetch(invariant.query)
    ]


async def test_a_credit_note_in_full_asks_what_becomes_of_the_service(doors: Doors) -> None:
    document = await sold(doors)
    installation, payment_id = doors.installation, UUID(document["payment"])
    await doors.installation.platform.payment_processing.refund_payment(
        payment_id, amount=500, reason="apology", key="a", requested_by="operations"
    )
    await installation.until(payment_id, lambda p: p.refunded_amount == 500)
    await installation.platform.issuing.issue_due()

    unsaid = await corrects(doors, document, amount=799)
    before = await left_on(doors, document)
    ended = await corrects(doors, document, amount=799, term="end")
    after = await left_on(doors, document)
    await installation.until(payment_id, lambda p: p.state is PaymentState.REFUNDED)
    await installation.platform.issuing.issue_due()

    assert (unsaid.status, unsaid.json["code"]) == (422, "term_decision_required")
    assert (before, ended.status, after) == (True, 201, False)
    assert await broken(installation.database) == []


async def test_a_credit_note_promises_what_a_refund_may_promise_now(doors: Doors) -> None:
    document = await sold(doors)
    installation, payment_id = doors.installation, UUID(document["payment"])
    payment = await installation.platform.tables.payments.get(payment_id)
    disputes = Disputes(installation.platform.tables)

    async def reported(status: DisputeStatus) -> None:
        await disputes.on_event("contract",
            GatewayDispute(
                id="dp_1", transaction_id=payment.gateway_transaction_id or "", amount=1000,
                currency="EUR", status=status,
            )
        )  # fmt: skip

    await reported(DisputeStatus.OPENED)
    waits = await corrects(doors, document, term="keep")
    await reported(DisputeStatus.LOST)
    too_much = await corrects(doors, document, term="keep")
    rest = await corrects(doors, document, amount=299, term="keep")
    await installation.until(payment_id, lambda p: p.refunded_amount == 299)
    await installation.platform.issuing.issue_due()

    assert (waits.status, waits.json["code"]) == (409, "refund_must_wait")
    assert "a dispute is open" in waits.json["detail"]
    assert (too_much.status, too_much.json["code"]) == (422, "refund_too_large")
    assert (rest.status, rest.json["credit_note"]["amount"]) == (201, -299)
    assert await broken(installation.database) == []


async def test_what_a_credit_note_promises_is_counted_by_later_refunds(doors: Doors) -> None:
    document = await sold(doors)
    path = f"/v1/payments/{document['payment']}/refunds"
    installation = doors.installation

    note = await installation.platform.invoices.credit_notes.issue(
        UUID(document["id"]), reason="Cold seats.", gross=800
    )
    promised = (await doors.get(f"/v1/payments/{document['payment']}")).json["refunds"]
    whole = await doors.post(
        path, {"amount": 1299, "reason": "goodwill", "term": "end"}, caller="operators"
    )

    assert [it["amount"] for it in promised] == [800]
    assert (whole.status, whole.json["code"]) == (422, "refund_too_large")
    assert "At most 499 " in whole.json["detail"]
    paid = await installation.until(UUID(document["payment"]), lambda p: p.refunded_amount > 0)
    assert (paid.refunded_amount, note.gross) == (800, -800)


async def test_the_reason_of_a_credit_note_names_no_customer(doors: Doors) -> None:
    document = await sold(doors)

    refused = await corrects(doors, document, reason="Ana called.", amount=1)

    assert (refused.status, refused.json["code"]) == (422, "personal_data_refused")


async def test_a_document_is_sent_to_its_customer_whenever_asked(doors: Doors) -> None:
    document = await sold(doors)

    for _ in range(2):
        sent = await doors.post(f"/v1/invoices/{document['id']}/sending", {}, caller="operators")
        assert sent.status == 202, sent.body
    await doors.installation.rest()

    letters = [
        it for it in doors.installation.letterbox.letters if document["number"] in it.subject
    ]
    assert len(letters) == 3, "when it was issued, and twice since"
    assert f"/invoices/{document['id']}.pdf" in letters[0].text


async def test_billing_details_are_said_and_shown(doors: Doors) -> None:
    customer = await doors.installation.customer()
    path = f"/v1/customers/{customer}/billing-details"

    none_yet = await doors.get(path, caller="orders")
    put = await doors.call("PUT", path, json=ADDRESS, caller="orders")
    seen = await doors.get(path, caller="services")

    assert (none_yet.status, none_yet.json["code"]) == (404, "no_billing_details")
    assert (put.status, put.json) == (200, seen.json)
    assert (seen.json["name"], seen.json["tax_id"]) == ("Ana", "12345678Z")
    nowhere = await doors.call("PUT", path, json={**ADDRESS, "country": "ZZ"}, caller="orders")
    assert (nowhere.status, nowhere.json["code"]) == (422, "unknown_country")
    assert (await doors.call("PUT", path, json={**ADDRESS, "street": ""})).status == 422


@pytest.mark.parametrize("what", ["", "/credit-notes", "/reissues", "/sending"])
async def test_a_document_is_nobody_elses(doors: Doors, what: str) -> None:
    document = await sold(doors)
    stranger = await doors.installation.customer()
    key = await narrowed(doors, stranger)
    headers = {"authorization": f"Bearer {key}", "idempotency-key": str(uuid4())}
    path = f"/v1/invoices/{document['id']}{what}"

    body = {"reason": "Mine."} if what in {"/credit-notes", "/reissues"} else {}
    answer = await doors.call(
        "POST" if what else "GET", path, caller=None, headers=headers,
        **({"json": body} if what else {}),
    )  # fmt: skip
    listed = await doors.call("GET", "/v1/invoices", caller=None, headers=headers)

    assert answer.status in {403, 404}
    assert listed.json["data"] == []
    assert VIN not in answer.body.decode()


async def narrowed(doors: Doors, customer: UUID) -> str:
    """Return a key that is for one customer alone."""
    key = f"customers-key-{uuid4()}"
    await ApiKeys(doors.installation.database).put(
        key_hash=hashlib.sha256(key.encode()).digest(), name="a-customer",
        scopes=frozenset({"any"}), customer=customer, dealership=None,
    )  # fmt: skip
    return key
