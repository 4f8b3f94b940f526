"""What a gateway under test has reported, and which of its customers are known.

Rule a change must keep: what cannot be read was not reported; the cases find out what is missing.
"""

import msgspec

from caas.external_systems.gateway_adapters import ConfiguredGateway
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.gateway_payouts import GatewayPayout
from caas.external_systems.payment_gateway import GatewayEvent, GatewayHint, GatewayTransaction
from caas.external_systems.report_announcements import AnnouncedReport
from caas_lab.conformance.webhook_receiver import ReceivedWebhook, WebhookReceiver


class Customers(msgspec.Struct):
    """A directory of customers in memory."""

    ids: dict[str, str] = msgspec.field(default_factory=dict)

    async def find(self, customer_reference: str) -> str | None:
        """Return the gateway's id of a customer."""
        return self.ids.get(customer_reference)

    async def keep(self, customer_reference: str, gateway_customer: str) -> str:
        """Store the gateway's id of a customer."""
        return self.ids.setdefault(customer_reference, gateway_customer)


class Reported(msgspec.Struct, frozen=True):
    """What the gateway has reported: the webhooks that have come and verify, split into events."""

    configured: ConfiguredGateway
    receiver: WebhookReceiver | None

    def events(self) -> list[tuple[bytes, GatewayEvent]]:
        """Return the events that can be read, each with its body, the oldest first."""
        found = []
        for webhook in self.receiver.received if self.receiver else []:
            for body in events_in(self.configured, webhook):
                event = read(self.configured, body)
                if event is not None:
                    found.append((body, event))
        return found

    async def of_transaction(self, transaction_id: str) -> tuple[bytes, ...]:
        """Return what was reported of a transaction."""
        return tuple(
            body for body, event in self.events() if transaction_of(event) == transaction_id
        )

    async def of_reference(self, reference: str) -> tuple[bytes, ...]:
        """Return what was reported under a reference."""
        return tuple(body for body, event in self.events() if reference_of(event) == reference)


def events_in(configured: ConfiguredGateway, webhook: ReceivedWebhook) -> tuple[bytes, ...]:
    """Return the events in a webhook; none if it cannot be split."""
    try:
        return configured.split(webhook.body)
    except ValueError:
        return ()


def read(configured: ConfiguredGateway, body: bytes) -> GatewayEvent | None:
    """Return an event; None if it means nothing or cannot be read."""
    try:
        return configured.read_event(body)
    except ValueError:
        return None


def transaction_of(event: GatewayEvent) -> str:
    """Return the id of the transaction that an event is about; empty if it names none."""
    if isinstance(event.subject, GatewayTransaction):
        return event.subject.id
    if isinstance(event.subject, GatewayHint | AnnouncedReport | GatewayPayout):
        return ""
    return event.subject.transaction_id


def reference_of(event: GatewayEvent) -> str:
    """Return the reference that an event is about; empty for a notice."""
    if isinstance(event.subject, AnnouncedReport | FraudWarning | GatewayPayout):
        return ""
    return event.subject.reference
