"""What the platform refuses at its door (Security and Compliance; Internal Payment API, Caller).

Rules a change must keep: what is refused has changed nothing, and the gateway was not asked.
"""

from typing import Final

from caas.billing_database.identifiers import new_id
from caas_lab.demo import cast, checks
from caas_lab.demo.cast import HEATED_SEATS, MONTH_DAYS
from caas_lab.demo.play import Play
from caas_lab.demo.story import PAYMENT_PROCESSING, Scene

CARD_NUMBER: Final = "4242 4242 4242 4242"
UNPROCESSABLE: Final = 422
REFUSED: Final = f"{UNPROCESSABLE} card_number_refused"


async def _card_number(play: Play) -> None:
    ana = await cast.customer(play, "Ana")
    vin = await cast.vehicle_in_stock(play)
    fields = {
        "payment_method": {"payment_method": CARD_NUMBER.replace(" ", "")},
        "dealership": {"dealership": f"Autos Sol, card {CARD_NUMBER}", "payment_method": "pm_ok"},
    }
    whole = {
        "customer": ana.id,
        "vin": vin,
        "dealership": "Autos Sol",
        "deposit": {"amount": cast.DEPOSIT, "currency": "EUR"},
    }

    for field, more in fields.items():
        play.step("a careless dealer", PAYMENT_PROCESSING, f"sends a card number as {field}")
        reply = await play.stage.platform.post("/v1/orders", whole | more, scope=cast.SELLER)
        seen = f"{reply.status} {reply.code}"
        play.expect(f"a card number as {field} is answered", REFUSED, seen)
    told = await play.stage.platform.get("/v1/self-check", scope="operations")
    law = next(it for it in told.body["invariants"] if it["name"] == "no_card_number")

    play.expect("card numbers anywhere in the database", 0, law["broken"])
    await checks.expect_vehicle(play, vin, "sin asignar")


async def _wrong_scope(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    body = {
        "customer": ana.id, "vin": vin, "service": HEATED_SEATS, "duration_days": MONTH_DAYS,
        "payment_method": "pm_ok",
    }  # fmt: skip

    play.step("OTA Activation Engine", PAYMENT_PROCESSING, "tries to sell a service")
    sold = await play.stage.platform.post("/v1/service-orders", body, scope="ota-engine")
    play.step("Service Catalog", PAYMENT_PROCESSING, "tries to void a payment")
    path = f"/v1/payments/{new_id()}/void"
    voided = await play.stage.platform.post(path, {"reason": "no"}, scope=cast.CATALOG)
    play.step("somebody without a key", PAYMENT_PROCESSING, "tries to sell a service")
    nobody = await play.stage.platform.post("/v1/service-orders", body)

    for who, reply, expected in (
        ("the OTA engine", sold, "403 scope_missing"),
        ("the Service Catalog", voided, "403 scope_missing"),
        ("who has no key", nobody, "401 unauthenticated"),
    ):
        play.expect(f"{who} is answered", expected, f"{reply.status} {reply.code}")
    play.expect("commands sent to the car", 0, (await play.stage.vehicles.car(vin))["commands"])


async def _same_key(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    body = {
        "customer": ana.id, "vin": vin, "service": HEATED_SEATS, "duration_days": MONTH_DAYS,
        "payment_method": "pm_ok",
    }  # fmt: skip
    key = str(new_id())

    replies = []
    for _ in range(3):
        play.step(ana.name, PAYMENT_PROCESSING, "Initiate Service Payment, the same key again")
        replies.append(
            await play.stage.platform.post("/v1/service-orders", body, scope=cast.FLEET, key=key)
        )
    play.watch(replies[0].body["payments"][0]["id"])
    payment = await play.payment_is(play.payments[0], "Capturing")
    other = await play.stage.platform.post(
        "/v1/service-orders", body | {"payment_method": "pm_declined"}, scope=cast.FLEET, key=key
    )

    play.expect("service orders that were made", 1, len({it.body["id"] for it in replies}))
    await checks.expect_charges(play, payment["id"], 1)
    play.expect("the same key for something else is answered", UNPROCESSABLE, other.status)


SCENES: Final = (
    Scene(
        name="card-number",
        title="A card number is refused at the door",
        rule="Data Retention: NO card numbers or CVV codes; decisions 24 and 44",
        tells="Card data belongs on the gateway's page. Wherever a number stands in a request, the "
        "request is refused and nothing of it is kept.",
        ends="422, nothing stored",
        plays=_card_number,
    ),
    Scene(
        name="wrong-scope",
        title="Who may not call is refused",
        rule="Internal Payment API Endpoints, Caller; decision 18",
        tells="Each key has the scope of one caller of the table. Others are refused before "
        "anything is looked at.",
        ends="403 and 401, nothing changes",
        plays=_wrong_scope,
    ),
    Scene(
        name="same-key",
        title="The same request three times is one purchase",
        rule="Diagram 4; decision 2",
        tells="The customer's connection is bad and the app sends its request again and again, "
        "with the same Idempotency-Key.",
        ends="one order, one charge",
        plays=_same_key,
    ),
)
