"""What may be changed in the books without contradicting anything, each with the reason.

A whole table stands here by its name, a column as `table.column`; "where" narrows either to some
rows. Whatever is not here is changed by `test_every_mutation_is_found.py`, set to null where it may
be and removed, and some law finds it.
"""

from typing import Final

_SHOWN = "a time that is shown, and that nothing is decided or billed by"
_ITS_OWN = "known to the partner alone, and to be asked there"
_WORDS = "words for people"
_NAME = "the name of a row that no other row uses"
_WORKERS = "how far workers are with it, not what it is for"
_REPORTED = "what the provider wrote; what it comes to, and the verdict of its day, is compared"
_HISTORY = "what was told and seen; what is still owed is found without it"
_SESSIONS = "a session ends by itself, and what it may do is asked of its account each time"
_TRIES = "a count that slows guesses, and is forgotten"
_HEADS = "`./caas verify` compares the history with the heads that are kept elsewhere"
_PLANNED_AGAIN = "each start of a worker plans it again"
_EVERY_START = "every start compares it with the files or the settings"
_REQUEST = "which request made it, for whoever asks again"
_SCHEDULES = (
    "'bill_month', 'check_invariants', 'reconcile_daily', 'reconcile_hourly', 'issue_documents'"
)


def _of(table: str, names: str, reason: str) -> dict[str, str]:
    return {f"{table}.{name}": reason for name in names.split()}


NOTHING_HANGS_ON: Final[dict[str, str]] = {
    # whole tables
    "sessions": _SESSIONS,
    "refused_sign_ins": _TRIES,
    "sign_in_attempts": _TRIES,
    "clock": "the clock itself, which only tests move",
    "migrations": _EVERY_START,
    "invariant_checks": "what the laws said last time; they are asked anew",
    "removals": "what may be gone; a row that is gone and too young for it is missed",
    "processes": "who is at work; its sessions say whether it lives",
    **dict.fromkeys(("history_heads", "history_leaves", "history_trees"), _HEADS),
    "refused_acknowledgements": "a count of what proved nothing",
    "report_mappings": "how a file is read, in versions; a head holds the digest of each",
    "fee_terms": "what a provider may keep, in versions; a head holds the digest of each",
    "markets": "every migration writes what the code knows of them",
    **_of(
        "idempotency_keys",
        "request_hash answer_status answer_body created_at held_by attempt",
        "an answer once given, for whoever asks again",
    ),
    "table_checksums.slot": "which session wrote; the sums of all are compared",
    **_of("payment_taxes", "advance recorded_at", _SHOWN),
    # work
    **_of(
        "jobs",
        "due_at attempts held_by claim lease_until fence last_error paused_at",
        _WORKERS,
    ),
    **_of("jobs", "created_at", _SHOWN),
    "jobs.payload where t.kind <> 'refund'": "its handler looks at the books",
    "jobs.payload": "more than its amount is not read",
    f"jobs.subject where t.kind in ({_SCHEDULES})": "a schedule is known by its kind",
    "jobs.subject where t.kind = 'forget_buyers'": _PLANNED_AGAIN,
    "jobs.kind where t.kind = 'forget_buyers'": _PLANNED_AGAIN,
    **_of("documents_due", "at case_kind", _WORKERS),
    # payments
    **_of("payments", "return_url hosted_page_url", "where a page is"),
    # orders
    **_of("order_events", "at", _SHOWN),
    **_of("vehicle_events", "at", _SHOWN),
    # services and vehicles
    **_of("service_orders", "created_at", _SHOWN),
    **_of("service_orders", "request_key", _REQUEST),
    **_of("subscriptions", "request_key", _REQUEST),
    **_of("entitlements", "reported_at created_at", _SHOWN),
    **_of("entitlement_terms", "id", _NAME),
    **_of("entitlement_terms", "updated_at", _SHOWN),
    "entitlement_terms.starts_at where t.state = 'cancelled'": "it never began",
    "entitlement_terms.ends_at where t.state = 'cancelled'": "it never began",
    "entitlement_terms.ended_because where t.state <> 'ended'": _WORDS,
    **_of("entitlement_changes", "at", _SHOWN),
    **_of(
        "ota_commands",
        "valid_until deadline created_at attempt",
        "the newest command is compared with what the vehicle should have on",
    ),
    **_of("delivery_evidence", "status_reason", _WORDS),
    **_of("delivery_evidence", "recorded_at", _SHOWN),
    "delivery_evidence.at where t.signature is null": _SHOWN,
    "delivery_evidence.signs_action where t.signature is null": "nobody signed it",
    # subscriptions
    **_of("subscription_events", "at", _SHOWN),
    # reconciliation
    **_of("settlement_reports", "part report_ref origin format status", _REPORTED),
    **_of("settlement_reports", "line_count gross_total net_total", _REPORTED),
    **_of("settlement_reports", "resume_cursor resume_rows", _WORKERS),
    **_of("settlement_reports", "received_at updated_at", _SHOWN),
    **_of("settlement_lines", "batch_id line_id booked_at value_date method", _REPORTED),
    **_of("settlement_lines", "commission markup scheme_fees interchange rate", _REPORTED),
    **_of("settlement_lines", "payout_fee payout_unit", _REPORTED),
    "settlement_lines.transaction_id where t.reference is not null": _REPORTED,
    **_of("settlement_lines", "reference", _REPORTED),
    "settlement_lines.type where t.payment_id in (select payment_id from disputes)": (
        "money went out of this payment in both ways; what it comes to agrees"
    ),
    **_of("settlement_lines", "at", _SHOWN),
    **_of("reconciliation_days", "closed_at", _SHOWN),
    **_of("reconciliation_runs", "state rule_version engine as_of lines because", _WORKERS),
    **_of(
        "reconciliation_runs", "counts", "its lines and discrepancies are there, with their kinds"
    ),
    **_of("reconciliation_runs", "cleared", "its discrepancies say that they ended by themselves"),
    **_of("reconciliation_runs", "input_hash output_hash", "a replay compares them"),
    **_of("reconciliation_runs", "started_at finished_at", _SHOWN),
    **_of("discrepancies", "owner due_on missing_from", _WORKERS),
    **_of("discrepancies", "opened_at updated_at", _SHOWN),
    **_of("discrepancy_events", "by facts", "who looked, at what; money in it is compared"),
    **_of("discrepancy_events", "at", _SHOWN),
    **_of("discrepancy_entries", "at", _SHOWN),
    **_of("discrepancy_evidence", "name media_type attached_by attached_at", _WORDS),
    **_of("discrepancy_resolutions", "bulk_id", "which decisions were taken at once"),
    **_of("discrepancy_resolutions", "proposed_at decided_at", _SHOWN),
    **_of(
        "discrepancy_resolutions",
        "proposed_account decided_account",
        "whose account it was; that there were two, where two are needed, is a law",
    ),
    **_of("gateway_claims", "due_on", _WORKERS),
    **_of("gateway_claims", "filed_at updated_at", _SHOWN),
    **_of("gateway_claim_events", "by note receipt at", _WORDS),
    # what people were told
    **_of("notifications", "id template subject occasion facts", _HISTORY),
    **_of("notifications", "created_at sent_at not_sent_because read_at", _SHOWN),
}
"""Where nothing contradicts another value; everywhere else a law must find it."""

