"""The ledger entries behind every movement of money (decision 40).

An entry is a transfer from one account to another: `amount` minor units are added to the debit
side and taken from the credit side, so the books sum to zero by construction. Amounts that are
only held stand off balance, on the pair of hold accounts.

Amounts here are gross. What is earned stands net on its account, because the database moves the
tax in it to `OUTPUT_VAT` in the statement that posts it, whichever that is (record 122).

Rules a change must keep: pure; a movement of nothing has no entry; what one function posts,
its opposite takes back exactly; `ACCOUNTS` is the whole chart of accounts, and the database takes
entries on no other account.
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
"""On which account the other side of a report line stands that is no payment's money."""

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
        *(kind.value for kind in DiscrepancyKind),
    }
)
"""Why money is lost: each cause has an account of its own, and any other is booked as `other`."""


class Entry(NamedTuple):
    """A transfer of `amount` minor units: `debit` grows by it, `credit` shrinks by it."""

    debit: str
    credit: str
    amount: int


def earned(payment_type: PaymentType) -> str:
    """Return the account on which captured charges of this type are booked."""
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
    """Return the account on which losses of this cause are booked."""
    return f"{RISK_LOSS}:{cause if cause in LOSS_CAUSES else OTHER}"


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
        *OF_PROVIDER.values(),
        *(earned(payment_type) for payment_type in PaymentType),
        *(risk_loss(cause) for cause in LOSS_CAUSES),
    }
)
"""The chart of accounts: a migration writes it into `ledger_accounts`."""


def authorized(amount: int) -> tuple[Entry, ...]:
    """Funds are held for us at the gateway; nothing moved yet."""
    return _transfer(HOLDS, HOLDS_CONTRA, amount)


def released(amount: int) -> tuple[Entry, ...]:
    """The hold ends without a charge (void, expiry)."""
    return _transfer(HOLDS_CONTRA, HOLDS, amount)


def captured(payment_type: PaymentType, amount: int, *, held: int) -> tuple[Entry, ...]:
    """The charge is committed: the hold ends and the gateway owes us the amount."""
    return released(held) + _transfer(GATEWAY_RECEIVABLE, earned(payment_type), amount)


def settled(amount: int) -> tuple[Entry, ...]:
    """The bank confirms: what the gateway owed is ours, before fees."""
    return _transfer(SETTLED_FUNDS, GATEWAY_RECEIVABLE, amount)


def paid_out(*, net: int, fee: int) -> tuple[Entry, ...]:
    """A settlement line tells how the confirmed amount reached us: net to the bank, fee kept."""
    return _transfer(BANK, SETTLED_FUNDS, net) + _transfer(GATEWAY_FEES, SETTLED_FUNDS, fee)


def lost_before_settlement(cause: str, amount: int) -> tuple[Entry, ...]:
    """What was delivered is never paid: CaaS takes the loss, the customer owes nothing."""
    return _transfer(risk_loss(cause), GATEWAY_RECEIVABLE, amount)


def written_off(payment_type: PaymentType, cause: str, amount: int) -> tuple[Entry, ...]:
    """What was delivered is never charged: earned, and lost beside it, so that both can be seen."""
    return _transfer(risk_loss(cause), earned(payment_type), amount)


def loss_not_owed(payment_type: PaymentType, cause: str, amount: int) -> tuple[Entry, ...]:
    """A credit note says that what was written off was not owed: neither earned nor lost."""
    return _transfer(earned(payment_type), risk_loss(cause), amount)


def covered_by_loss(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """What a credit note takes back went to a bank instead: not earned, so no loss of ours."""
    return _transfer(earned(payment_type), risk_loss(CREDITED), amount)


def covered_no_more(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """The bank gave it back after all, so that a refund can carry the credit note out."""
    return _transfer(risk_loss(CREDITED), earned(payment_type), amount)


def reversed_after_settlement(cause: str, amount: int) -> tuple[Entry, ...]:
    """The bank takes back what it had confirmed."""
    return _transfer(risk_loss(cause), SETTLED_FUNDS, amount)


def refund_requested(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """The customer is owed the amount back (desistimiento)."""
    return _transfer(earned(payment_type), REFUNDS_PAYABLE, amount)


def refund_succeeded(amount: int) -> tuple[Entry, ...]:
    """The customer has the amount back."""
    return _transfer(REFUNDS_PAYABLE, SETTLED_FUNDS, amount)


def refund_failed(payment_type: PaymentType, amount: int) -> tuple[Entry, ...]:
    """The gateway could not give it back; the money is still with us."""
    return _transfer(REFUNDS_PAYABLE, earned(payment_type), amount)


def dispute_opened(amount: int, *, excess: int = 0) -> tuple[Entry, ...]:
    """The bank holds the amount while a chargeback is argued; `excess` was never received."""
    return _transfer(DISPUTED_FUNDS, SETTLED_FUNDS, amount) + _transfer(
        risk_loss(DISPUTE_EXCESS), SETTLED_FUNDS, excess
    )


def dispute_won(amount: int, *, excess: int = 0) -> tuple[Entry, ...]:
    """What the bank held comes back to us, the excess too."""
    return _transfer(SETTLED_FUNDS, DISPUTED_FUNDS, amount) + _transfer(
        SETTLED_FUNDS, risk_loss(DISPUTE_EXCESS), excess
    )


def dispute_lost(amount: int) -> tuple[Entry, ...]:
    """The chargeback stands; the loss is accepted and booked."""
    return _transfer(risk_loss(CHARGEBACK), DISPUTED_FUNDS, amount)


def dispute_reversed(amount: int, *, excess: int = 0) -> tuple[Entry, ...]:
    """The bank gives a lost chargeback back; the loss is undone, the excess too."""
    return _transfer(SETTLED_FUNDS, risk_loss(CHARGEBACK), amount) + _transfer(
        SETTLED_FUNDS, risk_loss(DISPUTE_EXCESS), excess
    )


def dispute_counted(amount: int, *, lost: bool) -> tuple[Entry, ...]:
    """More of a dispute fits what was received: it is no excess any more."""
    account = risk_loss(CHARGEBACK) if lost else DISPUTED_FUNDS
    return _transfer(account, risk_loss(DISPUTE_EXCESS), amount)


def deposit_held(amount: int) -> tuple[Entry, ...]:
    """A lost reservation's deposit is parked until a person decides (decision 21)."""
    return _transfer(earned(PaymentType.RESERVATION), RESERVATION_HELD, amount)


def deposit_released(amount: int) -> tuple[Entry, ...]:
    """A person decided what becomes of a held deposit: it stands where it stood before."""
    return _transfer(RESERVATION_HELD, earned(PaymentType.RESERVATION), amount)


def _transfer(debit: str, credit: str, amount: int) -> tuple[Entry, ...]:
    assert amount >= 0, "money moves forward; its opposite has its own function"
    return (Entry(debit, credit, amount),) if amount else ()
