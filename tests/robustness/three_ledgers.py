"""Three sets of books, held against each other: the gateway's, the cars' and ours.

Rules: what the gateway did counts, not what it answered; what a car really has switched on counts,
not what it said; a difference is a sentence that names the payment.
"""

from datetime import UTC, datetime
from typing import Any, Protocol

from caas.rules.payment_states import AT_REST, PaymentState
from caas_simulators.vehicle_fleet import Fleet

PAYMENTS = """
select p.id::text, p.type, p.state, p.outcome, p.captured_amount, p.settled_amount,
       p.refunded_amount, o.vin, o.service,
       array(select k.command_id::text from caas.ota_commands k
              where k.subject = p.id and k.action = 'activate') as activations
  from caas.payments p left join caas.service_orders o on o.id = p.subject order by p.id
"""
ENTITLEMENTS = """
select e.vin, e.service, coalesce(d.on_, false) as is_on, d.until, caas.db_now() as now
  from caas.entitlements e left join caas.desired_state(e.id) d on true
"""
PERPETUAL = (
    "bill_month", "check_fraud_warnings", "check_invariants", "check_payouts", "forget_buyers",
    "issue_documents", "make_head", "reconcile_daily", "reconcile_hourly", "remove_old_rows",
)  # fmt: skip
"""Kinds of work that a running platform always has before it."""
LEFT = "left: "
LEFT_WORK = """
select kind, subject::text, last_error from caas.jobs where kind <> all($1) order by kind
"""
CASES = "select kind, sentence from caas.cases where status = 'open' order by kind"
FOR_EVER = datetime.max.replace(tzinfo=UTC)
NOTHING_HELD = frozenset({"failed", "voided"})


class Witness(Protocol):
    """Whoever can show all three ledgers."""

    owner: Any

    @property
    def fleet(self) -> Fleet:
        """The cars."""

    async def gateway(self, method: str, what: str, body: object = None) -> Any:
        """Say something to the gateway's control plane."""

    async def violated_invariants(self) -> list[str]:
        """Check every law."""


async def differences(world: Witness, *, cases: frozenset[str] = frozenset()) -> list[str]:
    """Return every difference between the three ledgers, and everything that is stuck.

    `cases` are the kinds of case that the story may leave for a person.
    """
    ledger = await world.gateway("GET", "ledger")
    reported: dict[str, list[dict[str, Any]]] = {}
    for transaction in ledger["transactions"]:
        reported.setdefault(transaction["reference"], []).append(transaction)
    payments = [dict(row) for row in await world.owner.fetch(PAYMENTS)]
    found = [
        f"the gateway knows {reference}, we do not"
        for reference in reported.keys() - {payment["id"] for payment in payments}
    ]
    for payment in payments:
        found += _of_payment(payment, reported.get(payment["id"], []))
        if payment["service"] is not None:
            found += _delivered(world, payment)
    for row in await world.owner.fetch(ENTITLEMENTS):
        found += _has_on(world, dict(row))
    found += [f"{LEFT}{dict(row)}" for row in await world.owner.fetch(LEFT_WORK, PERPETUAL)]
    found += [
        f"case {row['kind']}: {row['sentence']}"
        for row in await world.owner.fetch(CASES)
        if row["kind"] not in cases
    ]
    return found + await world.violated_invariants()


def _of_payment(payment: dict[str, Any], reported: list[dict[str, Any]]) -> list[str]:
    name = f"{payment['type']} payment that is {payment['state']}"
    if PaymentState(payment["state"]) not in AT_REST:
        return [f"a {name} is stuck, its outcome {payment['outcome']}"]
    kept = sum(
        one["captured"] - one["refunded"]
        for one in reported
        if one["status"] != "settlement_failed"
    )
    ours = payment["captured_amount"] - payment["refunded_amount"]
    rejected = payment["state"] == PaymentState.SETTLEMENT_FAILED
    found = []
    if sum(one["charges_executed"] for one in reported) > 1:
        found.append(f"a {name} was charged twice: {reported}")
    if not rejected and kept != ours:
        found.append(f"a {name}: the gateway keeps {kept}, our books say {ours}")
    if payment["state"] in {PaymentState.FAILED, PaymentState.VOIDED}:
        found += [
            f"a {name}: the gateway still holds {one}"
            for one in reported
            if one["status"] not in NOTHING_HELD and one["captured"] != one["refunded"]
        ]
    return found


def _delivered(world: Witness, payment: dict[str, Any]) -> list[str]:
    """Whether the car really applied what a service payment was charged for."""
    car = world.fleet.cars[payment["vin"]]
    applied = any(command in car.applied for command in payment["activations"])
    if payment["captured_amount"] > 0 and not applied:
        return [f"charged for what car {payment['vin']} never applied"]
    return []


def _has_on(world: Witness, sold: dict[str, Any]) -> list[str]:
    """Whether the car really has on what was sold for it, and nothing that was not."""
    service = world.fleet.cars[sold["vin"]].services.get(sold["service"])
    until = None
    if service is not None and service.active:
        until = FOR_EVER
        if service.valid_until is not None:
            until = datetime.fromisoformat(service.valid_until)
    due = (sold["until"] or FOR_EVER) if sold["is_on"] else None
    if until == due or (due is None and until is not None and until <= sold["now"]):
        return []
    return [f"car {sold['vin']} has {sold['service']} on until {until}, sold until {due}"]
