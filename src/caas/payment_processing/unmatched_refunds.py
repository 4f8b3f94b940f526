"""Unmatched refunds: refunds at the gateway that no refund of ours accounts for.

Rules a change must keep: the gateway's list overrides earlier reports; an unmatched refund has one
case, which closes once the refund is matched; closing the case by hand releases no refund that the
gateway's list contradicts.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import GatewayRefund, RefundStatus
from caas.jobs import RetryIn
from caas.payment_processing import outgoing_money
from caas.payment_processing.gateways import Gateways

WAIT_FOR_GATEWAY_SECONDS: Final = 30.0
WAIT_FOR_PERSON_SECONDS: Final = 300.0
CONTRADICTION: Final = "refund_contradiction"


class UnmatchedRefunds:
    """Finds refunds at the gateway that none of ours accounts for, and opens their case."""

    def __init__(self, tables: BillingDatabase, gateways: Gateways, rows: RefundRows) -> None:
        self._tables = tables
        self._gateways = gateways
        self._rows = rows

    async def before_sending(
        self, payment: Payment, refund: Refund
    ) -> GatewayRefund | RetryIn | None:
        """Return a refund the gateway already made, or when to retry; None if it may be sent.

        The gateway is asked only if a refund failed or was made outside this platform.
        """
        if not await self._rows.is_doubtful(payment.id):
            return None
        try:
            same, others = await self.found(payment, refund)
        except GatewayFailure as failure:
            return RetryIn(WAIT_FOR_GATEWAY_SECONDS, failure.sentence)
        if same is None and others:
            return RetryIn(WAIT_FOR_PERSON_SECONDS, "the gateway has given back more than is known")
        return same

    async def found(self, payment: Payment, refund: Refund) -> tuple[GatewayRefund | None, bool]:
        """Return the unmatched refund that fits this one, and whether there are others.

        Raises:
            GatewayFailure: the gateway cannot be asked.
        """
        strangers = await self._of(payment)
        same = next((it for it in strangers if it.amount == refund.amount), None)
        if strangers and same is None:
            amount = sum(it.amount for it in strangers)
            await self.contradict(
                payment.id,
                f"The gateway has given back {amount} more of the payment than we asked for. Ask "
                "here for a refund of just that amount: it is taken for the one that was made.",
                strangers[0],
            )
        return same, bool(strangers)

    async def _of(self, payment: Payment) -> list[GatewayRefund]:
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        rows = await self._rows.of_payment(payment.id)
        noted = await self._rows.noted(payment.id)
        gateway = self._gateways.of(payment)
        try:
            if not gateway.capabilities.lookup_of_refunds:
                return await self._beyond_total(payment, rows, noted)
            listed = await gateway.find_refunds(payment.gateway_transaction_id)
        except RefusedByPartnerError:
            return await self._beyond_total(payment, rows, noted)
        known = {one.gateway_refund_id for one in rows} | noted.keys()
        unnamed = [it.amount for it in rows if it.state == "succeeded" and not it.gateway_refund_id]
        strangers = []
        for reported in listed:
            if reported.id in known or reported.status is RefundStatus.FAILED:
                continue
            if reported.amount in unnamed:
                unnamed.remove(reported.amount)
            else:
                strangers.append(reported)
        return strangers

    async def _beyond_total(
        self, payment: Payment, rows: list[Refund], noted: dict[str, int]
    ) -> list[GatewayRefund]:
        """Without a list, return what the transaction's total exceeds ours by, as one refund."""
        assert payment.gateway_transaction_id is not None, "what was settled has an id"
        transaction_id = payment.gateway_transaction_id
        transaction = await self._gateways.of(payment).find(transaction_id)
        ours = sum(it.amount for it in rows if it.state == "succeeded") + sum(noted.values())
        beyond = 0 if transaction is None else transaction.refunded_amount - ours
        if beyond <= 0:
            return []
        total = GatewayRefund(
            id=transaction_id,
            transaction_id=transaction_id,
            amount=beyond,
            status=RefundStatus.SUCCEEDED,
        )
        return [total]

    async def is_of_several(self, gateway: str, reported: GatewayRefund) -> bool:
        """Open a case for each payment if a refund names several; return whether it does."""
        payment = await self._tables.payments.by_transaction(gateway, reported.transaction_id)
        refund = await self._rows.by_gateway_id(gateway, reported.id)
        others = (
            None
            if payment is None
            else await outgoing_money.others(self._tables, payment, reported)
        )
        named = set(others or ()) | ({refund.payment_id} if refund else set())
        if payment is None or (named <= {payment.id} and others is None):
            return False
        for one in named | {payment.id}:
            await self.contradict(one, outgoing_money.of_several("refund", reported), reported)
        return True

    async def contradict(
        self, payment_id: UUID, sentence: str, stranger: GatewayRefund | None = None
    ) -> None:
        """Open the case that blocks further refunds of the payment."""
        facts = {"refund": stranger.id} if stranger else None
        await self._tables.cases.open(CONTRADICTION, payment_id, sentence, facts=facts)

    async def explained(self, payment_id: UUID, reported: GatewayRefund) -> None:
        """Close the case of an unmatched refund that is now known."""
        await self._tables.cases.close(
            CONTRADICTION,
            payment_id,
            resolution="The refund is one of ours.",
            owner="caas",
            facts={"refund": reported.id},
        )


def listed_id(reported: GatewayRefund) -> str | None:
    """Return a refund's own id; None if only the transaction's total shows it."""
    return None if reported.id == reported.transaction_id else reported.id
