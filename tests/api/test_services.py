"""Services, service orders, subscriptions and month ends over a socket: Diagrams 4 and 6."""

import asyncio
from uuid import UUID, uuid4

import pytest

from caas.billing_database.idempotency import IdempotencyKeys
from caas.rules.payment_states import PaymentState
from tests.api.conftest import Doors, Reply
from tests.api.planting import found_after, pay_on
from tests.installation import VIN

TRAFFIC = {
    "name": "Live traffic", "kind": "subscription", "currency": "EUR", "monthly_fee": 990,
    "metered": [{"unit": "route", "unit_price": 5}],
}  # fmt: skip
MASSAGE = {
    "name": "Massage", "kind": "one_time", "currency": "EUR",
    "prices": [{"duration_days": 7, "amount": 499}, {"duration_days": 30, "amount": 1499}],
}  # fmt: skip
PATIENCE_SECONDS = 120.0


def preferring(prefer: object) -> dict[str, str]:
    """Return the headers of a call that may have a preference."""
    return {"Prefer": str(prefer)} if prefer else {}


async def buys(doors: Doors, **more: object) -> Reply:
    """Buy heated seats for the installation's car."""
    headers = preferring(more.pop("prefer", None))
    body = {
        "customer": str(await doors.installation.customer()), "vin": VIN, "service": "heated-seats",
        "duration_days": 30, "payment_method": "pm_ok", **more,
    }  # fmt: skip
    return await doors.post("/v1/service-orders", body, caller="fleet", headers=headers)


async def subscribes(doors: Doors, **more: object) -> Reply:
    """Subscribe to live traffic in the installation's car."""
    headers = preferring(more.pop("prefer", None))
    put = await doors.call("PUT", "/v1/services/traffic", json=TRAFFIC, caller="services")
    assert put.status == 200, put.body
    body = {
        "customer": str(await doors.installation.customer()), "vin": VIN, "service": "traffic",
        "payment_method": "pm_ok", **more,
    }  # fmt: skip
    return await doors.post("/v1/subscriptions", body, caller="fleet", headers=headers)


