"""Calls about what nobody has, and with keys that nobody may use any longer: no row changes."""

import hashlib
import secrets
from typing import Any

import pytest

from caas.billing_database.api_keys import ApiKeys
from caas.rules.scopes import Scope
from tests.api.addresses import NOBODYS_ID
from tests.bad_input.conftest import VIN, World, refused
from tests.bad_input.test_requests import sent

PAYMENT = {"subject": NOBODYS_ID, "amount": 1299, "currency": "EUR", "payment_method": "pm_ok"}
ACKNOWLEDGED = {
    "vin": VIN, "command_id": NOBODYS_ID, "epoch": 1, "service": "heated-seats",
    "action": "activate", "status": "SUCCEEDED", "at": "2026-11-23T10:00:00Z",
    "signature": "A" * 86 + "==",
}  # fmt: skip
BANK = {"settlement_id": "s1", "settled": True, "settled_amount": 1299, "currency": "EUR"}
DEPOSIT = {"amount": 100_000, "currency": "EUR"}
MINE = "the customer's own"
ABOUT_NOBODY: list[tuple[str, dict[str, object], int]] = [
    ("/v1/payments/{nobody}/void", {"reason": "stop"}, 404),
    ("/v1/payments/{nobody}/settlements", BANK, 404),
    ("/v1/payments/{nobody}/delivery", ACKNOWLEDGED, 404),
    ("/v1/payments/{nobody}/refunds", {"amount": 1, "reason": "desistimiento"}, 404),
    ("/v1/orders/{nobody}/final-payment", {"payment_method": "pm_ok"}, 404),
    ("/v1/orders/{nobody}/withdrawal", {}, 404),
    ("/v1/service-orders/{nobody}/withdrawal", {}, 404),
    ("/v1/payments/reservation", {**PAYMENT, "customer": MINE}, 404),
    ("/v1/payments/final", {**PAYMENT, "customer": MINE}, 404),
    ("/v1/payments/service", {**PAYMENT, "customer": MINE}, 404),
    ("/v1/payments/subscription", {**PAYMENT, "customer": MINE}, 409),
    ("/v1/orders", {"customer": NOBODYS_ID, "dealership": "Norte", "deposit": DEPOSIT,
                    "vin": VIN, "payment_method": "pm_ok"}, 404),
    ("/v1/orders", {"customer": MINE, "dealership": "Norte", "deposit": DEPOSIT,
                    "vin": "NOBODYSCAR0000000", "payment_method": "pm_ok"}, 404),
    ("/v1/service-orders", {"customer": NOBODYS_ID, "vin": VIN, "service": "heated-seats",
                            "duration_days": 30, "payment_method": "pm_ok"}, 404),
    ("/v1/service-orders", {"customer": MINE, "vin": VIN, "service": "nobodys-service",
                            "duration_days": 30, "payment_method": "pm_ok"}, 404),
    ("/v1/subscriptions", {"customer": NOBODYS_ID, "vin": VIN, "service": "heated-seats",
                           "payment_method": "pm_ok"}, 404),
    ("/v1/subscriptions", {"customer": MINE, "vin": VIN, "service": "nobodys-service",
                           "payment_method": "pm_ok"}, 404),
    ("/v1/usage", {"subscription": NOBODYS_ID, "quantity": 1, "at": "2026-11-23T10:00:00Z",
                   "source_id": "one", "unit": "kWh"}, 404),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status"), ABOUT_NOBODY, ids=lambda it: str(it)[:40])
async def test_what_nobody_has_is_neither_charged_nor_changed(
    world: World, path: str, body: dict[str, object], status: int
) -> None:
    """A service was sold, and a customer charged, who was never written down anywhere."""
    mine = {name: str(world.customer) if it == MINE else it for name, it in body.items()}

    answer = await sent(world, "POST", path.format(nobody=NOBODYS_ID), mine)

    refused(answer, status, answer.json["code"])


@pytest.mark.parametrize("path", ["/v1/customers/", "/v1/subscriptions/"])
async def test_what_nobody_has_is_not_removed(world: World, path: str) -> None:
    answer = await world.doors.call("DELETE", path + NOBODYS_ID)

    refused(answer, 404, answer.json["code"])


@pytest.mark.parametrize("path", ["/v1/service-orders", "/v1/subscriptions", "/v1/orders"])
async def test_who_was_erased_buys_nothing_any_more(whole_world: World, path: str) -> None:
    made = await sent(whole_world, "POST", "/v1/customers", {"name": "Ana", "email": "a@b.example"})
    gone = made.json["id"]
    erased = await whole_world.doors.call("DELETE", f"/v1/customers/{gone}")
    before = await whole_world.rows()
    bodies = {to: body for to, body, _ in ABOUT_NOBODY if "customer" in body}

    answer = await sent(whole_world, "POST", path, {**bodies[path], "customer": gone})

    assert erased.status == 200, erased.body
    refused(answer, 409, "customer_erased")
    assert await whole_world.rows() == before


REUSED_AT = [
    "/v1/orders", "/v1/service-orders", "/v1/subscriptions", "/v1/usage",
    "/v1/payments/{nobody}/refunds", "/v1/orders/{nobody}/withdrawal",
    "/v1/service-orders/{nobody}/withdrawal", "/v1/orders/{nobody}/final-payment",
]  # fmt: skip


async def test_a_key_that_was_used_for_something_else_is_refused_wherever_it_comes(
    whole_world: World,
) -> None:
    """Fault F-G13."""
    used = {"idempotency-key": secrets.token_urlsafe(32)}
    ana = {"name": "Ana", "email": "a@b.example"}
    made = await sent(whole_world, "POST", "/v1/customers", ana, **used)
    before = await whole_world.rows()
    bodies = {to: body for to, body, _ in ABOUT_NOBODY}
    bodies["/v1/customers"] = {**ana, "name": "Eva"}

    for path in (*REUSED_AT, "/v1/customers"):
        body = {
            name: NOBODYS_ID if value == MINE else value for name, value in bodies[path].items()
        }
        answer = await sent(whole_world, "POST", path.format(nobody=NOBODYS_ID), body, **used)
        refused(answer, 422, "idempotency_key_reused")

    assert made.status == 201
    assert await whole_world.rows() == before


async def test_a_revoked_key_changes_nothing(whole_world: World) -> None:
    world, secret = whole_world, secrets.token_urlsafe(32)
    keys = ApiKeys(world.doors.installation.database)
    await keys.put(
        key_hash=hashlib.sha256(secret.encode()).digest(),
        name="left",
        scopes=frozenset({Scope.ANY}),
    )
    await keys.revoke("left")
    before = await world.rows()

    answers = [await with_key(world, secret, method) for method in ("GET", "POST")]

    for answer in answers:
        refused(answer, 401, "unauthenticated")
    assert await world.rows() == before


async def with_key(world: World, secret: str, method: str) -> Any:
    """List the customers, or make one, with this key."""
    return await world.doors.call(
        method, "/v1/customers", caller=None, json={"name": "Ana", "email": "a@b.example"},
        headers={"authorization": f"Bearer {secret}", "idempotency-key": secret},
    )  # fmt: skip
