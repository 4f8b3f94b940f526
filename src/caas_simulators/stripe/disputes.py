"""Disputes: inquiries that move no money, chargebacks that do, and how each ends."""

from typing import Final

from caas_simulators.stripe import charges, customers
from caas_simulators.stripe.files import PURPOSE
from caas_simulators.stripe.parameters import BOOL, EXPAND, LIST, METADATA, TEXT, Form
from caas_simulators.stripe.refusals import Json, StripeRefusal
from caas_simulators.stripe.world import World

DISPUTES: Final[Form] = {**LIST, "charge": TEXT, "payment_intent": TEXT}
RESPONSE: Final[Form] = {
    **EXPAND, "metadata": METADATA, "submit": BOOL,
    "evidence": {"uncategorized_text": TEXT, "uncategorized_file": TEXT},
}  # fmt: skip
FEE: Final = 2000
ANSWER_SECONDS: Final = 7 * charges.DAY
INQUIRIES: Final = ("warning_needs_response", "warning_under_review", "warning_closed")
STATUSES: Final = ("needs_response", "under_review", "won", "lost", "prevented", *INQUIRIES)
WITHOUT_MONEY: Final = (*INQUIRIES, "prevented")
UNDER_REVIEW: Final = {
    status: "warning_under_review" if status in INQUIRIES else "under_review" for status in STATUSES
}
ENDS: Final = ("won", "lost", "warning_closed", "prevented")


def open_dispute(world: World, one: Json, *, status: str, reason: str, amount: int | None = None
                 ) -> Json:  # fmt: skip
    """Open a dispute of a charge; an inquiry takes no money."""
    dispute = world.new(
        "dispute", "du", amount=amount or one["amount_captured"], balance_transactions=[],
        charge=one["id"], currency=one["currency"], enhanced_eligibility_types=[],
        evidence={"enhanced_evidence": {}},
        evidence_details={"due_by": world.store.now() + ANSWER_SECONDS, "has_evidence": False,
                          "past_due": False, "submission_count": 0, "enhanced_eligibility": {}},
        is_charge_refundable=status in WITHOUT_MONEY, metadata={}, network_reason_code="10.4",
        payment_intent=one["payment_intent"], payment_method_details=None, reason=reason,
        status=status,
    )  # fmt: skip
    if status not in WITHOUT_MONEY:
        _move(world, dispute, one, "dispute", -1)
    world.emit("charge.dispute.created", dispute)
    return dispute


def become(world: World, dispute: Json, status: str) -> Json:
    """Let a dispute become what the cardholder's bank says."""
    one = world.store.get("charge", dispute["charge"])
    had_money = bool(dispute["balance_transactions"])
    dispute["status"] = status
    if status == "needs_response" and not had_money:
        _move(world, dispute, one, "dispute", -1)
    elif status == "won" and had_money:
        _move(world, dispute, one, "dispute_reversal", 1)
    kind = "closed" if status in ENDS else "updated"
    world.emit(f"charge.dispute.{kind}", world.store.put(dispute))
    return dispute


def respond(world: World, dispute: Json, asked: Json) -> Json:
    """Stage evidence, or send it to the bank: once, and in time.

    Raises:
        StripeRefusal: it is too late, it was sent before, or there is no such file.
    """
    details, given = dispute["evidence_details"], asked.get("evidence", {})
    if dispute["status"] in ENDS:
        raise StripeRefusal("This dispute is already closed.")
    if details["submission_count"]:
        raise StripeRefusal("Evidence for this dispute has already been submitted.")
    if world.store.now() > details["due_by"]:
        raise StripeRefusal("The due date of this dispute's evidence has passed.")
    if "uncategorized_file" in given:
        param = "evidence[uncategorized_file]"
        file = world.store.get("file", given["uncategorized_file"], param=param, status=400)
        if file["purpose"] != PURPOSE:
            raise StripeRefusal("The file is not for evidence of disputes.", param=param)
    dispute["evidence"] |= given
    dispute["metadata"] |= asked.get("metadata", {})
    details["has_evidence"] = True
    if asked.get("submit", True):
        details["submission_count"] = 1
        dispute["status"] = UNDER_REVIEW[dispute["status"]]
    world.emit("charge.dispute.updated", world.store.put(dispute))
    return dispute


def due(world: World, one: Json) -> None:
    """Open the dispute that a test card is for."""
    card = customers.card_of(world.store.get("payment_method", one["payment_method"]))
    if card.dispute is not None:
        open_dispute(world, one, status=card.dispute[0], reason=card.dispute[1])


def _move(world: World, dispute: Json, one: Json, category: str, sign: int) -> None:
    row = charges.move(
        world, dispute["id"], "adjustment", category, one["currency"],
        gross=sign * dispute["amount"], fee=FEE if sign < 0 else 0,
    )  # fmt: skip
    dispute["balance_transactions"].append(row)
    one["disputed"] = sign < 0
    world.store.put(one)
    world.store.put(dispute)
    event = "withdrawn" if sign < 0 else "reinstated"
    world.emit(f"charge.dispute.funds_{event}", dispute)
