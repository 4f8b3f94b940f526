"""Stripe's payouts to our bank account, each with the movements of the balance that it pays out.

Rules a change must keep: a list that is longer than is read is an error, or a payout would lack a
part of its movements; only of an automatic payout does Stripe say what is in it.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from caas.external_systems import stripe_wire
from caas.external_systems.gateway_payouts import GatewayPayout
from caas.external_systems.stripe_http import StripeHttp
from caas.external_systems.stripe_wire import Currency, Id, Seconds, Signed, moment

PAYOUTS: Final = "/v1/payouts"
BALANCE: Final = "/v1/balance_transactions"
RETURNED: Final = frozenset({"failed", "canceled"})
OF_THE_PAYOUT: Final = frozenset({"payout", "payout_cancel", "payout_failure"})
"""Types of movements that are the payout itself, or its return."""
MOVEMENT_PAGES_MAX: Final = 500


class Payout(msgspec.Struct, frozen=True):
    """A payout as Stripe writes it."""

    id: Id
    amount: Signed
    currency: Currency
    created: Seconds
    status: str
    automatic: bool

    def as_returned(self) -> GatewayPayout | None:
        """Return a payout that the bank returned, or None."""
        if self.status not in RETURNED:
            return None
        return GatewayPayout(
            id=self.id, created_on=moment(self.created).date(), amount=self.amount,
            currency=self.currency.upper(), is_returned=True, movements=None,
        )  # fmt: skip


class Movement(msgspec.Struct, frozen=True):
    """A movement of the balance as Stripe writes it."""

    id: Id
    net: Signed
    type: str


_PAYOUT_DECODER: Final = msgspec.json.Decoder(stripe_wire.Page[Payout])
_MOVEMENT_DECODER: Final = msgspec.json.Decoder(stripe_wire.Page[Movement])


class StripePayouts:
    """The payouts of a Stripe account."""

    def __init__(self, http: StripeHttp) -> None:
        """Read over this client."""
        self._http = http

    async def of_day(self, day: date) -> tuple[GatewayPayout, ...]:
        """Return the payouts of a day (UTC) with what is in them.

        Raises:
            GatewayFailure: an answer is unusable, or a list is longer than is read.
        """
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = begin + timedelta(days=1)
        bounds = [
            ("created[gte]", str(int(begin.timestamp()))),
            ("created[lt]", str(int(end.timestamp()))),
        ]
        payouts = await self._http.all_of(PAYOUTS, bounds, _PAYOUT_DECODER)
        return tuple([await self._with_movements(it, day) for it in payouts])

    async def _with_movements(self, payout: Payout, day: date) -> GatewayPayout:
        is_returned = payout.status in RETURNED
        listed = payout.automatic and not is_returned
        return GatewayPayout(
            id=payout.id,
            created_on=day,
            amount=payout.amount,
            currency=payout.currency.upper(),
            is_returned=is_returned,
            movements=await self._movements(payout) if listed else None,
        )

    async def _movements(self, payout: Payout) -> dict[str, int]:
        found = await self._http.all_of(
            BALANCE, [("payout", payout.id)], _MOVEMENT_DECODER, pages_max=MOVEMENT_PAGES_MAX
        )
        return {it.id: it.net for it in found if it.type not in OF_THE_PAYOUT}
