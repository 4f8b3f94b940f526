"""What was received of a payment, as far as refunds are concerned (decisions 6 and 236).

What was captured counts as received, also while it is expected or a loss of ours. What a failed
settlement took counts only as far as report lines brought it after all.
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.rules.payment_states import PaymentState
from caas.rules.postings import SETTLEMENT_LOSSES, risk_loss
from caas.rules.resolutions import GIVEN_UP

FAILED: Final = (risk_loss("settlement_failed"), risk_loss("settlement_reversed"))
# What a failed settlement took, and what decisions about lines that came after it took back.
AFTER_FAILURE: Final = """
select coalesce((select sum(amount) from ledger_entries
                  where payment_id = $1 and debit = any ($3)), 0)::bigint as failed,
       coalesce((select sum(case 'settled_funds' when e.debit then e.amount else -e.amount end)
                   from discrepancies d join discrepancy_entries e on e.discrepancy_id = d.id
                  where d.payment_id = $1 and e.currency = $2 and d.kind = any ($5)
                    and 'settled_funds' in (e.debit, e.credit)
                    and (e.debit = any ($4) or e.credit = any ($4))), 0)::bigint as came
"""


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
    row = await within.fetchrow(
        AFTER_FAILURE, payment.id, payment.currency, list(FAILED), list(SETTLEMENT_LOSSES),
        [kind.value for kind in GIVEN_UP],
    )  # fmt: skip
    assert row is not None, "two sums are one row"
    return int(row["failed"]), int(row["came"])
