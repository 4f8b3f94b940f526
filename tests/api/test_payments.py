"""The Internal Payment API over a socket, with a real installation behind it."""

import asyncio
from uuid import UUID, uuid4

import msgspec
import pytest

from caas.billing_database.idempotency import hashed
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import NewPayment, Verdict
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.scopes import Scope
from tests.api.conftest import ASLEEP, SOMEBODYS_PAYMENT, Doors, Reply
from tests.installation import VIN
from tests.people import employed, key_of

OTHER_CAR = "WVWZZZ1JZXW000002"


async def wanted(
    doors: Doors, method: str | None = "pm_ok", *, vin: str = VIN
) -> dict[str, object]:
    """The body of an initiate call for heated seats."""
    customer = await doors.installation.customer()
    order = await doors.installation.platform.service_catalog.create_service_order(
        customer=customer, vin=vin, service="heated-seats", duration_days=30, by_fleet=True
    )
    body: dict[str, object] = {
        "subject": str(order.id), "customer": str(customer), "amount": 1299, "currency": "EUR",
    }  # fmt: skip
    return body if method is None else {**body, "payment_method": method}


async def pays(doors: Doors, method: str | None = "pm_ok", **headers: str) -> Reply:
    """Initiate a service payment."""
    body = await wanted(doors, method)
    return await doors.post("/v1/payments/service", body, caller="services", headers=headers)


async def count(doors: Doors, table: str) -> int:
    """How many rows a table has."""
    return int((await doors.installation.database.fetch(f"select count(*) from {table}"))[0][0])


async def test_a_service_payment_is_answered_once_its_funds_are_held(doors: Doors) -> None:
    answer = await pays(doors)

    assert answer.status == 201, answer.body
    payment = answer.json
    assert (payment["type"], payment["outcome"]) == ("service", "known")
    assert payment["state"] in {"Authorized", "Capturing"}
    assert payment["amounts"]["authorized"] == payment["amount"] == 1299
    assert payment["events"][0]["event"] == "Customer submits payment"
    assert answer.headers["location"] == f"/v1/payments/{payment['id']}"
    assert (await doors.get(answer.headers["location"])).status == 200


async def test_a_decline_is_a_problem_with_the_payment_inside(doors: Doors) -> None:
    answer = await pays(doors, "pm_insufficient_funds")

    assert (answer.status, answer.headers["content-type"]) == (402, "application/problem+json")
    problem = answer.json
    assert (problem["code"], problem["type"]) == ("payment_declined", "/problems/payment_declined")
    assert problem["payment"]["state"] == "Failed"
    assert problem["payment"]["decline_code"] == "insufficient_funds"
    assert "insufficient funds" in problem["detail"]


@pytest.mark.parametrize("status", [401, 422])
@pytest.mark.parametrize("code", ["invalid_request_error", "unsupported_currency", "declined"])
async def test_a_payment_that_our_settings_prevent_is_not_called_declined(
    doors: Doors, status: int, code: str
) -> None:
    refused = {"status": status, "code": code}
    await doors.installation.gateway_does("faults", action=refused, match={"operation": "initiate"})

    problem = (await pays(doors)).json

    assert (problem["status"], problem["code"]) == (402, "payment_not_made")
    assert problem["title"] == "Payment not made"
    assert problem["detail"] == (
        "The payment could not be made. No card was declined, and nothing was charged. Try later."
    )
    assert problem["payment"]["state"] == "Failed"


async def test_respond_async_answers_202_as_soon_as_the_payment_is_durable(doors: Doors) -> None:
    answer = await pays(doors, prefer="respond-async")

    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["retry-after"]
    payment = answer.json
    assert payment["state"] == "Pending"
    assert [event["event"] for event in payment["events"]] == [
        "Customer submits payment", "Gateway processing",
    ]  # fmt: skip
    assert await count(doors, "payments") == 1


async def test_without_a_payment_method_the_customer_is_sent_to_the_hosted_page(
    doors: Doors,
) -> None:
    answer = await pays(doors, None)

    assert answer.status == 202
    assert answer.json["hosted_page_url"].startswith("http")
    assert answer.json["state"] == "Pending"


