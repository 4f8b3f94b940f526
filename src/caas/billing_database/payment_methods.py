"""Payment methods that customers have used: gateway tokens, never cards (decision 44).

A token is learnt when funds were authorized with it. The customer can choose it for a subscription.

Rules a change must keep: tokens are never displayed, only when and for what they were used; a
customer sees only their own.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.rules.payment_types import PaymentType

METHODS_MAX: Final = 5

OF_CUSTOMER: Final = """
select token, payment_id, type, used_at from (
  select distinct on (e.facts->>'payment_method') e.facts->>'payment_method' as token,
         p.id as payment_id, p.type, e.at as used_at
    from payments p join payment_events e on e.payment_id = p.id
   where p.customer = $1 and e.event = 'Funds reserved' and e.facts ? 'payment_method'
   order by e.facts->>'payment_method', e.at desc) last_use
 order by used_at desc limit $2
"""


LEARNT: Final = """
select facts->>'payment_method' from payment_events
 where payment_id = $1 and event = 'Funds reserved'
"""


@dataclass(frozen=True, slots=True)
class UsedMethod:
    """A token with an authorization, and its last payment."""

    token: str
    payment_id: UUID
    type: PaymentType
    used_at: datetime


class PaymentMethods:
    """The payment methods customers have used."""

    def __init__(self, database: Database) -> None:
        """Read from this database."""
        self._database = database

    async def used_by(self, customer: UUID) -> list[UsedMethod]:
        """Return a customer's payment methods, most recent first."""
        rows = await self._database.fetch(OF_CUSTOMER, customer, METHODS_MAX)
        return [UsedMethod(**{**row, "type": PaymentType(row["type"])}) for row in rows]

    async def learnt_from(self, payment_id: UUID, *, within: Connection) -> str | None:
        """Return the token of an authorized payment, or None if the gateway reports none."""
        token: str | None = await within.fetchval(LEARNT, payment_id)
        return token
