"""Three sets of books, held against each other: the gateway's, the cars' and ours.

Rules: what the gateway did counts, not what it answered; what a car really has switched on counts,
not what it said; a difference is a sentence that names the payment.
"""

from typing import Any, Protocol

from caas.rules.payment_states import AT_REST, PaymentState
from caas_simulators.vehicle_fleet import Fleet

PAYMENTS = """
select p.id::text, p.type, p.state, p.outcome, p.captured_amount, p.settled_amount,
       p.refunded_amount, o.vin, o.service
  from caas.payments p left join caas.service_orders o on o.id = p.subject order by p.id
"""
PERPETUAL = ("bill_month", "check_laws", "reconcile_daily", "reconcile_hourly")
"""Kinds of work that a running platform always has before it."""
LEFT_WORK = """
select kind, subject::text, last_error from caas.open_work where kind <> all($1) order by kind
"""
CASES = "select kind, sentence from caas.cases where status = 'open' order by kind"
NOTHING_HELD = frozenset({"failed", "voided"})


class Witness(Protocol):
    """Whoever can show all three ledgers."""

    owner: Any

    @property
    def fleet(self) -> Fleet:
        """The cars."""

    async def gateway(self, method: str, what: str, body: object = None) -> Any:
        """Say something to the gateway's control plane."""

    async def broken_laws(self) -> list[str]:
        """Check every law."""


async def differences(world: Witness, *, cases: frozenset[str] = frozenset()) -> list[str]:
    """Return every difference between the three ledgers, and everything that is stuck.

    `cases` are the kinds of case that the story may leave for a person.
    """
    ledger = await world.gateway("GET", "ledger")
    told: dict[str, list[dict[str, Any]]] = {}
    for transaction in ledger["transactions"]:
        told.setdefault(transaction["reference"], []).append(transaction)
    payments = [dict(row) for row in await world.owner.fetch(PAYMENTS)]
    found = [
        f"the gateway knows {reference}, we do not"
        for reference in told.keys() - {payment["id"] for payment in payments}
    ]
    for payment in payments:
        found += _of_payment(payment, told.get(payment["id"], []))
        if payment["service"] is not None:
            found += _of_car(world, payment)
    found += [f"left: {dict(row)}" for row in await world.owner.fetch(LEFT_WORK, PERPETUAL)]
    found += [
        f"case {row['kind']}: {row['sentence']}"
        for row in await world.owner.fetch(CASES)
        if row["kind"] not in cases
    ]
    return found + await world.broken_laws()


def _of_payment(payment: dict[str, Any], told: list[dict[str, Any]]) -> list[str]:
    name = f"{payment['type']} payment that is {payment['state']}"
    if PaymentState(payment["state"]) not in AT_REST:
        return [f"a {name} is stuck, its outcome {payment['outcome']}"]
    kept = sum(
        one["captured"] - one["refunded"] for one in told if one["status"] != "settlement_failed"
    )
    ours = payment["captured_amount"] - payment["refunded_amount"]
    rejected = payment["state"] == PaymentState.SETTLEMENT_FAILED
    found = []
    if sum(one["charges_executed"] for one in told) > 1:
        found.append(f"a {name} was charged twice: {told}")
    if not rejected and kept != ours:
        found.append(f"a {name}: the gateway keeps {kept}, our books say {ours}")
    if payment["state"] in {PaymentState.FAILED, PaymentState.VOIDED}:
        found += [
            f"a {name}: the gateway still holds {one}"
            for one in told
            if one["status"] not in NOTHING_HELD and one["captured"] != one["refunded"]
        ]
    return found


def _of_car(world: Witness, payment: dict[str, Any]) -> list[str]:
    car = world.fleet.cars[payment["vin"]]
    service = car.services.get(payment["service"])
    has_it = service is not None and service.active and service.payment_id == payment["id"]
    charged = payment["captured_amount"] > 0
    if charged and not (service is not None and payment["id"] in _ever_applied(service)):
        return [f"charged for what car {payment['vin']} never applied"]
    if has_it and not charged:
        return [f"car {payment['vin']} keeps what nobody is charged for"]
    return []


def _ever_applied(service: Any) -> set[str]:
    return {service.payment_id} if service.applications else set()
