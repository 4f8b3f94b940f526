"""Which payments a word about money that went out names: by its reference and by its transaction.

Rule a change must keep: a word that names several payments, or one that is none of ours beside one
that is, is applied to none of them.
"""

from uuid import UUID

from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import GatewayDispute, GatewayRefund

Reported = GatewayDispute | GatewayRefund


async def others(
    tables: BillingDatabase, payment: Payment, reported: Reported
) -> list[UUID] | None:
    """Return whom else the reference of a word names; None when it names this payment or nobody."""
    if reported.reference in ("", str(payment.id)):
        return None
    referred = await referred_to(tables, reported)
    return [] if referred is None else [referred.id]


async def referred_to(tables: BillingDatabase, reported: Reported) -> Payment | None:
    """Return the payment that the reference of a word names, or None."""
    try:
        return await tables.payments.get(UUID(reported.reference))
    except (ValueError, PaymentNotFoundError):
        return None


def of_several(what: str, reported: Reported) -> str:
    """Say that a word is about several payments."""
    return (
        f"The gateway reports the {what} {reported.id} of {reported.amount}, transaction "
        f"{reported.transaction_id}, reference {reported.reference or 'none'}: these belong to "
        "more than one payment. Nothing was applied, and no refund is sent until this case is "
        "resolved. Ask the gateway which payment it belongs to."
    )


def of_nobody(what: str, reported: Reported) -> str:
    """Say that the transaction of a word is none of ours, while its reference is."""
    return (
        f"The gateway reports the {what} {reported.id} of {reported.amount} of this payment, with "
        f"the transaction {reported.transaction_id}, which is not known here. Nothing was applied, "
        "and no refund is sent until this case is resolved. Ask the gateway what it belongs to."
    )