async def test_an_unknown_outcome_is_202_and_never_an_error(doors: Doors) -> None:
    await doors.installation.gateway_does(
        "faults", action={"status": 500, "apply_first": True}, match={"operation": "initiate"}
    )

    answer = await pays(doors)

    assert answer.status == 202
    assert (answer.json["state"], answer.json["outcome"]) == ("Pending", "unknown")


async def test_the_same_key_gives_the_stored_answer_again(doors: Doors) -> None:
    body, key = await wanted(doors), str(uuid4())

    first = await doors.post("/v1/payments/service", body, headers={"idempotency-key": key})
    second = await doors.post("/v1/payments/service", body, headers={"idempotency-key": key})

    assert (first.status, second.status) == (201, 201)
    assert second.body == first.body
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await count(doors, "payments") == 1


async def test_a_stored_decline_is_replayed_as_a_problem(doors: Doors) -> None:
    body, key = await wanted(doors, "pm_declined"), str(uuid4())

    first = await doors.post("/v1/payments/service", body, headers={"idempotency-key": key})
    second = await doors.post("/v1/payments/service", body, headers={"idempotency-key": key})

    assert (first.status, second.status) == (402, 402)
    assert second.headers["content-type"] == "application/problem+json"
    assert second.body == first.body


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(
    doors: Doors,
) -> None:
    body, key = await wanted(doors), {"idempotency-key": str(uuid4())}
    await doors.post("/v1/payments/service", body, headers=key)

    for change in ({"payment_method": "pm_declined"}, {"return_url": "https://x.example/"}):
        other = await doors.post("/v1/payments/service", {**body, **change}, headers=key)
        assert (other.status, other.json["code"]) == (422, "idempotency_key_reused"), change
    for other_sum in ({"amount": 1300}, {"currency": "USD"}, {"customer": str(uuid4())}):
        other = await doors.post("/v1/payments/service", {**body, **other_sum}, headers=key)
        assert other.status == 422, (other_sum, other.body)

    assert await count(doors, "payments") == 1


async def test_the_same_request_written_otherwise_is_the_same_request(doors: Doors) -> None:
    body, key = await wanted(doors), {"idempotency-key": str(uuid4())}
    await doors.post("/v1/payments/service", body, headers=key)

    turned = dict(reversed(body.items()))
    again = await doors.post("/v1/payments/service", turned, headers=key)

    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")


async def test_sixty_four_at_once_with_one_key_make_one_payment(doors: Doors) -> None:
    body, key = await wanted(doors), {"idempotency-key": str(uuid4())}

    answers = await asyncio.gather(
        *(doors.post("/v1/payments/service", body, headers=key) for _ in range(64))
    )

    statuses = {answer.status for answer in answers}
    assert statuses <= {201, 409}
    assert 201 in statuses
    assert len({answer.body for answer in answers if answer.status == 201}) == 1
    in_flight = [answer for answer in answers if answer.status == 409]
    assert all(answer.headers["retry-after"] for answer in in_flight)
    assert await count(doors, "payments") == 1


async def test_another_caller_with_the_same_key_is_not_answered_with_mine(doors: Doors) -> None:
    mine = await wanted(doors)
    theirs = await wanted(doors, vin=await doors.installation.car("WVWZZZ1JZXW000002"))
    key = {"idempotency-key": str(uuid4())}

    first = await doors.post("/v1/payments/service", mine, headers=key, caller="admin")
    second = await doors.post("/v1/payments/service", theirs, headers=key, caller="services")

    assert (first.status, second.status) == (201, 201)
    assert first.json["id"] != second.json["id"]


async def test_a_retry_with_a_new_key_gets_the_live_payment(doors: Doors) -> None:
    body = await wanted(doors, None)

    first = await doors.post("/v1/payments/service", body)
    second = await doors.post("/v1/payments/service", body)

    assert first.json["id"] == second.json["id"]
    assert await count(doors, "payments") == 1


