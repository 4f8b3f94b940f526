"""Tables that the application's role cannot write, cannot change, or may delete from.

Rule a change must keep: separate names by a comma and a space; the invariant
`only_the_platform_writes` compares them with the actual grants.
"""

from typing import Final

# Tables that the application writes only through functions and triggers.
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

# Completed rows are deleted from these tables only.
EMPTIED: Final = (
    "jobs, idempotency_keys, sessions, refused_sign_ins, sign_in_attempts, documents_due"
)
