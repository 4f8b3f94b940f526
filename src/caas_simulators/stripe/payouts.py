"""Payouts: what is available leaves the balance for the bank account, and may come back.

Rules: an automatic payout takes every available movement of a currency that no payout has taken;
only its movements can be listed by it; a payout that the bank returns is a movement of its own.
"""

from typing import Final

from caas_simulators.stripe import charges
from caas_simulators.stripe.parameters import LIST, TEXT, Form
from caas_simulators.stripe.refusals import Json
from caas_simulators.stripe.world import World

PAYOUTS: Final[Form] = {
    **LIST, "status": ("canceled", "failed", "in_transit", "paid", "pending"), "destination": TEXT,
    "arrival_date": LIST["created"],
}  # fmt: skip
BALANCE: Final[Form] = {**charges.BALANCE, "payout": TEXT}
TAKEN: Final = "_payout"
NEVER_TAKEN: Final = ("payout", "payout_failure")


def pay_out(world: World, *, fails: bool) -> list[Json]:
    """Pay out what is available, in a payout for each currency; `fails`: the bank returns it."""
    now = world.store.now()
    due: dict[str, list[Json]] = {}
    for row in world.store.some("balance_transaction"):
        is_due = row["available_on"] <= now and TAKEN not in row
        if is_due and row["type"] not in NEVER_TAKEN:
            due.setdefault(row["currency"], []).append(row)
    return [_pay_out(world, currency, rows, fails=fails) for currency, rows in due.items()]


def _pay_out(world: World, currency: str, rows: list[Json], *, fails: bool) -> Json:
    amount = sum(row["net"] for row in rows)
    payout = world.new(
        "payout", "po", amount=amount, application_fee=None, application_fee_amount=None,
        arrival_date=world.store.now(), automatic=True, balance_transaction=None,
        currency=currency, description="STRIPE PAYOUT", destination="ba_simulated",
        failure_balance_transaction=None, failure_code=None, failure_message=None, metadata={},
        method="standard", original_payout=None, reconciliation_status="completed",
        reversed_by=None, source_type="card", statement_descriptor=None, status="paid",
        trace_id=None, type="bank_account",
    )  # fmt: skip
    out = charges.move(world, payout["id"], "payout", "payout", currency, gross=-amount)
    payout["balance_transaction"] = out["id"]
    for row in (*rows, out):
        world.store.put(row | {TAKEN: payout["id"]})
    world.emit("payout.created", world.store.put(payout))
    if not fails:
        world.emit("payout.paid", payout)
        return payout
    back = charges.move(world, payout["id"], "payout_failure", "payout_reversal", currency,
                        gross=amount)  # fmt: skip
    payout |= {"status": "failed", "failure_code": "account_closed",
               "failure_balance_transaction": back["id"],
               "failure_message": "The bank account has been closed."}  # fmt: skip
    world.emit("payout.failed", world.store.put(payout))
    return payout


def movements(world: World, _: str, asked: Json) -> Json:
    """Return a page of the balance's movements, those of a payout where one is asked for.

    Raises:
        StripeRefusal: there is no such payout.
    """
    equal = {name: asked.get(name) for name in ("source", "type")}
    if "payout" in asked:
        world.store.get("payout", asked["payout"], param="payout", status=400)
        equal[TAKEN] = asked["payout"]
    return world.store.page("/v1/balance_transactions", "balance_transaction", asked, **equal)