async def test_a_refused_request_gives_its_key_back(doors: Doors) -> None:
    body, key = await wanted(doors), {"idempotency-key": str(uuid4())}

    refused = await doors.post("/v1/payments/service", {**body, "amount": 1300}, headers=key)
    again = await doors.post("/v1/payments/service", body, headers=key)

    assert (refused.status, refused.json["code"]) == (422, "not_the_sum_due")
    assert again.status == 201, again.body


async def test_a_key_taken_for_a_payment_that_was_not_accepted_can_be_given_back(
    doors: Doors,
) -> None:
    tables = doors.installation.platform.tables
    live = NewPayment(
        id=new_id(), type=PaymentType.SUBSCRIPTION, subject=new_id(), customer=new_id(),
        amount=1299, currency="EUR", gateway="contract", job_kind="authorize", due_in=3600.0,
    )  # fmt: skip
    await tables.payments.accept(live)
    digest = rf"\x{hashed('the key').hex()}"
    second = msgspec.structs.replace(
        live, id=new_id(), caller="web", key_hash=digest, request_hash=digest
    )

    acceptance = await tables.payments.accept(second)
    await tables.keys.forget("web", "the key")

    assert acceptance.verdict is Verdict.LIVE_PAYMENT
    assert await count(doors, "idempotency_keys") == 0


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_missing"),
        ("short", "idempotency_key_malformed"),
        ("with a blank in the middle", "idempotency_key_malformed"),
        ("x" * 256, "idempotency_key_malformed"),
        ("clave-con-eñe-y-más-cosas", "idempotency_key_malformed"),
    ],
)
async def test_every_post_needs_a_key_of_the_right_shape(
    quiet_doors: Doors, key: str | None, code: str
) -> None:
    headers = {} if key is None else {"idempotency-key": key}

    answer = await quiet_doors.call(
        "POST", "/v1/payments/service", json=SOMEBODYS_PAYMENT, headers=headers
    )

    assert (answer.status, answer.json["code"]) == (400, code)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "1299"},
        {"amount": 12.99},
        {"amount": 1299.0},
        {"amount": True},
        {"amount": 0},
        {"amount": -1},
        {"amount": 10**14},
        {"amount": None},
        {"currency": "eur"},
        {"currency": "EURO"},
        {"currency": "EUR\n"},
        {"currency": "ZZZ"},
        {"customer": "somebody"},
        {"subject": 7},
        {"payment_method": "pm ok"},
        {"payment_method": ""},
        {"return_url": "javascript:alert(1)"},
        {"return_url": "ftp://example.com"},
        {"cvv": "123"},
        {"amount_minor": 1},
    ],
    ids=str,
)
async def test_a_field_of_the_wrong_kind_or_unknown_is_refused(
    quiet_doors: Doors, wrong: dict[str, object]
) -> None:
    answer = await quiet_doors.post("/v1/payments/service", {**SOMEBODYS_PAYMENT, **wrong})

    assert answer.status == 422, answer.body
    assert answer.json["code"] in {"invalid_body", "unknown_currency"}
    assert await count(quiet_doors, "payments") == 0
    assert await count(quiet_doors, "idempotency_keys") == 0


async def test_a_payment_is_voided_once_and_says_so(doors: Doors) -> None:
    await doors.car_that_never_wakes()
    body = await wanted(doors, vin=ASLEEP)
    payment = (await doors.post("/v1/payments/service", body)).json
    assert payment["state"] == "Authorized"

    answer = await doors.post(
        f"/v1/payments/{payment['id']}/void", {"reason": "activation failed"}, caller="ota"
    )

    assert (answer.status, answer.json["state"]) == (200, "Voided"), answer.body
    again = await doors.post(f"/v1/payments/{payment['id']}/void", {"reason": "again"})
    assert (again.status, again.json["state"]) == (200, "Voided")


async def test_voiding_what_was_captured_is_a_conflict_with_advice(doors: Doors) -> None:
    payment = await doors.installation.settled()

    answer = await doors.post(f"/v1/payments/{payment.id}/void", {"reason": "too late"})

    assert (answer.status, answer.json["code"]) == (409, "capture_won")


