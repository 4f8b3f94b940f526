"""Applies webhooks of the factory and the transport system to orders (Diagrams 2 and 3).

Rule a change must keep: an event that arrives too early is retried a bounded number of times and
then paused with a case.
"""

import base64
from typing import Final
from uuid import UUID

from caas.billing_database.job_rows import Job
from caas.billing_database.webhook_inbox import InboxRow, WebhookInbox
from caas.errors import ConflictError, NotFoundError
from caas.external_systems.factory import VehicleReady, read_vehicle_ready
from caas.external_systems.transport_system import DeliveryCompleted, read_delivery_completed
from caas.jobs import Answer, Done, JobQueue, Pause, RetryIn
from caas.order_management import OrderManagement

FACTORY: Final = "factory"
TRANSPORT: Final = "transport"
APPLY_PARTNER_WEBHOOK: Final = "apply_partner_webhook"
EARLY_SECONDS: Final = 5.0
EARLY_ATTEMPTS_MAX: Final = 10


class PartnerWebhooks:
    """Job handlers of partners' webhooks."""

    def __init__(self, *, inbox: WebhookInbox, order_management: OrderManagement) -> None:
        """Apply inbox events to orders."""
        self._inbox = inbox
        self._order_management = order_management

    def register(self, jobs: JobQueue) -> None:
        """Register the handlers of the partners' webhook jobs."""
        jobs.register(APPLY_PARTNER_WEBHOOK, self._apply)

    async def _apply(self, job: Job) -> Answer:
        row = await self._inbox.get(job.subject)
        try:
            await self._notify(read_partner_event(row.gateway, row.body))
        except (NotFoundError, ConflictError) as early:
            if job.attempts < EARLY_ATTEMPTS_MAX:
                return RetryIn(EARLY_SECONDS * job.attempts, early.sentence)
            return Pause(_nowhere(row, early.sentence))
        return Done()

    async def _notify(self, event: VehicleReady | DeliveryCompleted) -> None:
        if isinstance(event, DeliveryCompleted):
            await self._order_management.partner_events.delivery_completed(event.delivery_id)
            return
        await self._order_management.partner_events.vehicle_ready(
            vin=event.vin,
            public_key=base64.b64decode(event.public_key) if event.public_key else None,
            factory_order_id=event.factory_order_id,
            order_id=_order_id(event.order_id),
        )


def read_partner_event(partner: str, body: bytes) -> VehicleReady | DeliveryCompleted:
    """Decode a partner's webhook.

    Raises:
        msgspec.MsgspecError: it does not match the contract.
    """
    return read_vehicle_ready(body) if partner == FACTORY else read_delivery_completed(body)


def _order_id(reference: str | None) -> UUID | None:
    """Return our order id if the partner's reference is one."""
    try:
        return UUID(reference) if reference else None
    except ValueError:
        return None


def _nowhere(row: InboxRow, because: str) -> str:
    return f"The webhook {row.event_id} from {row.gateway} cannot be applied: {because}"
