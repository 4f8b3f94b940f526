"""Requests that the API rejects (Security and Compliance; Internal Payment API, Caller).

Rule a change must keep: a rejected request changes nothing and does not reach the gateway.
"""

from typing import Final

from caas.billing_database.identifiers import new_id
from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import HEATED_SEATS, MONTH_DAYS
from caas_lab.demo.scenario import PAYMENT_PROCESSING, Scenario
from caas_lab.demo.scenario_run import ScenarioRun

CARD_NUMBER: Final = "4242 4242 4242 4242"
UNPROCESSABLE: Final = 422
REFUSED: Final = f"{UNPROCESSABLE} card_number_refused"


async def _card_number(run: ScenarioRun) -> None:
    ana = await fixtures.customer(run, "Ana")
    vin = await fixtures.vehicle_in_stock(run)
    fields = {
        "payment_method": {"payment_method": CARD_NUMBER.replace(" ", "")},
        "dealership": {"dealership": f"Autos Sol, card {CARD_NUMBER}", "payment_method": "pm_ok"},
    }
    whole = {
        "customer": ana.id,
        "vin": vin,
        "dealership": "Autos Sol",
        "deposit": {"amount": fixtures.DEPOSIT, "currency": "EUR"},
    }

    for field, more in fields.items():
        run.step("Dealership", PAYMENT_PROCESSING, f"sends a card number as {field}")
        reply = await run.testbed.platform.post("/v1/orders", whole | more, scope=fixtures.SELLER)
        seen = f"{reply.status} {reply.code}"
        run.expect(f"the answer to a card number as {field}", REFUSED, seen)
    found = {name: broken for name, _, broken in await run.testbed.integrity_checks()}

    run.expect("card numbers anywhere in the database", 0, found["no_card_number"])
    await checks.expect_vehicle(run, vin, "sin asignar")


async def _wrong_scope(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    body = {
        "customer": ana.id, "vin": vin, "service": HEATED_SEATS, "duration_days": MONTH_DAYS,
        "payment_method": "pm_ok",
    }  # fmt: skip

    run.step("OTA Activation Engine", PAYMENT_PROCESSING, "tries to sell a service")
    sold = await run.testbed.platform.post("/v1/service-orders", body, scope="ota-engine")
    run.step("Service Catalog", PAYMENT_PROCESSING, "tries to void a payment")
    path = f"/v1/payments/{new_id()}/void"
    voided = await run.testbed.platform.post(path, {"reason": "no"}, scope=fixtures.CATALOG)
    run.step("caller without a key", PAYMENT_PROCESSING, "tries to sell a service")
    without_key = await run.testbed.platform.post("/v1/service-orders", body)

    for who, reply, expected in (
        ("the OTA engine", sold, "403 scope_missing"),
        ("the Service Catalog", voided, "403 scope_missing"),
        ("a caller without a key", without_key, "401 unauthenticated"),
    ):
        run.expect(f"the answer to {who}", expected, f"{reply.status} {reply.code}")
    run.expect("commands sent to the vehicle", 0, (await run.testbed.vehicles.car(vin))["commands"])


async def _same_key(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    body = {
        "customer": ana.id, "vin": vin, "service": HEATED_SEATS, "duration_days": MONTH_DAYS,
        "payment_method": "pm_ok",
    }  # fmt: skip
    key = str(new_id())

    replies = []
    for _ in range(3):
        run.step(ana.name, PAYMENT_PROCESSING, "Initiate Service Payment, the same key again")
        replies.append(
            await run.testbed.platform.post(
                "/v1/service-orders", body, scope=fixtures.FLEET, key=key
            )
        )
    run.watch(replies[0].body["payments"][0]["id"])
    payment = await run.wait_for_payment(run.payments[0], "Capturing")
    other = await run.testbed.platform.post(
        "/v1/service-orders",
        body | {"payment_method": "pm_declined"},
        scope=fixtures.FLEET,
        key=key,
    )

    run.expect("service orders created", 1, len({it.body["id"] for it in replies}))
    await checks.expect_charges(run, payment["id"], 1)
    run.expect("the answer to the same key with another body", UNPROCESSABLE, other.status)


SCENARIOS: Final = (
    Scenario(
        name="card-number",
        title="A card number is rejected",
        rule="Data Retention: NO card numbers or CVV codes; decisions 24 and 44",
        text="Card data belongs on the gateway's page. A request with a card number in any field "
        "is rejected, and nothing of it is stored.",
        expected_end="422, nothing stored",
        steps=_card_number,
    ),
    Scenario(
        name="wrong-scope",
        title="A caller without the required scope is rejected",
        rule="Internal Payment API Endpoints, Caller; decision 18",
        text="Each API key has the scope of one caller. A call outside its scope is rejected "
        "before anything else is checked.",
        expected_end="403 and 401, nothing changes",
        steps=_wrong_scope,
    ),
    Scenario(
        name="same-key",
        title="The same request three times is one purchase",
        rule="Diagram 4; decision 2",
        text="The customer's connection is bad, and the app repeats its request with the same "
        "Idempotency-Key.",
        expected_end="one order, one charge",
        steps=_same_key,
    ),
)
