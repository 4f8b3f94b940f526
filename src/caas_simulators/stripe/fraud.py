"""Early fraud warnings: what a card's issuer reports of a charge before it is disputed."""

from typing import Final

from caas_simulators.stripe.parameters import LIST, TEXT, Form
from caas_simulators.stripe.refusals import Json
from caas_simulators.stripe.world import World

WARNINGS: Final[Form] = {**LIST, "charge": TEXT, "payment_intent": TEXT}
KIND: Final = "radar.early_fraud_warning"


def warn(world: World, one: Json, fraud_type: str) -> Json:
    """Report a charge; nothing can be done about one that was refunded or disputed."""
    warning = world.new(
        KIND, "issfr", actionable=not (one["refunded"] or one["disputed"]), charge=one["id"],
        fraud_type=fraud_type, payment_intent=one["payment_intent"],
    )  # fmt: skip
    world.emit(f"{KIND}.created", warning)
    return warning