async def until_active(doors: Doors, path: str) -> None:
    """Let jobs run until the subscription is active."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await doors.get(path)).json["state"] != "active":
            await doors.installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)


async def test_a_service_is_put_into_the_catalogue_and_shown(doors: Doors) -> None:
    put = await doors.call("PUT", "/v1/services/massage", json=MASSAGE, caller="services")

    seen = await doors.get("/v1/services/massage", caller="orders")
    listed = await doors.get("/v1/services", caller="billing")

    assert (put.status, put.json) == (200, seen.json)
    assert seen.json["prices"] == MASSAGE["prices"]
    assert [service["code"] for service in listed.json["data"]] == ["heated-seats", "massage"]


async def test_a_service_has_a_name_for_each_language_and_one_for_all_others(
    doors: Doors,
) -> None:
    names = {"es": "Masaje", "de": "Massagesitze"}

    plain = await doors.call("PUT", "/v1/services/massage", json=MASSAGE, caller="services")
    named = await doors.call(
        "PUT", "/v1/services/massage", json={**MASSAGE, "names": names}, caller="services"
    )
    service = await doors.installation.platform.service_catalog.service("massage")

    assert (plain.json["name"], plain.json["names"]) == ("Massage", {})
    assert named.json["names"] == names
    assert [service.named(language) for language in ("es", "en")] == ["Masaje", "Massage"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "rental"}, {"prices": []}, {"monthly_fee": 5}, {"currency": "ZZZ"},
        {"prices": [{"duration_days": 0, "amount": 1}]},
        {"prices": [{"duration_days": 1, "amount": 1.5}]},
        {"prices": [{"duration_days": 1}]}, {"name": "a\x00b"}, {"free": True},
        {"kind": "subscription", "prices": []},
        {"names": {"Spanish": "Masaje"}}, {"names": {"es": ""}}, {"names": ["Masaje"]},
        {"names": {"es": "4111 1111 1111 1111"}},
    ],
    ids=str,
)  # fmt: skip
async def test_a_service_described_wrongly_is_refused(
    quiet_doors: Doors, wrong: dict[str, object]
) -> None:
    answer = await quiet_doors.call("PUT", "/v1/services/massage", json={**MASSAGE, **wrong})

    assert answer.status == 422, answer.body


@pytest.mark.parametrize("code", ["Massage", "-x", "a" * 65, "a_b", "a%20b"])
async def test_an_address_that_cannot_be_a_service_is_refused(
    quiet_doors: Doors, code: str
) -> None:
    answer = await quiet_doors.call("PUT", f"/v1/services/{code}", json=MASSAGE)

    assert (answer.status, answer.json["code"]) == (422, "invalid_parameter")


async def test_buying_answers_with_the_service_order_and_its_payment(doors: Doors) -> None:
    answer = await buys(doors)

    assert answer.status == 201, answer.body
    order = answer.json
    assert order["amount"] == 1299
    assert order["state"] in {"activating", "active"}
    assert [payment["id"] for payment in order["payments"]] == [order["payment"]]
    listed = await doors.get(f"/v1/service-orders?vin={VIN}", caller="services")
    assert [found["id"] for found in listed.json["data"]] == [order["id"]]


async def test_respond_async_is_answered_before_the_gateway_is_called(doors: Doors) -> None:
    """A gateway that is slow or away keeps no caller waiting."""
    ordered = await buys(doors, prefer="respond-async")

    assert (ordered.status, ordered.json["payments"][0]["state"]) == (202, "Pending")
    assert ordered.headers["preference-applied"] == "respond-async"
    assert not doors.installation.gateway.store.bookings
    await doors.installation.platform.jobs.run_due()
    assert (await doors.get(ordered.headers["location"])).json["payments"][0]["state"] != "Pending"


async def test_respond_async_lets_a_worker_verify_a_subscription(doors: Doors) -> None:
    begun = await subscribes(doors, prefer="respond-async")

    assert (begun.status, begun.json["state"]) == (202, "verifying payment method")
    assert begun.headers["preference-applied"] == "respond-async"
    assert not doors.installation.gateway.store.bookings
    path = begun.headers["location"]
    await until_active(doors, path)

    other = await doors.post(
        f"{path}/payment-method", {"payment_method": "pm_ok_2"}, caller="fleet",
        headers={"Prefer": "respond-async"},
    )  # fmt: skip
    assert (other.status, other.json["state"]) == (202, "Pending")
    assert other.headers["preference-applied"] == "respond-async"


async def test_a_declined_purchase_is_402_and_cancels_the_order(doors: Doors) -> None:
    answer = await buys(doors, payment_method="pm_declined")

    assert (answer.status, answer.json["code"]) == (402, "payment_declined")
    order = await doors.get(f"/v1/service-orders/{answer.json['payment']['subject']}")
    assert order.json["state"] == "cancelled"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"service": "nothing"}, 404),
        ({"duration_days": 31}, 422),
        ({"vin": "CARWITHOUTKEY"}, 422),
        ({"amount": 1}, 422),
    ],
    ids=str,
)
async def test_what_is_not_sold_cannot_be_bought(
    doors: Doors, wrong: dict[str, object], status: int
) -> None:
    answer = await buys(doors, **wrong)

    assert answer.status == status, answer.body
    assert (await doors.get("/v1/payments")).json["data"] == []


async def test_a_cut_purchase_that_is_repeated_is_charged_once(doors: Doors) -> None:
    customer, key = str(await doors.installation.customer()), {"idempotency-key": str(uuid4())}
    body = {"customer": customer, "vin": VIN, "service": "heated-seats", "duration_days": 30,
            "payment_method": "pm_ok"}  # fmt: skip
    first = await doors.post("/v1/service-orders", body, headers=key)
    await doors.as_if_never_answered()

    second = await doors.post("/v1/service-orders", body, headers=key)

    assert second.json["payment"] == first.json["payment"]
    assert len((await doors.get("/v1/payments")).json["data"]) == 1


async def test_a_retry_beside_a_first_call_that_was_taken_for_dead_gets_its_payment(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process lost its database for a moment; the retry was refused for the order's use."""
    key, keys = str(uuid4()), IdempotencyKeys
    body = {
        "customer": str(await doors.installation.customer()), "vin": VIN,
        "service": "heated-seats", "duration_days": 30, "payment_method": "pm_ok",
    }  # fmt: skip
    payment_of, begin = keys.payment_of, keys.begin
    first: list[Reply] = []

    async def buys_with_it() -> Reply:
        headers = {"idempotency-key": key}
        return await doors.post("/v1/service-orders", body, caller="fleet", headers=headers)

    async def overtaken(self: IdempotencyKeys, caller: str, key_hash: bytes) -> UUID | None:
        monkeypatch.setattr(keys, "payment_of", payment_of)
        found = await payment_of(self, caller, key_hash)
        monkeypatch.setattr(keys, "begin", takes_over)
        first.append(await buys_with_it())
        return found

    async def takes_over(*_: object, **__: object) -> None:
        monkeypatch.setattr(keys, "begin", begin)

    monkeypatch.setattr(keys, "payment_of", overtaken)
    retried = await buys_with_it()

    assert [first[0].status, retried.status] == [201, 201]
    assert retried.json["payments"][0]["id"] == first[0].json["payments"][0]["id"]


