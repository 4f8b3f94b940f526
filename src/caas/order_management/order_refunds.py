"""Orders whose money goes back: a refused factory order, a lost reservation, desistimiento.

Order Management decides that money goes back and adds the job; Payment Processing does it, in
`caas.payment_processing.order_refunds`, because it lies a layer above.

Rule a change must keep: the job is added in the commit that makes the refund necessary.
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.orders import Order
from caas.order_management.order_tables import OrderTables

REFUND_ORDER: Final = "refund_order"
FACTORY_REFUSED: Final = "factory_refused"
RESERVATION_LOST: Final = "reservation_lost"
DESISTIMIENTO: Final = "desistimiento"


async def will_refund(
    order_tables: OrderTables, order: Order, reason: str, *, within: Connection
) -> None:
    """Commit that all of the order's money goes back, due at once.

    After the commit `OrderTables.queue` is woken.
    """
    await order_tables.billing.jobs.add(
        REFUND_ORDER, order.id, payload={"reason": reason}, within=within
    )
