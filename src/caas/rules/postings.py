"""Ledger entries for every money movement (decision 40).

An entry transfers `amount` minor units from the credit account to the debit account, so the ledger
sums to zero by construction. Authorized funds that are only held are booked off balance, on the two
hold accounts.

Amounts here are gross. Revenue accounts hold net amounts: the database moves the tax to
`OUTPUT_VAT` in the same statement that posts the entry (record 122).

Rules a change must keep: money kept that nobody is owed is income, never less of a loss (record
225); functions are pure; a zero amount posts no entry; each function's opposite
reverses it exactly; `ACCOUNTS` is the complete chart of accounts, and the database accepts entries
on no other account.
"""

from typing import Final, NamedTuple, assert_never

from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.payment_types import PaymentType

HOLDS = "authorized_holds"
HOLDS_CONTRA = "authorized_holds_contra"
GATEWAY_RECEIVABLE = "gateway_receivable"
SETTLED_FUNDS = "settled_funds"
BANK = "bank"
GATEWAY_FEES = "gateway_fees"
REFUNDS_PAYABLE = "refunds_payable"
DISPUTED_FUNDS = "disputed_funds"
RESERVATION_HELD = "reservation_held"
OUTPUT_VAT = "output_vat"
GATEWAY_CLAIMS = "gateway_claims"
UNEXPLAINED_FUNDS = "unexplained_funds"
UNALLOCATED_INCOME = "unallocated_income"
RISK_LOSS = "risk_loss"
PROVIDER_COSTS = "provider_costs"
PROVIDER_TAX = "provider_tax"
PROVIDER_INVOICES = "provider_invoices"
PROVIDER_RESERVES = "provider_reserves"
PROVIDER_BALANCE = "provider_balance"
OWN_TRANSFERS = "own_transfers"
CURRENCY_CONVERSION = "currency_conversion"

OF_PROVIDER = {
    "provider_fee": GATEWAY_FEES,
    "provider_cost": PROVIDER_COSTS,
    "provider_tax": PROVIDER_TAX,
    "provider_invoice": PROVIDER_INVOICES,
    "reserve": PROVIDER_RESERVES,
    "own_transfer": OWN_TRANSFERS,
    "carried_balance": PROVIDER_BALANCE,
    "conversion": CURRENCY_CONVERSION,
}
"""The counter account of each kind of report line that belongs to no payment."""

CHARGEBACK: Final = "chargeback"
DISPUTE_EXCESS: Final = "dispute_excess"
CREDITED: Final = "credited"
REVERSED_AFTER_REFUND: Final = "reversed_after_refund"
OTHER: Final = "other"
LOSS_CAUSES: Final = frozenset(
    {
        "settlement_failed",
        "settlement_reversed",
        REVERSED_AFTER_REFUND,
        CHARGEBACK,
        DISPUTE_EXCESS,
        CREDITED,
        "authorization_expired",
        "already_voided",
        "already_failed",
        "subscription_declined",
        "write_off",
        OTHER,
        *(
            kind.value
            for kind in DiscrepancyKind
            if kind not in (DiscrepancyKind.CHARGEBACK_REVERSAL, DiscrepancyKind.LOSS_NOT_LISTED)
        ),
    }
)
"""Causes of loss with their own account; any other cause is booked as `other`."""


class Entry(NamedTuple):
    """A transfer of `amount` minor units from `credit` to `debit`."""

    debit: str
    credit: str
    amount: int


def earned(payment_type: PaymentType) -> str:
    """Return the revenue account for captured charges of this type."""
    match payment_type:
        case PaymentType.RESERVATION:
            return "customer_deposits"
        case PaymentType.FINAL:
            return "vehicle_sales"
        case PaymentType.SERVICE:
            return "service_revenue"
        case PaymentType.SUBSCRIPTION:
            return "subscription_revenue"
    assert_never(payment_type)


def risk_loss(cause: str) -> str:
    """Return the account for losses of this cause."""
    return f"{RISK_LOSS}:{cause if cause in LOSS_CAUSES else OTHER}"


SETTLEMENT_LOSSES: Final = tuple(
    risk_loss(cause)
    for cause in (
        "settlement_failed", "settlement_reversed", REVERSED_AFTER_REFUND, "write_off",
        DiscrepancyKind.PARTIAL_SETTLEMENT.value, DiscrepancyKind.FAILED_SETTLEMENT.value,
        DiscrepancyKind.DELAYED_SETTLEMENT.value, DiscrepancyKind.MISSING_AT_GATEWAY.value,
    )
)  # fmt: skip
"""The accounts of what a payment's settlement did not bring, and a later line may (record 230)."""

ACCOUNTS: Final = frozenset(
    {
        HOLDS,
        HOLDS_CONTRA,
        GATEWAY_RECEIVABLE,
        SETTLED_FUNDS,
        BANK,
        GATEWAY_FEES,
        REFUNDS_PAYABLE,
        DISPUTED_FUNDS,
        RESERVATION_HELD,
        OUTPUT_VAT,
        GATEWAY_CLAIMS,
        UNEXPLAINED_FUNDS,
        UNALLOCATED_INCOME,
        *OF_PROVIDER.values(),
        *(earned(payment_type) for payment_type in PaymentType),
        *(risk_loss(cause) for cause in LOSS_CAUSES),
    }
)
"""The chart of accounts; a migration writes it into `ledger_accounts`."""


def authorized(amount: int) -> tuple[Entry, ...]:
    """The gateway authorized the amount; no money has moved."""
    return _transfer(HOLDS, HOLDS_CONTRA, amount)


