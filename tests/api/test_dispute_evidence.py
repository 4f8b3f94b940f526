"""Evidence about a dispute over the API: the terms, and sending it once, by a person."""

from base64 import b64encode

from caas.rules.scopes import Scope
from tests.api.conftest import Doors
from tests.payment_processing.test_dispute_evidence import PNG, TEXT, Bank, disputed
from tests.people import employed, key_of


async def persons_key(doors: Doors) -> dict[str, str]:
    """Return the header with a key of somebody in operations."""
    database = doors.installation.database
    bea, eva = (
        await employed(database, "bea@example.com"),
        await employed(database, "eva@x.example"),
    )
    made = await key_of(database, bea, "beas-key", Scope.OPERATIONS, activated_by=eva)
    return {"authorization": f"Bearer {made.key}"}


async def test_a_person_reads_the_terms_and_sends_evidence_once(doors: Doors) -> None:
    payment, bank = await disputed(doors.installation), Bank()
    doors.installation.platform.dispute_evidence._gateways = {"contract": bank}
    path, headers = f"/v1/payments/{payment.id}/disputes/du_1/evidence", await persons_key(doors)
    body = {"text": TEXT, "document": b64encode(PNG).decode()}

    before = await doors.get(path, caller="operators")
    sent = await doors.post(path, body, caller=None, headers=headers)
    again = await doors.post(path, body, caller=None, headers=headers)

    [(dispute, evidence, _)] = bank.received
    assert before.json == {"taken": True, "due_by": "2026-12-07T00:00:00Z", "sent": False}
    assert (sent.status, sent.json["sent"]) == (200, True), sent.body
    assert (again.status, again.json["sent"]) == (200, True), "it is there, and not sent twice"
    assert (dispute, evidence.text, evidence.file and evidence.file.content) == ("du_1", TEXT, PNG)


async def test_evidence_is_sent_by_nobody_but_a_person_about_an_open_dispute(doors: Doors) -> None:
    payment, bank = await disputed(doors.installation), Bank()
    doors.installation.platform.dispute_evidence._gateways = {"contract": bank}
    root, headers = f"/v1/payments/{payment.id}/disputes", await persons_key(doors)
    about = f"{root}/du_1/evidence"

    machine = await doors.post(about, {"text": TEXT}, caller="operators")
    other = await doors.post(f"{root}/du_2/evidence", {"text": TEXT}, caller=None, headers=headers)
    nothing = await doors.post(about, {}, caller=None, headers=headers)
    seller = await doors.get(about, caller="services")

    assert (machine.status, machine.json["code"]) == (403, "personal_key_required")
    assert (other.status, other.json["code"]) == (404, "dispute_not_found")
    assert (nothing.status, nothing.json["code"]) == (422, "dispute_evidence_refused")
    assert (seller.status, seller.json["code"]) == (403, "scope_missing")
    assert bank.received == []