MAY_BE_GONE: Final[dict[str, str]] = {
    "sessions": _SESSIONS,
    "refused_sign_ins": _TRIES,
    "sign_in_attempts": _TRIES,
    "clock": "without a clock nothing runs",
    "migrations": _EVERY_START,
    "invariant_checks": "what the laws said last time; they are asked anew",
    "removals": "what may be gone; a row that is gone is missed without it",
    "fee_terms": _HEADS,
    "markets": "every migration writes what the code knows of them",
    "jobs where t.kind = 'forget_buyers'": _PLANNED_AGAIN,
    "processes": "who is at work; its sessions say whether it lives",
    "idempotency_keys where t.payment_id is null": "an answer once given, for whoever asks again",
    "history_heads where t.head = (select max(head) from history_heads)": (
        "whoever keeps its copy misses it; the one after it would lack what it holds"
    ),
    "history_trees where t.size = 0": "nothing was counted yet",
    "table_checksums where (t.rows, t.fixed, t.moving) = (0, 0, 0)": "nothing was summed there",
    "document_buyers": "an erasure removes them",
    "notifications": _HISTORY,
    "delivery_evidence where t.status <> 'SUCCEEDED'": "a refusal proves no delivery",
}
"""Of which tables a row may be missing without contradicting anything."""

NOT_LIVED: Final[dict[str, str]] = {
    "removals": "needs rows that are months old",
    "tax_rates.planned": "needs a rate that was withdrawn",
    "tax_rates.withdrawn_at": "needs a rate that was withdrawn",
    "tax_rates.withdrawn_by": "needs a rate that was withdrawn",
    "credit_note_decisions": "needs an invoice that two people correct",
    "event_subscriptions.encrypted_secret": "needs a subscription that runs",
    "entitlement_changes.kept": "needs a service that is refunded in full and kept",
    "identified_lines": "needs a line that comes before its payment",
    "outcome_decisions": "needs an outcome that nobody can look up",
    "quarantined_lines": "needs a line that cannot be read",
    "sealed_reports": "needs a day without anything open",
    "reconciliation_days.sealed_at": "needs a day without anything open",
    "reconciliation_days.sealed_by": "needs a day without anything open",
    "reconciliation_runs.late_of": "needs a sealed day",
    "settlement_reports.late_of": "needs a sealed day",
    "settlement_lines.fee_agreed": "needs agreed fees",
    "settlement_lines.payout_fee": "needs a payout in another currency",
    "settlement_lines.payout_unit": "needs a payout in another currency",
    "gateway_claims.receipt": "needs an answer of the provider",
    "gateway_claim_entries": "needs an answer of the provider",
    "gateway_accounts": "needs a gateway that names its account",
    "gateway_customers": "needs a gateway that keeps customers",
    "delivery_evidence.refused_because": "what proves nothing is not kept any more",
    "written_off_invoices": "needs a month that is declined for good",
}
"""What the lived world has no row or value of, so that nothing can be changed there."""
