"""Whose an Idempotency-Key is: of the account that made the API key, not of the API key's name.

Names of API keys are not unique, and a key is replaced by another one: a retry after the caller had
changed over refunded twice, and two people whose keys had one name shared their answers.
"""

from uuid import uuid4

from caas.rules.scopes import Scope
from tests.api.conftest import Doors, Reply
from tests.api.test_rate_limits import FEW, limited
from tests.installation import Installation
from tests.people import Made, employed, key_of

SCOPE = Scope.SERVICE_CATALOG


async def refund(doors: Doors, made: Made, payment_id: object, key: str) -> Reply:
    headers = {"authorization": f"Bearer {made.key}", "idempotency-key": key}
    body = {"amount": 100, "reason": "goodwill"}
    return await doors.post(f"/v1/payments/{payment_id}/refunds", body, headers=headers)


async def test_a_retry_with_the_key_that_replaced_another_is_the_same_request(
    doors: Doors,
) -> None:
    ana = await employed(doors.installation.database, "ana")
    first = await key_of(doors.installation.database, ana, "crm", SCOPE)
    second = await key_of(doors.installation.database, ana, "crm-2026", SCOPE)
    payment, key = await doors.installation.settled(), str(uuid4())

    answers = [await refund(doors, made, payment.id, key) for made in (first, second)]

    assert [one.status < 300 for one in answers] == [True, True]
    assert answers[0].json["id"] == answers[1].json["id"]
    assert answers[1].headers["idempotency-replayed"] == "true"


async def test_two_people_share_no_key_though_theirs_have_one_name(doors: Doors) -> None:
    database = doors.installation.database
    mine, theirs = [
        await key_of(database, await employed(database, login), "crm", SCOPE)
        for login in ("ana", "luis")
    ]
    payment, key = await doors.installation.settled(), str(uuid4())

    first = await refund(doors, mine, payment.id, key)
    await doors.installation.until(payment.id, lambda p: p.refunded_amount == 100)
    second = await refund(doors, theirs, payment.id, key)

    assert first.json["id"] != second.json["id"]
    assert "idempotency-replayed" not in second.headers


async def test_two_people_share_no_rate_limit_though_their_keys_have_one_name(
    installation: Installation,
) -> None:
    statuses = []
    async with limited(installation, key_limit=FEW) as doors:
        for login in ("ana", "luis"):
            made = await key_of(
                installation.database, await employed(installation.database, login), "crm", SCOPE
            )
            headers = {"authorization": f"Bearer {made.key}"}
            for _ in range(3):
                answer = await doors.get(f"/v1/payments/{uuid4()}", headers=headers)
                statuses.append(answer.status)

    assert statuses == [404] * 6
