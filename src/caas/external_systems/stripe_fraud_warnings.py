"""Stripe's early fraud warnings: what card issuers report of charges.

Rules a change must keep: a warning of a charge without a PaymentIntent is none of ours; one that
nothing can be done about any more (refunded, or disputed already) is left out.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec

from caas.external_systems import stripe_wire
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.stripe_http import StripeHttp
from caas.external_systems.stripe_wire import Id

WARNINGS: Final = "/v1/radar/early_fraud_warnings"
FRAUD_TYPES: Final = frozenset(
    {
        "card_never_received", "fraudulent_card_application", "made_with_counterfeit_card",
        "made_with_lost_card", "made_with_stolen_card", "misc", "unauthorized_use_of_card",
    }
)  # fmt: skip
OTHER: Final = "other"


class Warned(msgspec.Struct, frozen=True):
    """An early fraud warning as Stripe writes it."""

    id: Id
    actionable: bool
    fraud_type: Annotated[str, msgspec.Meta(max_length=100)]
    payment_intent: Id | None = None


_DECODER: Final = msgspec.json.Decoder(stripe_wire.Page[Warned])


async def since(http: StripeHttp, moment: datetime) -> tuple[FraudWarning, ...]:
    """Return the warnings since a moment that something can still be done about.

    Raises:
        GatewayFailure: an answer is unusable, or there are more warnings than are read.
    """
    bound = ("created[gte]", str(int(moment.timestamp())))
    found = await http.all_of(WARNINGS, [bound], _DECODER)
    return tuple(filter(None, map(as_warning, found)))


def as_warning(warned: Warned) -> FraudWarning | None:
    """Return a warning of a payment that something can still be done about, or None."""
    if not warned.actionable or warned.payment_intent is None:
        return None
    reason = _reason(warned.fraud_type)
    return FraudWarning(id=warned.id, transaction_id=warned.payment_intent, reason=reason)


def _reason(fraud_type: str) -> str:
    return fraud_type if fraud_type in FRAUD_TYPES else OTHER
