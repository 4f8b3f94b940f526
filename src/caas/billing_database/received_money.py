"""What was received of a payment, as far as refunds are concerned (decisions 6 and 236).

What was captured counts as received, also while it is expected or a loss of ours. What a failed
settlement took counts only as far as report lines brought it after all.
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.payment_states import PaymentState
from caas.rules.postings import REVERSED_AFTER_REFUND, SETTLEMENT_LOSSES, risk_loss
from caas.rules.resolutions import GIVEN_UP

FAILED: Final = (
    risk_loss("settlement_failed"), risk_loss("settlement_reversed"),
    risk_loss(REVERSED_AFTER_REFUND),
)  # fmt: skip
KINDS: Final = tuple(sorted(kind.value for kind in (*GIVEN_UP, DiscrepancyKind.FAILED_SETTLEMENT)))
# What a failed settlement took, and what decisions about lines that came after it took back.
AFTER_FAILURE: Final = f"""
select coalesce((select sum(amount) from ledger_entries
                  where payment_id = p.id and debit in {FAILED}), 0)::bigint as failed,
       coalesce((select sum(case 'settled_funds' when e.debit then e.amount else -e.amount end)
                   from discrepancies d join discrepancy_entries e on e.discrepancy_id = d.id
                  where d.payment_id = p.id and e.currency = p.currency and d.kind in {KINDS}
                    and 'settled_funds' in (e.debit, e.credit)
                    and (e.debit in {SETTLEMENT_LOSSES} or e.credit in {SETTLEMENT_LOSSES})
       ), 0)::bigint as came
"""
OF_PAYMENT: Final = f"""
select a.failed, a.came from payments p cross join lateral ({AFTER_FAILURE}) a where p.id = $1
"""
RECEIVED: Final = f"""(select case when p.state = 'SettlementFailed' and a.came <= 0 then 0
                     else p.captured_amount - greatest(a.failed - a.came, 0) end
                from ({AFTER_FAILURE}) a)"""
"""In SQL, what of a payment `p` may be refunded in all, in minor units."""


async def received(payment: Payment, *, within: Connection) -> int:
    """Return what of a payment may be refunded in all, in minor units."""
    failed, came = await _after_failure(payment, within)
    if payment.state is PaymentState.SETTLEMENT_FAILED and came <= 0:
        return 0
    return payment.captured_amount - max(failed - came, 0)


async def came_after_failure(payment: Payment, *, within: Connection) -> int:
    """Return what lines brought of a payment after its settlement failed, in minor units."""
    failed, came = await _after_failure(payment, within)
    return min(failed, came)


async def _after_failure(payment: Payment, within: Connection) -> tuple[int, int]:
    row = await within.fetchrow(OF_PAYMENT, payment.id)
    assert row is not None, "a payment is one row"
    return int(row["failed"]), int(row["came"])