async def test_a_purchase_that_is_sent_many_times_at_once_is_one_order(doors: Doors) -> None:
    """Fault F-G12, where a call makes an order before its payment."""
    customer, key = str(await doors.installation.customer()), {"idempotency-key": str(uuid4())}
    body = {"customer": customer, "vin": VIN, "service": "heated-seats", "duration_days": 30,
            "payment_method": "pm_ok"}  # fmt: skip

    answers = await asyncio.gather(
        *(doors.post("/v1/service-orders", body, headers=key) for _ in range(16))
    )

    assert {answer.status for answer in answers} <= {201, 202, 409}
    assert len((await doors.get("/v1/service-orders")).json["data"]) == 1
    assert len((await doors.get("/v1/payments")).json["data"]) == 1


async def test_withdrawing_from_a_settled_service_gives_the_money_back_once(doors: Doors) -> None:
    order = (await buys(doors)).json
    installation, payment_id = doors.installation, UUID(order["payment"])
    await installation.until(payment_id, lambda p: p.state is PaymentState.CAPTURING)
    await installation.until_settled(payment_id)
    path = f"/v1/service-orders/{order['id']}/withdrawal"

    for _ in range(2):
        answer = await doors.post(path, {}, caller="services")
        assert answer.status in {200, 202}, answer.body

    payment = await installation.until(payment_id, lambda p: p.state is PaymentState.REFUNDED)
    assert payment.refunded_amount == 1299


async def test_withdrawing_before_the_vehicle_confirmed_voids_the_charge(doors: Doors) -> None:
    await doors.car_that_never_wakes()
    order = (await buys(doors, vin="WVWZZZ1JZXWASLEEP")).json

    answer = await doors.post(f"/v1/service-orders/{order['id']}/withdrawal", {})

    assert answer.status == 200, answer.body
    assert answer.json["payments"][0]["state"] == "Voided"


async def test_subscribing_verifies_the_payment_method_and_activates(doors: Doors) -> None:
    answer = await subscribes(doors)

    assert answer.status in {201, 202}, answer.body
    assert "payment_method" not in answer.json
    await until_active(doors, answer.headers["location"])


async def test_a_cut_subscription_that_is_repeated_is_the_one_it_began(doors: Doors) -> None:
    await doors.call("PUT", "/v1/services/traffic", json=TRAFFIC, caller="services")
    key = {"idempotency-key": str(uuid4())}
    body = {"customer": str(await doors.installation.customer()), "vin": VIN,
            "service": "traffic", "payment_method": "pm_ok"}  # fmt: skip
    first = await doors.post("/v1/subscriptions", body, caller="fleet", headers=key)
    await doors.as_if_never_answered()

    second = await doors.post("/v1/subscriptions", body, caller="fleet", headers=key)
    other = await doors.post("/v1/subscriptions", body, caller="fleet")

    assert (first.status, second.status, second.json["id"]) == (201, 201, first.json["id"])
    assert (other.status, other.json["code"]) == (409, "already_subscribed")


