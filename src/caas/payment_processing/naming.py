"""Which payments a word about money that went out names: by its reference and by its transaction.

Rule a change must keep: a word that names several payments, or one that is none of ours beside one
that is, is applied to none of them.
"""

from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.external_systems.payment_gateway import GatewayDispute, GatewayRefund

Told = GatewayDispute | GatewayRefund


async def others(books: Books, payment: Payment, told: Told) -> list[UUID] | None:
    """Return whom else the reference of a word names; None when it names this payment or nobody."""
    if told.reference in ("", str(payment.id)):
        return None
    referred = await referred_to(books, told)
    return [] if referred is None else [referred.id]


async def referred_to(books: Books, told: Told) -> Payment | None:
    """Return the payment that the reference of a word names, or None."""
    try:
        return await books.payments.get(UUID(told.reference))
    except (ValueError, PaymentNotFoundError):
        return None


def of_several(what: str, told: Told) -> str:
    """Say that a word is about several payments."""
    return (
        f"The gateway tells of the {what} {told.id} of {told.amount}, transaction "
        f"{told.transaction_id}, reference {told.reference or 'none'}: not all of it is of one "
        "payment. Nothing was applied, and no refund goes out before this case is resolved. Ask "
        "the gateway which payment it is of."
    )


def of_nobody(what: str, told: Told) -> str:
    """Say that the transaction of a word is none of ours, while its reference is."""
    return (
        f"The gateway tells of the {what} {told.id} of {told.amount} of this payment, and of the "
        f"transaction {told.transaction_id}, which is not known here. Nothing was applied, and no "
        "refund goes out before this case is resolved. Ask the gateway what it is of."
    )