async def test_a_settlement_is_recorded_by_the_webhook_handler(doors: Doors) -> None:
    payment = (await pays(doors)).json
    await doors.installation.until(UUID(payment["id"]), lambda p: p.state is PaymentState.CAPTURING)
    notice = {"settlement_id": "st_1", "settled": True, "settled_amount": 1299, "currency": "EUR"}
    path = f"/v1/payments/{payment['id']}/settlements"

    first = await doors.post(path, notice, caller="webhooks")
    again = await doors.post(path, notice, caller="webhooks")

    assert (first.status, first.json["state"]) == (200, "Settled"), first.body
    assert again.json["amounts"]["settled"] == 1299


async def test_settled_money_is_given_back_and_never_more_than_it_was(doors: Doors) -> None:
    payment = await doors.installation.settled()
    path = f"/v1/payments/{payment.id}/refunds"

    some = await doors.post(path, {"amount": 1000, "reason": "desistimiento"}, caller="operators")
    more = await doors.post(path, {"amount": 300, "reason": "desistimiento"}, caller="operators")

    assert some.status in {201, 202}, some.body
    assert (some.json["amount"], some.json["payment"]) == (1000, str(payment.id))
    assert more.status in {409, 422}
    seen = (await doors.get(f"/v1/payments/{payment.id}")).json
    assert [refund["amount"] for refund in seen["refunds"]] == [1000]


async def test_a_persons_key_refunds_no_more_than_the_person_may_alone(doors: Doors) -> None:
    installation = doors.installation
    payment = await installation.settled()
    person = await employed(installation.database, "bea@example.com")
    other = await employed(installation.database, "eva@example.com")
    made = await key_of(
        installation.database, person, "beas-key", Scope.OPERATIONS, activated_by=other
    )
    headers = {"authorization": f"Bearer {made.key}"}
    path = f"/v1/payments/{payment.id}/refunds"

    large = await doors.post(
        path, {"amount": 50_001, "reason": "goodwill"}, caller=None, headers=headers
    )
    small = await doors.post(
        path, {"amount": 100, "reason": "goodwill"}, caller=None, headers=headers
    )

    assert (large.status, large.json["code"]) == (403, "refund_needs_two_people"), large.body
    assert small.status in {201, 202}, small.body


async def test_a_refund_that_must_wait_is_a_conflict_that_says_for_what(doors: Doors) -> None:
    payment = await doors.installation.settled()
    path = f"/v1/payments/{payment.id}/refunds"
    reported = GatewayDispute(
        id="dp_1",
        transaction_id=payment.gateway_transaction_id or "",
        amount=1299,
        currency="EUR",
        status=DisputeStatus.OPENED,
    )
    await Disputes(doors.installation.platform.tables).on_event("contract", reported)

    answer = await doors.post(path, {"amount": 1, "reason": "desistimiento"}, caller="operators")

    assert (answer.status, answer.json["code"]) == (409, "refund_must_wait"), answer.body
    assert "a dispute is open" in answer.json["detail"]
    [dispute] = (await doors.get(f"/v1/payments/{payment.id}")).json["disputes"]
    assert (dispute["amount"], dispute["claimed_amount"], dispute["excess"]) == (1299, 1299, 0)


async def test_a_refund_beside_one_of_unknown_outcome_is_a_conflict_that_names_it(
    doors: Doors,
) -> None:
    """Whoever repeated a refund because nobody knew of it paid twice."""
    payment, installation = await doors.installation.settled(), doors.installation
    path, body = f"/v1/payments/{payment.id}/refunds", {"amount": 100, "reason": "goodwill"}
    await installation.gateway_does(
        "faults", match={"operation": "refund"}, action={"drop_connection_after": True}
    )
    await installation.gateway_does("faults", match={"operation": "find"}, action={"status": 503})

    key = {"idempotency-key": str(uuid4())}
    first = await doors.post(path, body, caller="operators", headers=key)
    second = await doors.post(path, body, caller="operators")
    same = await doors.post(path, body, caller="operators", headers=key)

    assert (first.status, first.json["outcome"]) == (202, "unknown"), first.body
    assert (second.status, second.json["code"]) == (409, "refund_unknown"), second.body
    assert f"the refund {first.json['id']} of 100 minor units EUR" in second.json["detail"]
    assert "ask for another refund when it is known" in second.json["detail"]
    assert (same.status, same.json["id"]) == (202, first.json["id"])


