"""A dispute is answered from its page: when it is due, and what is sent once."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from tests.console.journeys import ANA, OPERATIONS
from tests.console.test_every_form import BOUNDARY, FILE, with_file
from tests.console.test_safety import Client, client_of
from tests.console.town import STOCK, Town
from tests.payment_processing.test_dispute_evidence import LATE, PNG, TEXT, Bank


@pytest.fixture
async def clerk(town: Town) -> AsyncIterator[Client]:
    """An engineer of operations, signed in without a browser."""
    client = client_of(town)
    await client.sign_in(OPERATIONS)
    yield client
    await client.session.close()


async def disputed(town: Town) -> UUID:
    """A payment with an open dispute."""
    order = await town.reserved(STOCK[0][0], email=ANA)
    (payment,) = await town.platform.tables.payments.listed(subject=order)
    reported = GatewayDispute(
        id="du_1", transaction_id=payment.gateway_transaction_id or "", amount=payment.amount,
        currency=payment.currency, status=DisputeStatus.OPENED,
    )  # fmt: skip
    await town.platform.payment_processing._disputes.on_event("contract", reported)
    return payment.id


def form_with(fields: dict[str, str], document: bytes) -> bytes:
    """A form with a document."""
    part = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="document"; filename="a.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return part.encode() + document + b"\r\n" + with_file(fields)


async def test_a_clerk_sees_the_due_date_and_sends_evidence_once(town: Town, clerk: Client) -> None:
    payment, bank = await disputed(town), Bank()
    town.platform.dispute_evidence._gateways = {"contract": bank}
    page = f"/operations/payments/{payment}/disputes/du_1"

    of_payment = await clerk.get(f"/operations/payments/{payment}")
    shown = await clerk.get(page)
    keys = {name: shown.field(name) for name in ("form_token", "key")}
    body = form_with({**keys, "text": TEXT}, PNG)
    answers = [await clerk.sent(f"{page}/documents", body, FILE) for _ in range(2)]
    afterwards = await clerk.get(page)

    assert page in of_payment.text
    assert "7 Dec" in shown.text or "7 dic" in shown.text
    assert [it.reported for it in answers] == ["done=1", "done=1"]
    [(dispute, evidence, _)] = bank.received
    assert (dispute, evidence.text, evidence.file and evidence.file.content) == ("du_1", TEXT, PNG)
    assert 'id="send"' not in afterwards.text


async def test_a_refused_form_keeps_its_text_and_nothing_is_sent(town: Town, clerk: Client) -> None:
    payment, bank = await disputed(town), Bank()
    town.platform.dispute_evidence._gateways = {"contract": bank}
    page = f"/operations/payments/{payment}/disputes/du_1"
    shown = await clerk.get(page)
    keys = {name: shown.field(name) for name in ("form_token", "key")}

    refused = await clerk.sent(
        f"{page}/documents", form_with({**keys, "text": TEXT}, b"MZ a program"), FILE
    )

    assert refused.reported == "refused=dispute_evidence_refused"
    assert TEXT in refused.text
    assert bank.received == []


async def test_a_dispute_that_takes_no_evidence_has_no_form(town: Town, clerk: Client) -> None:
    payment = await disputed(town)
    page = f"/operations/payments/{payment}/disputes/du_1"

    without = await clerk.get(page)
    of_payment = await clerk.get(f"/operations/payments/{payment}")
    town.platform.dispute_evidence._gateways = {"contract": Bank(terms=LATE)}
    late = await clerk.get(page)
    other = await clerk.get(f"/operations/payments/{payment}/disputes/du_2")

    assert (without.status, late.status, other.status) == (404, 200, 404)
    assert page not in of_payment.text
    assert 'id="send"' not in late.text
