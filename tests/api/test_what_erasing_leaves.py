"""What an erasure leaves: who a customer was is said by what the answer names alone."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec

from caas.billing_database.accounts import Accounts
from caas.billing_database.customers import Access, Customers
from caas.billing_database.sessions import Sessions
from caas.rules.mes_vencido import Month
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.api.conftest import Doors
from tests.api.planting import as_owner
from tests.api.test_erasing import (
    EMAIL,
    EUR_400,
    NAME,
    OTHER_CAR,
    PHONE,
    PLANTED,
    STREET,
    Zenobia,
    delivered,
    doors,
    outbox,
    zenobia,
)
from tests.api.test_webhooks import settled, tells
from tests.bad_input.test_card_canaries import dump_of
from tests.installation import VIN

__all__ = ["doors", "outbox", "zenobia"]

TABLE: Final = re.compile(r"COPY caas\.(\w+) ")
EVERYTHING: Final = (*PLANTED, STREET)
UNREADABLE: Final = (
    '{"id": "evt_odd", "type": "customer.moved", "data": {"customer": {"name": "%(name)s"},'
    ' "shipping": {"name": "%(name)s", "address": {"line1": "%(street)s"}}, "phone": "%(phone)s"}}',
    '{"id": "evt_cut", "data": {"shipping": {"address": {"line1": "%(street)s"}, "name":'
    ' "%(name)s", "email": "%(email)s"}, "note": "call %(phone)s", "owner": "%(name)s',
)
"""What cannot be read and is set aside as it came, for good."""


async def said_in(doors: Doors, folder: Path, *needles: str) -> list[tuple[str, str]]:
    """Return where one of these stands: lines of a dump by their tables, and files."""
    wanted = [it.casefold() for needle in needles for it in (needle, needle.encode().hex())]
    found, table = [], ""
    for line in (await dump_of(doors.installation.database.dsn)).decode().splitlines():
        begins = TABLE.match(line)
        table = begins[1] if begins else table
        if any(one in line.casefold() for one in wanted):
            found.append((table, line))
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes().decode("utf-8", "replace").casefold()
            found += [("file", str(file)) for one in wanted if one in content]
    return found


async def test_no_copy_of_who_a_customer_was_is_left_anywhere(
    zenobia: Zenobia, outbox: Path
) -> None:
    doors = zenobia.doors
    await _live_a_whole_life(zenobia)
    await _plant_everywhere(zenobia)
    await doors.installation.rest()
    planted = {place for place, _ in await said_in(doors, outbox.parent, *EVERYTHING)}
    assert {"customers", "billing_details", "file"} <= planted, planted

    await _come_to_an_end(zenobia)
    erased = await zenobia.erased(end_open=True)
    again = await zenobia.erased(end_open=True)

    assert erased.status == 200, erased.body
    left = await said_in(doors, outbox.parent, *EVERYTHING)
    named = {one["links"]["self"].rsplit("/", 1)[1] for one in erased.json["kept"]["documents"]}
    assert {place for place, _ in left} == {"document_buyers"}, left
    assert {line.split("\t")[0] for _, line in left} == named
    assert len(left) == len(named)
    for one in erased.json["kept"]["documents"]:
        assert {"name", "street", "tax_id"} <= set(one["fields"]), one
        assert one["until"].endswith("-12-31"), one
    assert again.json["kept"] == erased.json["kept"]
    assert erased.json["kept"]["evidence"] == []
    in_law = await doors.get(f"/v1/invoices?customer={zenobia.id}")
    assert {one["kind"] for one in in_law.json["data"]} == {
        "advance invoice",
        "vehicle invoice",
        "service invoice",
        "invoice",
    }, "full invoices keep whom they are made out to; of what is due, none was issued without"


async def test_what_gateways_and_vehicles_say_of_a_person_is_kept_nowhere(
    zenobia: Zenobia, outbox: Path
) -> None:
    """A reason of a dispute, a vehicle's reason, and a token that is a name."""
    doors, installation = zenobia.doors, zenobia.doors.installation
    payment = UUID((await zenobia.buys_seats()).json["payment"])
    await zenobia.nothing_on_its_way()
    transaction = (await installation.platform.tables.payments.get(payment)).gateway_transaction_id
    for word in ("opened", "won"):
        reported = {"id": f"evt_{word}", "type": f"dispute.{word}",
                "occurred_at": "2026-11-23T10:00:00Z", "data": {
            "id": "dsp_1", "transaction_id": transaction, "amount": 9, "currency": "EUR",
            "reason": f"cardholder {NAME} says no", "status": word}}  # fmt: skip
        await tells(doors, msgspec.json.encode(reported), event_id=f"evt_{word}")
    await installation.rest()
    installation.fleet.cars[OTHER_CAR].manner = Manner(
        Behaviour.REFUSES, reason=f"driver {NAME} said no"
    )
    other = {"customer": zenobia.id, "vin": OTHER_CAR, "service": "heated-seats",
             "duration_days": 30}  # fmt: skip
    token = await doors.post("/v1/service-orders", {**other, "payment_method": f"pm_Ana_{NAME}"})
    refused = await doors.post("/v1/service-orders", {**other, "payment_method": "pm_ok"})
    await installation.until(
        UUID(refused.json["payment"]), lambda p: p.state is PaymentState.VOIDED
    )
    await zenobia.nothing_on_its_way()

    erased = await zenobia.erased(end_open=True)

    assert (token.status, token.json["code"]) == (422, "personal_data_refused"), token.body
    assert erased.status == 200, erased.body
    assert {it for it, _ in await said_in(doors, outbox.parent, NAME)} <= {"document_buyers"}