async def test_a_forged_acknowledgement_proves_nothing(doors: Doors) -> None:
    payment = (await pays(doors)).json
    forged = {
        "vin": VIN, "command_id": str(uuid4()), "epoch": 1,
        "service": "heated-seats", "action": "activate", "status": "SUCCEEDED",
        "at": "2026-11-23T10:00:00Z", "signature": "A" * 86 + "==",
    }  # fmt: skip

    answer = await doors.post(f"/v1/payments/{payment['id']}/delivery", forged, caller="ota")

    assert (answer.status, answer.json["code"]) == (422, "evidence_refused")


async def test_payments_are_listed_a_page_at_a_time_newest_first(doors: Doors) -> None:
    made = [str((await doors.installation.settled()).id) for _ in range(5)]

    first = (await doors.get("/v1/payments?limit=3")).json
    second = (await doors.get(f"/v1/payments?limit=3&cursor={first['next_cursor']}")).json

    assert [payment["id"] for payment in first["data"] + second["data"]] == made[::-1]
    assert second["next_cursor"] is None
    assert "events" not in first["data"][0]


async def test_lists_are_filtered_by_subject_and_state(doors: Doors) -> None:
    declined = (await pays(doors, "pm_declined")).json["payment"]
    await pays(doors)

    failed = (await doors.get("/v1/payments?state=Failed")).json["data"]
    of_subject = (await doors.get(f"/v1/payments?subject={declined['subject']}")).json["data"]

    assert [payment["id"] for payment in failed] == [declined["id"]]
    assert [payment["id"] for payment in of_subject] == [declined["id"]]


async def test_lists_are_filtered_by_everything_the_interface_names(doors: Doors) -> None:
    declined = (await pays(doors, "pm_declined")).json["payment"]
    here = await doors.installation.settled()
    await doors.installation.car(OTHER_CAR)
    there = await doors.installation.buys(vin=OTHER_CAR)
    before, after = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00%2B01:00"

    async def found(query: str) -> set[str]:
        answer = await doors.get(f"/v1/payments?{query}")
        assert answer.status == 200, answer.body
        return {payment["id"] for payment in answer.json["data"]}

    every = {declined["id"], str(here.id), str(there.id)}
    assert await found("type=service&outcome=known") == every
    assert await found("type=final") == await found("outcome=unknown") == set()
    assert await found(f"vin={VIN}&state=Settled") == {str(here.id)}
    assert await found(f"vin={OTHER_CAR}") == {str(there.id)}
    assert await found(f"vin={OTHER_CAR}&created_to={before}") == set()
    assert await found(f"created_from={before}&created_to={after}") == every
    assert await found(f"customer={here.customer}&created_from={before}") == {str(here.id)}
    assert await found("created_from=0001-01-01T00:00:00Z&type=service") == every


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=many", "state=failed", "cursor=x", "subject=1", "stat=Failed",
     "type=car", "outcome=maybe", "created_from=yesterday", "created_to=2026-11-01T00:00:00",
     "vin=!", "limit=1&limit=2", "state=null", "subject=null", "limit", "&", "limit=1%00",
     "%ff=1"],
)  # fmt: skip
async def test_a_query_that_is_not_understood_is_refused(quiet_doors: Doors, query: str) -> None:
    answer = await quiet_doors.get(f"/v1/payments?{query}")

    assert (answer.status, answer.json["code"]) == (422, "invalid_parameter")


async def test_a_payment_nobody_made_is_not_found(quiet_doors: Doors) -> None:
    answer = await quiet_doors.get(f"/v1/payments/{uuid4()}")

    assert (answer.status, answer.json["code"]) == (404, "payment_not_found")
