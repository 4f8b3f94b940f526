"""Which tables the application may not write, not change, or may remove rows from.

Rule a change must keep: names apart by a comma and a blank; the invariant
`only_the_platform_writes` compares with what is granted.
"""

from typing import Final

# Tables that no session of the application may write but through a door, or a trigger.
BEHIND_DOORS: Final = (
    "payments, payment_events, resolution_claims, ledger_entries, ledger_accounts, "
    "payment_transitions, provider_accounts, clock, migrations, vehicle_transitions, "
    "vehicle_events, order_transitions, order_events, subscription_transitions, "
    "subscription_events, payment_taxes, entitlements, entitlement_terms, entitlement_changes, "
    "table_checksums"
)
APPEND_ONLY: Final = (
    "delivery_evidence, webhook_inbox, ota_commands, settlement_lines, "
    "identified_lines, discrepancy_events, discrepancy_entries, discrepancy_evidence, "
    "gateway_claim_entries, "
    "gateway_calls, audit_events, history_heads, history_leaves"
)

# What is done with is removed from these, and from no others.
EMPTIED: Final = (
    "jobs, idempotency_keys, sessions, refused_sign_ins, sign_in_attempts, documents_due"
)