async def _live_a_whole_life(zenobia: Zenobia) -> None:
    """Buy a vehicle, a service and a subscription; sign in, be sent a link."""
    doors = zenobia.doors
    details = {"name": NAME, "street": STREET, "postcode": "28001", "city": "Madrid",
               "country": "ES", "tax_id": "00000000T"}  # fmt: skip
    put = await doors.call("PUT", f"/v1/customers/{zenobia.id}/billing-details", json=details)
    assert put.status == 200, put.body
    url = f"https://shop.example/{NAME}?back={EMAIL}"
    order = await delivered(zenobia, return_url=url)
    assert (await zenobia.buys_seats()).status in {201, 202}
    await zenobia.subscribes()
    database, customer = doors.installation.database, UUID(zenobia.id)
    account = await Accounts(database).put_customer(customer, "$argon2id$v=19$x")
    await Sessions(database).begin("t" * 43, account, idle_seconds=60, seconds_max=60)
    async with database.transaction() as connection:
        await Customers(database).add_link(
            "l" * 43, Access(customer, UUID(order)), valid_seconds=60, within=connection
        )


async def _plant_everywhere(zenobia: Zenobia) -> None:
    """Say who she is in every text of every call about her, whether or not it is taken."""
    doors, customer = zenobia.doors, zenobia.id
    payment = next(
        one["id"]
        for one in (await doors.get(f"/v1/payments?customer={customer}")).json["data"]
        if one["type"] == "service"
    )
    subscription = (await doors.get(f"/v1/subscriptions?customer={customer}")).json["data"][0]
    now = subscription["activated_at"]
    charge = {"subject": str(uuid4()), "customer": customer, "amount": 1299, "currency": "EUR"}
    seats = {"customer": customer, "vin": VIN, "service": "heated-seats", "duration_days": 30}
    order = {"customer": customer, "vin": OTHER_CAR, "dealership": "Madrid", "deposit": EUR_400}
    use = {"subscription": subscription["id"], "quantity": 1, "at": now, "source_id": "meter-1"}
    delivery = {"vin": VIN, "command_id": str(uuid4()), "epoch": 1, "service": "heated-seats",
                "status": "SUCCEEDED", "at": "2026-01-01T00:00:00Z",
                "signature": "A" * 86 + "=="}  # fmt: skip
    settlement = {"settlement_id": "s1", "settled": True, "settled_amount": 1299,
                  "currency": "EUR"}  # fmt: skip
    calls: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
        ("/v1/orders", order, ("dealership", "model", "payment_method", "return_url")),
        ("/v1/service-orders", seats, ("payment_method", "return_url", "service", "vin")),
        ("/v1/payments/service", charge, ("payment_method", "return_url")),
        ("/v1/payments/reservation", charge, ("payment_method", "return_url")),
        ("/v1/subscriptions", {k: v for k, v in seats.items() if k != "duration_days"}
         | {"payment_method": "pm_ok"}, ("payment_method", "service", "vin")),
        (f"/v1/subscriptions/{subscription['id']}/payment-method", {}, ("payment_method",)),
        ("/v1/usage", use, ("source_id", "unit")),
        (f"/v1/payments/{payment}/void", {}, ("reason",)),
        (f"/v1/payments/{payment}/refunds", {"amount": 1}, ("reason",)),
        (f"/v1/payments/{payment}/settlements", settlement, ("settlement_id",)),
        (f"/v1/payments/{payment}/delivery", delivery, ("service", "status_reason")),
    )  # fmt: skip
    for path, body, fields in calls:
        for field in fields:
            for text in PLANTED:
                planted = f"https://shop.example/{text}" if field == "return_url" else text
                answer = await doors.post(path, {**body, field: planted})
                assert answer.status < 500, (path, field, answer.body)
    await _told_by_the_gateway(doors)


async def _told_by_the_gateway(doors: Doors) -> None:
    """Say who she is in webhooks, whether or not they can be read."""
    for number, text in enumerate(PLANTED):
        event = f"evt_{number}"
        body_of_gateway = msgspec.json.decode(settled(event))
        body_of_gateway["data"] |= {
            "description": f"for {EMAIL}", "email": text,
            "billing_details": {"name": NAME, "phone": PHONE, "email": EMAIL},
            "customer": {"name": text, "phone": text},
        }  # fmt: skip
        reported = await tells(doors, msgspec.json.encode(body_of_gateway), event_id=event)
        assert reported.status in {200, 204}, reported.body
    who = {"name": NAME, "street": STREET, "phone": PHONE, "email": EMAIL}
    for number, text in enumerate(UNREADABLE):
        await tells(doors, (text % who).encode(), event_id=f"evt_unreadable_{number}")


async def _come_to_an_end(zenobia: Zenobia) -> None:
    """End the subscription, bill its last month, and let the bank settle everything."""
    doors = zenobia.doors
    subscription = (await doors.get(f"/v1/subscriptions?customer={zenobia.id}&state=active")).json
    path = f"/v1/subscriptions/{subscription['data'][0]['id']}"
    ended = (await doors.call("DELETE", path)).json
    await zenobia.nothing_on_its_way()
    month = Month.containing(
        datetime.fromisoformat(ended["cancelled_at"]), ZoneInfo("Europe/Madrid")
    )
    await as_owner(doors.installation.database, "update caas.clock set moved = interval '40 days'")
    run = await doors.post("/v1/billing/runs", {"month": str(month)})
    assert run.status == 201, run.body
    await doors.installation.rest()
    await zenobia.nothing_on_its_way()