async def test_a_refused_payment_method_is_402_and_activates_nothing(doors: Doors) -> None:
    answer = await subscribes(doors, payment_method="pm_declined")

    assert (answer.status, answer.json["code"]) == (402, "payment_method_refused"), answer.body


async def test_a_method_that_our_settings_keep_from_being_verified_is_not_called_refused(
    doors: Doors,
) -> None:
    await doors.installation.gateway_does(
        "faults", action={"status": 401, "code": "unauthorized"}, match={"operation": "initiate"}
    )

    answer = await subscribes(doors)

    assert (answer.status, answer.json["code"]) == (402, "payment_not_made")


async def test_without_a_payment_method_the_answer_names_the_page_to_enter_one_on(
    doors: Doors,
) -> None:
    answer = await subscribes(doors, payment_method=None)
    path = answer.headers["location"]

    await pay_on(answer.json["verification"]["hosted_page_url"])
    await until_active(doors, path)
    active = (await doors.get(path)).json

    assert (answer.status, answer.json["state"]) == (202, "verifying payment method")
    assert active["verification"]["amounts"]["captured"] == 0
    assert "payment_method" not in active


async def test_a_running_subscription_takes_another_payment_method(doors: Doors) -> None:
    path = (await subscribes(doors)).headers["location"]
    await until_active(doors, path)

    answer = await doors.post(
        f"{path}/payment-method", {"payment_method": "pm_late_settlement"}, caller="services"
    )

    assert answer.status == 202, answer.body
    assert answer.headers["location"] == answer.json["links"]["self"]
    assert (answer.json["type"], answer.json["amount"]) == ("subscription", 100)
    subscription = await doors.installation.platform.subscriptions.subscription(
        UUID(path.rsplit("/", 1)[1])
    )
    assert subscription.payment_method == "pm_late_settlement"


async def test_what_has_ended_takes_no_payment_method(doors: Doors) -> None:
    path = (await subscribes(doors)).headers["location"]
    await doors.call("DELETE", path, caller="services")

    answer = await doors.post(f"{path}/payment-method", {}, caller="services")

    assert (answer.status, answer.json["code"]) == (409, "subscription_ended"), answer.body


async def test_a_subscription_is_ended_as_often_as_one_likes(doors: Doors) -> None:
    path = (await subscribes(doors)).headers["location"]
    await until_active(doors, path)

    for _ in range(2):
        ended = await doors.call("DELETE", path, caller="services")
        assert (ended.status, ended.json["state"]) == (200, "cancelled")


async def test_the_same_source_of_use_counts_once(doors: Doors) -> None:
    subscription = await subscribes(doors)
    await until_active(doors, subscription.headers["location"])
    active = (await doors.get(subscription.headers["location"])).json
    used = {"subscription": active["id"], "quantity": 3, "at": active["activated_at"],
            "source_id": "meter-1", "unit": "route"}  # fmt: skip

    first = await doors.post("/v1/usage", used, caller="services")
    again = await doors.post("/v1/usage", used, caller="services")
    other = await doors.post("/v1/usage", {**used, "quantity": 4}, caller="services")

    assert (first.status, first.json["counted"]) == (201, True), first.body
    assert (again.status, again.json["counted"]) == (200, False)
    assert (other.status, other.json["code"]) == (409, "usage_conflict")


async def test_a_month_that_is_over_is_billed_and_one_that_runs_is_not(doors: Doors) -> None:
    over = await doors.post("/v1/billing/runs", {"month": "2020-01"}, caller="billing")
    runs = await doors.post("/v1/billing/runs", {"month": "2999-01"}, caller="billing")

    assert over.status == 201, over.body
    assert over.json["finished_at"] is not None
    assert (runs.status, runs.json["code"]) == (422, "month_not_over")
    assert (await doors.get(over.headers["location"])).json["month"] == "2020-01"
    runs = (await doors.get("/v1/billing/runs")).json["data"]
    assert [run["month"] for run in runs] == ["2020-01"]


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "26-01", "january"])
async def test_what_is_no_month_is_refused(quiet_doors: Doors, month: str) -> None:
    posted = await quiet_doors.post("/v1/billing/runs", {"month": month})
    seen = await quiet_doors.get(f"/v1/billing/runs/{month}")

    assert (posted.status, seen.status) == (422, 422)


