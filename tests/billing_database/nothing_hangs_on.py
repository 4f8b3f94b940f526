"""What may be changed in the books without contradicting anything, each with the reason.

A whole table stands here by its name, a column as `table.column`; "where" narrows either to some
rows. Whatever is not here is changed by `test_every_mutation_is_found.py`, and some law finds it.
"""

from typing import Final

_IDENTITY = "who may sign in is no money; the laws of dual control watch over keys and decisions"
_SHOWN = "a time that is shown, and that nothing is decided or billed by"
_ITS_OWN = "known to the partner alone, and to be asked there"
_WORDS = "words for people"
_NAME = "the name of a row that no other row uses"
_TODAY = "what is offered today; whatever was sold keeps its own price"
_WORKERS = "how far workers are with it, not what it is for"
_REPORTED = "what the provider wrote; what it comes to, and the verdict of its day, is compared"
_NOTE = "a note to a person; what is owed without it is found by its obligation"
_HISTORY = "what was told and seen; what is still owed is found without it"


def _of(table: str, names: str, reason: str) -> dict[str, str]:
    return {f"{table}.{name}": reason for name in names.split()}


NOTHING_HANGS_ON: Final[dict[str, str]] = {
    # whole tables
    "accounts": _IDENTITY,
    "api_keys": _IDENTITY,
    "access_credentials": _IDENTITY,
    "sessions": _IDENTITY,
    "staff_links": _IDENTITY,
    "refused_sign_ins": _IDENTITY,
    "second_factors": _IDENTITY,
    "recovery_codes": _IDENTITY,
    "slowed_tries": _IDENTITY,
    "audit_events": _IDENTITY,
    "event_subscriptions": "where events are sent to; what happened stands without it",
    "clock": "the clock itself, which only tests move",
    "migrations": "every start compares it with the files",
    "law_checks": "what the laws said last time; they are asked anew",
    "gateway_calls": "a flight recorder: what was asked and answered is compared with nothing",
    "gateway_of_the_books": "every start compares it with the setting",
    "idempotency_keys": "an answer once given, for whoever asks again",
    "processes": "who is at work; its sessions say whether it lives",
    **dict.fromkeys(
        ("history_heads", "history_leaves", "history_trees"),
        "`./caas verify` compares the history with the heads that are kept elsewhere",
    ),
    "refused_acknowledgements": "a count of what proved nothing",
    "webhook_quarantine": "what was not applied",
    "webhook_inbox": "what was told, as it came",
    "report_mappings": "how a file is read, in versions",
    "fee_terms": _TODAY,
    "markets": _TODAY,
    "tax_rates": "laws of taxes compare it with what was taxed; what was not taxed yet is today's",
    "tax_settings": "every start compares it with the settings",
    "dealership_markets": _TODAY,
    "billing_details": "whom documents are made out to from now on",
    **_of("payment_taxes", "advance recorded_at", _SHOWN),
    # people and what is on offer
    **_of("customers", "name email language", "it stands nowhere else, so that it can be erased"),
    **_of("customers", "dealership", "who knows a customer; it gives no right to money"),
    **_of("customers", "created_at", _SHOWN),
    **_of("services", "name names kind currency prices monthly_fee metered offered", _TODAY),
    **_of("services", "repeat_purchase updated_at", _TODAY),
    **_of("vehicle_models", "price currency updated_at", _TODAY),
    **_of("vehicles", "price currency", _TODAY),
    **_of("vehicles", "factory_order_id", _ITS_OWN),
    **_of("vehicles", "in_stock_since created_at updated_at", _SHOWN),
    "vehicles.finished where t.state in ('sin asignar', 'reserved')": "it may be built yet",
    "vehicles.public_key where t.vin not in (select vin from delivery_evidence"
    " where signature is not null)": "it has signed nothing yet",
    # work and cases
    **_of("open_work", "due_at attempts held_by lease_until fence last_error parked_at", _WORKERS),
    **_of("open_work", "created_at", _SHOWN),
    "open_work.payload where t.kind <> 'refund'": "its handler looks at the books",
    "open_work.payload": "more than its amount is not read",
    **_of("cases", "id kind subject sentence facts owner resolution", _NOTE),
    **_of("cases", "opened_at resolved_at", _SHOWN),
    # payments
    **_of("payments", "payment_method", "a token of the gateway's, which is known there"),
    **_of("payments", "return_url hosted_page_url", "where a page is"),
    **_of("payments", "capture_before", "the gateway says so again when it is too late"),
    **_of("refunds", "id", "its payment's event and its work name it, but not once it failed"),
    **_of("refunds", "requested_by failed_because", _WORDS),
    **_of("refunds", "issue", _WORKERS),
    **_of("refunds", "gateway_refund_id", _ITS_OWN),
    **_of("refunds", "created_at updated_at", _SHOWN),
    **_of("disputes", "told_at", _WORKERS),
    **_of("disputes", "opened_at updated_at", _SHOWN),
    # orders
    **_of("orders", "factory_order_id plate registered_at delivery_id", _ITS_OWN),
    **_of("orders", "delivery_scheduled_for", _ITS_OWN),
    **_of("orders", "updated_at", _SHOWN),
    **_of("order_events", "at", _SHOWN),
    **_of("vehicle_events", "at", _SHOWN),
    **_of("vehicle_assignments", "id", _NAME),
    **_of("vehicle_assignments", "since until ended_because", _SHOWN),
    # services and vehicles
    **_of("service_orders", "created_at", _SHOWN),
    **_of("service_orders", "request_key", "which request made it, for whoever asks again"),
    **_of("entitlements", "reported_at created_at", _SHOWN),
    **_of("entitlement_terms", "id", _NAME),
    **_of("entitlement_terms", "reserved_at updated_at", _SHOWN),
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
    "delivery_evidence.id where t.status <> 'SUCCEEDED'": _NAME,
    # subscriptions and invoices
    **_of("subscriptions", "payment_method", "a token of the gateway's, which is known there"),
    **_of(
        "subscriptions",
        "activated_at cancelled_at deactivated_at",
        "whichever of a term's ends is nearer is billed, and compared with what was billed",
    ),
    **_of("subscriptions", "updated_at", _SHOWN),
    **_of("subscription_events", "at", _SHOWN),
    **_of("usage_records", "source_id", "the meter's own name for it"),
    **_of("usage_records", "recorded_at", _SHOWN),
    **{
        f"usage_records.{name} where t.invoice is null and t.cancels is null": "the meter told it,"
        " and nothing was made of it yet"
        for name in ("unit", "quantity", "at")
    },
    **_of(
        "usage_disputes",
        "id because opened_by ended_by outcome opened_at ended_at source_id",
        "what is billed follows from the use; a dispute only holds it back",
    ),
    **_of("usage_disputes", "subscription", "what is billed follows from the use"),
    **_of("invoices", "reason", _WORDS),
    **_of("billing_runs", "series first_number subscriptions seen_through seen charges", _WORKERS),
    **_of("billing_runs", "charged_series charged_number", _WORKERS),
    **_of("billing_runs", "invoiced_at started_at finished_at", _WORKERS),
    # reconciliation
    **_of("settlement_reports", "part report_ref origin format status", _REPORTED),
    **_of("settlement_reports", "line_count gross_total net_total", _REPORTED),
    **_of("settlement_reports", "resume_cursor resume_rows", _WORKERS),
    **_of("settlement_reports", "received_at updated_at", _SHOWN),
    **_of("settlement_lines", "batch_id line_id booked_at value_date method", _REPORTED),
    **_of("settlement_lines", "commission markup scheme_fees interchange rate", _REPORTED),
    "settlement_lines.transaction_id where t.reference is not null": _REPORTED,
    **_of("settlement_lines", "reference", _REPORTED),
    "settlement_lines.type where t.payment_id in (select payment_id from disputes)": (
        "money went out of this payment in both ways; what it comes to agrees"
    ),
    **_of("settlement_lines", "at", _SHOWN),
    **_of("reconciliation_days", "closed_at", _SHOWN),
    **_of("reconciliation_runs", "state rule_version engine as_of lines counts because", _WORKERS),
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
    **_of("discrepancy_resolutions", "proposed_account decided_account", _IDENTITY),
    **_of("gateway_claims", "due_on", _WORKERS),
    **_of("gateway_claims", "filed_at updated_at", _SHOWN),
    **_of("gateway_claim_events", "by note receipt at", _WORDS),
    # what two people decide, and what people were told
    **_of("deposit_decisions", "id", _NAME),
    **_of("deposit_decisions", "note proposed_by decided_by", _WORDS),
    **_of("deposit_decisions", "proposed_at decided_at", _SHOWN),
    **_of("deposit_decisions", "proposed_account decided_account", _IDENTITY),
    **_of("refund_decisions", "id", "its work names it, but not once it is carried out"),
    "refund_decisions.state": "the refund it asked for stands without it",
    **_of("refund_decisions", "note proposed_by decided_by", _WORDS),
    **_of("refund_decisions", "term", "the term's own state shows what became of it"),
    **_of("refund_decisions", "proposed_at decided_at", _SHOWN),
    **_of("refund_decisions", "proposed_account decided_account", _IDENTITY),
    **_of("notifications", "id template subject occasion facts", _HISTORY),
    **_of("notifications", "created_at sent_at not_sent_because read_at", _SHOWN),
}
"""Where nothing contradicts another value; everywhere else a law must find it."""

