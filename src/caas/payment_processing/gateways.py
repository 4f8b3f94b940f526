"""Which payment gateway serves a payment: the one place where it is chosen (decisions 199, 208).

A payment names its gateway from its acceptance on. New payments go to the gateway of their market,
or to the first configured gateway; the others serve the payments that they already have.

Rules a change must keep: no payment is sent to a gateway that cannot take it if another may have
it; a call about a payment goes to the gateway that the payment names; a name
that is not configured is an error, never the default; only a payment that its gateway has certainly
not received goes to the fallback, and only one whose token is not the gateway's.
"""

from collections.abc import Sequence

from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.payments import Payment
from caas.errors import CaasError
from caas.external_systems import gateway_requirements
from caas.external_systems.payment_gateway import PaymentGateway
from caas.payment_processing.gateway_calls import AuditedGateway
from caas.rules.gateway_routes import NO_ROUTES, GatewayRoutes
from caas.rules.money import Money
from caas.rules.payment_types import PaymentType


class GatewayNotConfiguredError(CaasError):
    """The payment is at a gateway that this process has no settings of. Nothing was sent."""

    code = "gateway_not_configured"


class Gateways:
    """The configured payment gateways, by name; every call is recorded."""

    def __init__(
        self,
        gateways: Sequence[PaymentGateway],
        calls: GatewayCalls,
        *,
        routes: GatewayRoutes = NO_ROUTES,
    ) -> None:
        """Use these gateways; new payments without a route go to the first."""
        self._by_name = {one.name: AuditedGateway(one, calls) for one in gateways}
        assert len(self._by_name) == len(gateways), "each gateway has a name of its own"
        assert routes.names <= self._by_name.keys(), "each route leads to a configured gateway"
        self.for_new_payments = gateways[0].name
        self.routes = routes

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all configured gateways, that of new payments first."""
        return tuple(self._by_name)

    def of_market(self, market: str | None, payment_type: PaymentType, money: Money | None) -> str:
        """Return the gateway of a new payment in a market; None is an address without a market.

        A market's own gateway that cannot take `money` is passed over for the next that can: that
        of all other markets, then the fallback. None: only the market decides.
        """
        own = self.for_new_payments
        if market is not None:
            own = self.routes.by_market.get(market, own)
        if money is None:
            return own
        names = filter(None, (own, self.for_new_payments, self.routes.fallback))
        return next((it for it in names if self.can_take(it, payment_type, money)), own)

    def can_take(self, name: str, payment_type: PaymentType, money: Money) -> bool:
        """Return whether a gateway takes a payment of this type and amount (decision 250)."""
        return gateway_requirements.can_take(self.named(name).capabilities, payment_type, money)

    def fallback_of(self, payment: Payment) -> str | None:
        """Return where the payment may go if its gateway has not received it, or None.

        A token is charged where it was issued. A payment stays where no other gateway can take it.
        """
        elsewhere = self.routes.fallback
        if elsewhere in {None, payment.gateway} or payment.payment_method is not None:
            return None
        money = Money(payment.amount, payment.currency)
        return elsewhere if self.can_take(elsewhere, payment.type, money) else None

    def of(self, payment: Payment) -> PaymentGateway:
        """Return the gateway of a payment.

        Raises:
            GatewayNotConfiguredError: this process has no settings of it.
        """
        return self.named(payment.gateway)

    def named(self, name: str) -> PaymentGateway:
        """Return the gateway of this name.

        Raises:
            GatewayNotConfiguredError: this process has no settings of it.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise GatewayNotConfiguredError(
                f"The gateway '{name}' is not configured here. Nothing was sent. Add '{name}' to "
                "CAAS_GATEWAYS_KEPT, with its settings, and restart every process.",
                gateway=name,
            ) from None
