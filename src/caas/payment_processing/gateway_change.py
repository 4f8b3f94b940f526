"""Moving a payment to another gateway because its own has not received it (208, 261).

Rule a change must keep: only the process that has the payment's job may move it, and the job is
locked until the change is committed; otherwise another process could send it to the first gateway.
"""

from msgspec import structs

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.payment_processing.gateway_calls import AUTHORIZE, NoAnswer
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transitions import ChargeTransitions
from caas.rules.payment_states import Remark


class _MustStayError(Exception):
    """Another process has the payment's job and may have sent it, or a call may have arrived."""


class GatewayChange:
    """Moves payments from their gateway to the fallback."""

    def __init__(
        self, tables: BillingDatabase, gateways: Gateways, transitions: ChargeTransitions
    ) -> None:
        """Move between these gateways."""
        self._tables = tables
        self._gateways = gateways
        self._transitions = transitions

    def fallback_of(self, payment: Payment) -> str | None:
        """Return the gateway that may take the payment if its own cannot be reached."""
        known = payment.outcome == "known" and payment.gateway_transaction_id is None
        return self._gateways.fallback_of(payment) if known else None

    async def change(
        self, payment: Payment, gateway: str, no_answer: NoAnswer, *, fence: int
    ) -> Payment | None:
        """Move a payment that was not sent to this gateway; None if it was, or may have been.

        A gateway that turns requests away (429) has its retries first. `fence` is that of the job
        under which the payment was to be sent.
        """
        if no_answer.maybe_sent or not (no_answer.unreached or no_answer.wait_seconds is None):
            return None
        facts = {"from": payment.gateway, "to": gateway, "because": no_answer.because}
        transition = transition_of(
            payment, Remark.GATEWAY_CHANGED, source=f"gateway:{gateway}",
            if_version=payment.version, facts=facts,
        )  # fmt: skip

        async def together(connection: Connection) -> Payment | None:
            after, result = await self._transitions.apply_with(
                payment, transition, within=connection
            )
            if not result.transitioned:
                return None
            held = await self._tables.jobs.hold(
                AUTHORIZE, payment.id, fence=fence, within=connection
            )
            if not held or await self._tables.payments.has_arrived(payment.id, within=connection):
                raise _MustStayError
            await self._tables.payments.change_gateway(payment.id, gateway, within=connection)
            return structs.replace(after, gateway=gateway)

        try:
            return await self._tables.database.in_transaction(together)
        except _MustStayError:
            return None