async def test_use_is_taken_back_disputed_and_explained_over_the_wire(doors: Doors) -> None:
    path = (await subscribes(doors)).headers["location"]
    await until_active(doors, path)
    active = (await doors.get(path)).json
    used = {"subscription": active["id"], "quantity": 3, "at": active["activated_at"],
            "source_id": "meter-1", "unit": "route"}  # fmt: skip
    await doors.post("/v1/usage", used, caller="services")
    doubt = {"subscription": active["id"], "source_id": "meter-1", "reason": "never drove there"}

    early = await doors.post(
        "/v1/usage", {**used, "at": "2020-01-01T00:00:00Z", "source_id": "old"}, caller="services"
    )
    huge = await doors.post("/v1/usage", {**used, "quantity": 10**12}, caller="services")
    opened = await doors.post("/v1/usage-disputes", doubt, caller="operators")
    back = {**used, "quantity": -3, "source_id": "meter-2", "cancels": "meter-1"}
    reversed_ = await doors.post("/v1/usage", back, caller="services")
    outcome = f"/v1/usage-disputes/{opened.json['id']}/outcome"
    ended = await doors.post(outcome, {"outcome": "cancelled"}, caller="operators")
    otherwise = await doors.post(outcome, {"outcome": "billed"}, caller="operators")

    active_method = "update subscriptions set payment_method = 'pm_other' where state = 'active'"
    for planted, invariant in (
        ("update usage_disputes set outcome = 'billed'", "usage_disputes_end_as_decided"),
        ("delete from usage_records where cancels is not null", "usage_disputes_end_as_decided"),
        (active_method, "months_are_charged_to_verified_methods"),
    ):
        assert invariant in await found_after(doors.installation.database, planted), planted

    assert (early.status, early.json["counted"], early.json["because"]) == (
        200, False, "before_activation",
    )  # fmt: skip
    assert huge.status == 422
    assert (opened.status, opened.json["outcome"]) == (201, None), opened.body
    assert (reversed_.status, reversed_.json["counted"]) == (201, True), reversed_.body
    assert (ended.status, ended.json["outcome"]) == (200, "cancelled")
    assert (otherwise.status, otherwise.json["code"]) == (409, "usage_dispute_ended")


async def test_more_time_is_told_with_the_moment_from_which_it_runs(doors: Doors) -> None:
    """It follows what runs already, also what was sold to somebody else."""
    first = (await buys(doors)).json
    await doors.installation.until(
        UUID(first["payment"]), lambda p: p.state is PaymentState.CAPTURING
    )
    runs = (await doors.get(f"/v1/service-orders/{first['id']}")).json

    second = (await buys(doors)).json

    assert (first["begins_at"], runs["begins_at"]) == (None, None)
    assert second["customer"] != first["customer"]
    assert second["begins_at"] == runs["active_until"]


async def test_withdrawing_from_what_was_refunded_and_kept_is_a_conflict_that_says_so(
    doors: Doors,
) -> None:
    order = (await buys(doors)).json
    installation, payment_id = doors.installation, UUID(order["payment"])
    await installation.until(payment_id, lambda p: p.state is PaymentState.CAPTURING)
    await installation.until_settled(payment_id)
    refund = {"amount": 1299, "reason": "goodwill", "term": "keep"}
    kept = await doors.post(f"/v1/payments/{payment_id}/refunds", refund, caller="operators")
    path = f"/v1/service-orders/{order['id']}/withdrawal"

    at_once = await doors.post(path, {}, caller="services")
    await installation.until(payment_id, lambda p: p.state is PaymentState.REFUNDED)
    later = await doors.post(path, {}, caller="services")

    assert kept.status in {201, 202}, kept.body
    for answer in (at_once, later):
        assert (answer.status, answer.json["code"]) == (409, "service_kept"), answer.body
        assert "left on until" in answer.json["detail"]
    assert (await doors.get(f"/v1/service-orders/{order['id']}")).json["state"] == "active"