MAY_BE_GONE: Final[dict[str, str]] = {
    "billing_details": "whom documents are made out to from now on; those issued keep theirs",
    "accounts": _IDENTITY,
    "api_keys": _IDENTITY,
    "access_credentials": _IDENTITY,
    "audit_events": _IDENTITY,
    "cases": _NOTE,
    "clock": "without a clock nothing runs",
    "migrations": "every start compares it with the files",
    "processes": "who is at work; its sessions say whether it lives",
    "gateway_calls": _HISTORY,
    "markets": _TODAY,
    "tax_rates": _TODAY,
    "tax_settings": "every start compares it with the settings",
    "document_buyers": "an erasure removes them",
    "notifications": _HISTORY,
    "refund_decisions": "the refund it asked for stands without it, or is owed by its work",
    "delivery_evidence where t.status <> 'SUCCEEDED'": "a refusal proves no delivery",
    "usage_disputes": "what is billed follows from the use",
    "services where not exists (select from subscriptions s where s.service = t.code)": _TODAY,
}
"""Of which tables a row may be missing without contradicting anything."""

NOT_LIVED: Final[dict[str, str]] = {
    "credit_note_decisions": "needs an invoice that two people correct",
    "documents_due": "what was due is issued",
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
    "gateway_claims.receipt": "needs an answer of the provider",
    "customers.erased_at": "needs a customer with nothing open",
    "delivery_evidence.refused_because": "what proves nothing is not kept any more",
    "written_off_invoices": "needs a month that is declined for good",
}
"""What the lived world has no row or value of, so that nothing can be changed there."""