def released(amount: int) -> tuple[Entry, ...]:
    """The authorization ended without a capture (void, expiry)."""
    return _transfer(HOLDS_CONTRA, HOLDS, amount)


def captured(payment_type: PaymentType, amount: int, *, held: int) -> tuple[Entry, ...]:
    """The payment was captured: the hold ends and the gateway owes us the amount."""
    return released(held) + _transfer(GATEWAY_RECEIVABLE, earned(payment_type), amount)


def settled(amount: int) -> tuple[Entry, ...]:
    """The bank confirmed the settlement: the amount is ours, before fees."""
    return _transfer(SETTLED_FUNDS, GATEWAY_RECEIVABLE, amount)


def paid_out(*, net: int, fee: int) -> tuple[Entry, ...]:
    """A settlement line reports the payout: net to the bank, fee kept by the gateway."""
    return _transfer(BANK, SETTLED_FUNDS, net) + _transfer(GATEWAY_FEES, SETTLED_FUNDS, fee)


def lost_before_settlement(cause: str, amount: int) -> tuple[Entry, ...]:
    """A delivered service will not be paid: CaaS books the loss and the customer owes nothing."""
    return _transfer(risk_loss(cause), GATEWAY_RECEIVABLE, amount)


def written_off(payment_type: PaymentType, cause: str, amount: int) -> tuple[Entry, ...]:
    """A delivered service is never charged: revenue and an equal loss are both booked."""
    return _transfer(risk_loss(cause), earned(payment_type), amount)


def loss_not_owed(payment_type: PaymentType, cause: str, amount: int) -> tuple[Entry, ...]:
    """A credit note cancels a written-off amount: reverse both the revenue and the loss."""
    return _transfer(earned(payment_type), risk_loss(cause), amount)


def covered_by_loss(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """A credit note covers an amount that a bank took back: reverse the revenue and the loss."""
    return _transfer(earned(payment_type), risk_loss(CREDITED), amount)


def covered_no_more(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """The bank returned the amount, so a refund can pay out the credit note."""
    return _transfer(risk_loss(CREDITED), earned(payment_type), amount)


def reversed_after_settlement(cause: str, amount: int) -> tuple[Entry, ...]:
    """The bank reversed a confirmed settlement."""
    return _transfer(risk_loss(cause), SETTLED_FUNDS, amount)


def refund_requested(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """A refund was requested: the customer is owed the amount (desistimiento)."""
    return _transfer(earned(payment_type), REFUNDS_PAYABLE, amount)


def refund_succeeded(amount: int) -> tuple[Entry, ...]:
    """The refund reached the customer."""
    return _transfer(REFUNDS_PAYABLE, SETTLED_FUNDS, amount)


def refund_failed(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """The gateway could not refund; the money is still ours."""
    return _transfer(REFUNDS_PAYABLE, earned(payment_type), amount)


def refund_returned(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """A refund failed after it had succeeded: the money came back and is ours (record 290)."""
    came_back = _transfer(SETTLED_FUNDS, REFUNDS_PAYABLE, amount)
    return came_back + refund_failed(payment_type, amount)


def dispute_opened(amount: int, *, excess: int = 0) -> tuple[Entry, ...]:
    """A chargeback was opened: the bank holds the amount; `excess` was never received."""
    return _transfer(DISPUTED_FUNDS, SETTLED_FUNDS, amount) + _transfer(
        risk_loss(DISPUTE_EXCESS), SETTLED_FUNDS, excess
    )


def dispute_won(amount: int, *, excess: int = 0) -> tuple[Entry, ...]:
    """The dispute was won: the bank releases what it held, including the excess."""
    return _transfer(SETTLED_FUNDS, DISPUTED_FUNDS, amount) + _transfer(
        SETTLED_FUNDS, risk_loss(DISPUTE_EXCESS), excess
    )


def dispute_lost(amount: int) -> tuple[Entry, ...]:
    """The dispute was lost: the loss is booked."""
    return _transfer(risk_loss(CHARGEBACK), DISPUTED_FUNDS, amount)


def dispute_reversed(amount: int, *, excess: int = 0) -> tuple[Entry, ...]:
    """The bank reversed a lost chargeback: the loss is undone, including the excess."""
    return _transfer(SETTLED_FUNDS, risk_loss(CHARGEBACK), amount) + _transfer(
        SETTLED_FUNDS, risk_loss(DISPUTE_EXCESS), excess
    )


def dispute_counted(amount: int, *, lost: bool) -> tuple[Entry, ...]:
    """Part of a dispute's excess is now covered by received money."""
    account = risk_loss(CHARGEBACK) if lost else DISPUTED_FUNDS
    return _transfer(account, risk_loss(DISPUTE_EXCESS), amount)


def moved(source: str, target: str, amount: int) -> tuple[Entry, ...]:
    """A loss is moved from one account to another; within one account nothing moves."""
    return () if source == target else _transfer(target, source, amount)


def deposit_held(amount: int) -> tuple[Entry, ...]:
    """The deposit of a lost reservation is held until a person decides (decision 21)."""
    return _transfer(earned(PaymentType.RESERVATION), RESERVATION_HELD, amount)


def deposit_released(amount: int) -> tuple[Entry, ...]:
    """A held deposit was decided: return the amount to its previous account."""
    return _transfer(RESERVATION_HELD, earned(PaymentType.RESERVATION), amount)


def _transfer(debit: str, credit: str, amount: int) -> tuple[Entry, ...]:
    assert amount >= 0, "an amount is never negative; use the opposite function"
    return (Entry(debit, credit, amount),) if amount else ()
