"""Every protection of money, how it is taken out, and the test that must then fail.

A protection is a piece of text in one of our files; taken out, another piece stands in its place.
The row names the fault of docs/faults.md that it rules out.

Rules: a removal leaves a program that runs, and goes wrong only in the way the protection is for;
the text of a protection stands in its file exactly once, so that it cannot be moved unnoticed.
"""

from dataclasses import dataclass

SCHEMA = "billing_database/migrations/0001_schema.sql"
GUARDS = "billing_database/test_guards.py::test_the_database_refuses"
UNKNOWN = "robustness/test_unknown_outcomes.py"
TWO = "robustness/test_two_of_everything.py"
PROVIDERS = "payment_processing/test_two_gateways.py"
ROUTES = "payment_processing/test_gateway_routes.py"
CUT = "payment_processing/test_operations_that_were_cut.py"
SEVERAL = "payment_processing/test_several_transactions.py"
OPEN_WORK = "robustness/test_jobs_survive_trouble.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One protection and its proof: file below src/caas, test below tests."""

    fault: str
    file: str
    protection: str
    without: str
    shown_by: str


REMOVALS: dict[str, Removal] = {
    # -- what is sold has one truth ---------------------------------------------------------------
    "terms follow each other": Removal(
        fault="F-E3",
        file=SCHEMA,
        protection="             greatest(b.at, o.until) as starts_at,\n"
        "             greatest(b.at, o.until) + make_interval",
        without="             b.at as starts_at,\n             b.at + make_interval",
        shown_by="payment_processing/test_entitlements.py"
        "::test_buying_again_extends_whatever_was_bought_first[30-30]",
    ),
    "a failed purchase restores what is paid for": Removal(
        fault="F-E1",
        file=SCHEMA,
        protection="           case when d.becomes = 'activating' or d.others_on then 'activate'\n",
        without="           case when d.becomes = 'activating' then 'activate'\n",
        shown_by="payment_processing/test_entitlements.py"
        "::test_a_second_purchase_that_times_out_leaves_the_first_on",
    ),
    "one purchase is pending at a time": Removal(
        fault="F-E2",
        file=SCHEMA,
        protection="and (t.state in ('pending', 'activating') and t.service_order is distinct from",
        without="and (false and t.service_order is distinct from",
        shown_by="payment_processing/test_entitlements.py"
        "::test_an_order_without_a_payment_does_not_stand_in_the_way_for_ever",
    ),
    "undoing the money ends the term": Removal(
        fault="F-E4",
        file="payment_processing/service_withdrawal.py",
        protection="            together_with=end,\n",
        without="",
        shown_by="payment_processing/test_entitlements.py"
        "::test_withdrawing_both_terms_switches_the_service_off",
    ),
    # -- one verdict, and only with proof ---------------------------------------------------------
    "one capture or one void": Removal(
        fault="F-S7",
        file=SCHEMA,
        protection="    constraint resolution_claims_pkey primary key (payment_id),\n",
        without="",
        shown_by="billing_database/test_transitions.py::test_capture_and_void_race_and_exactly_one_wins",
    ),
    "a claim names its evidence": Removal(
        fault="F-S7",
        file=SCHEMA,
        protection="    constraint resolution_claims_payment_id_evidence_id_evidence_kind_pro_"
        "fkey\n        foreign key (payment_id, evidence_id, evidence_kind, proves_delivery)\n"
        "            references delivery_evidence (subject, id, kind, proves_delivery),\n",
        without="",
        shown_by=f"{GUARDS}[a charge with a refused acknowledgement]",
    ),
    "a verified acknowledgement is signed": Removal(
        fault="F-S5",
        file=SCHEMA,
        protection="and signature is not null and octet_length(signature) = 64",
        without="and octet_length(signature) = 64",
        shown_by=f"{GUARDS}[an acknowledgement without a signature]",
    ),
    "a payment moves with its event": Removal(
        fault="F-P9",
        file=SCHEMA,
        protection="  where a.event is null or n.came_from = 'Authorized' and n.state <>",
        without="  where n.came_from = 'Authorized' and n.state <>",
        shown_by="billing_database/test_transitions.py::test_an_illegal_move_in_a_batch_fails_alone",
    ),
    "the past is kept": Removal(
        fault="F-P9",
        file=SCHEMA,
        protection="before delete or update or truncate on ledger_entries",
        without="before truncate on ledger_entries",
        shown_by="billing_database/test_guards.py::test_the_past_is_not_changed",
    ),
    "the same source counts once": Removal(
        fault="F-G9",
        file=SCHEMA,
        protection="where e.payment_id = p.id and e.source = w.source)",
        without="where e.payment_id = p.id and e.source = w.source and false)",
        shown_by="billing_database/test_transitions.py::test_the_same_source_moves_a_payment_once",
    ),
    "the vehicle's signature": Removal(
        fault="F-S3",
        file="ota_activation_engine/vehicle_responses.py",
        protection="if not verify_signature(acknowledgement, key):",
        without="if key == acknowledgement:",
        shown_by="bad_input/test_webhooks_and_acknowledgements.py"
        "::test_an_acknowledgement_that_proves_nothing_moves_no_payment[confirmDelivery-forged]",
    ),
    "the acknowledgement is of the command": Removal(
        fault="F-S5",
        file="ota_activation_engine/vehicle_responses.py",
        protection="        if stated != meant:\n",
        without="        if stated == ():\n",
        shown_by="bad_input/test_webhooks_and_acknowledgements.py"
        "::test_an_acknowledgement_that_proves_nothing_moves_no_payment"
        "[confirmDelivery-of an old epoch]",
    ),
    # -- one call, one effect ---------------------------------------------------------------------
    "one key for one operation": Removal(
        fault="F-G3",
        file="payment_processing/gateway_calls.py",
        protection='return f"{payment_id}:{operation}" if issue == 1',
        without='return __import__("uuid").uuid4().hex if issue == 1',
        shown_by=f"{UNKNOWN}::test_without_a_lookup_the_same_key_is_asked_again",
    ),
    "a key is sent while the gateway remembers it": Removal(
        fault="F-G7",
        file="payment_processing/gateway_calls.py",
        protection="if not key_lifetime.covers(age):",
        without="if not key_lifetime.covers(-1.0):",
        shown_by=f"{UNKNOWN}::test_nothing_is_sent_again_when_the_gateway_forgets_keys_sooner_than"
        "_we_retry",
    ),
    "what an earlier try left open stays open": Removal(
        fault="F-G4",
        file="payment_processing/gateway_calls.py",
        protection="                maybe_sent = True\n",
        without="                maybe_sent = False\n",
        shown_by=f"{UNKNOWN}::test_one_authorization_or_none_after_a_silence[applies and hangs]",
    ),
    "absence is proof after a quiet minute only": Removal(
        fault="F-G5",
        file="payment_processing/unknown_outcomes.py",
        protection="    if payment.unmoved_seconds < self._time_scale.seconds(QUIESCENCE_SECONDS):",
        without="    if payment.unmoved_seconds < 0:",
        shown_by="robustness/test_slow_gateway.py"
        "::test_what_the_gateway_does_long_after_we_hung_up_is_waited_for",
    ),
    "an answer is compared with the question": Removal(
        fault="F-G14",
        file="external_systems/payment_gateway.py",
        protection="differing = [name for name, value in asked.items() if value != reported[name]]",
        without="differing = [name for name, value in asked.items() if name not in reported]",
        shown_by=f"{UNKNOWN}::test_a_gateway_that_keeps_contradicting_itself_moves_nothing",
    ),
    "a code nobody knows decides nothing": Removal(
        fault="F-G15",
        file="payment_processing/authorization.py",
        protection="        found = refusal_class(code)\n",
        without="        found = refusal_class(code) or RefusalClass.TECHNICAL\n",
        shown_by=f"{UNKNOWN}::test_a_decline_code_nobody_knows_decides_nothing",
    ),
    "an error at the bank is no decline": Removal(
        fault="F-F5",
        file="payment_processing/final_payment.py",
        protection="        if not is_decline(payment.decline_code):",
        without="        if payment.decline_code is None:",
        shown_by="payment_processing/test_failures_without_decline.py"
        "::test_a_final_payment_that_no_bank_declined_keeps_its_reservation[processing_error]",
    ),
    "a final payment never fails of silence": Removal(
        fault="F-F1",
        file="payment_processing/authorization.py",
        protection="not_sent_consequence(payment.type) is NotSentConsequence.FAIL_PAYMENT",
        without="bool(payment.type)",
        shown_by=f"{UNKNOWN}::test_the_vehicle_of_an_unknown_final_payment_is_held"
        "[stores a 500 for the key]",
    ),
    # -- many at once -----------------------------------------------------------------------------
    "one live payment for one thing": Removal(
        fault="F-F3",
        file=SCHEMA,
        protection="create unique index one_live_payment_per_subject",
        without="create index one_live_payment_per_subject",
        shown_by=f"{TWO}::test_two_keys_for_one_thing_on_two_machines_name_the_one_payment",
    ),
    "one owner for one vehicle": Removal(
        fault="F-R2",
        file=SCHEMA,
        protection="create unique index one_active_assignment_per_vehicle",
        without="create index one_active_assignment_per_vehicle",
        shown_by="billing_database/test_orders.py"
        "::test_a_second_owner_is_refused_by_the_database_itself",
    ),
    "the request behind a key is remembered": Removal(
        fault="F-G13",
        file="billing_database/idempotency.py",
        protection='if row["request_hash"] is not None and row["request_hash"] != asked:',
        without='if row["request_hash"] is None and row["request_hash"] != asked:',
        shown_by="bad_input/test_unknown_ids.py"
        "::test_a_key_that_was_used_for_something_else_is_refused_wherever_it_comes",
    ),
    "a key is taken by one call": Removal(
        fault="F-G12",
        file="billing_database/idempotency.py",
        protection="""        if over and await self._take_over(taken):
            return None
        raise InFlightError""",
        without="        return None",
        shown_by="api/test_orders.py"
        "::test_a_customer_that_is_sent_many_times_at_once_is_one_customer",
    ),
    "refunds are counted one by one": Removal(
        fault="F-S17",
        file="billing_database/refunds.py",
        protection='LOCK_PAYMENT: Final = "select lock_payment($1)"',
        without='LOCK_PAYMENT: Final = "select $1::uuid"',
        shown_by="payment_processing/test_refunds.py"
        "::test_many_refunds_at_once_never_exceed_what_was_received",
    ),
    # -- jobs --------------------------------------------------------------------------------
    "a lease keeps others away": Removal(
        fault="F-G17",
        file="billing_database/job_rows.py",
        protection="(o.lease_until is null or o.lease_until < now_.at)",
        without="true",
        shown_by=f"{OPEN_WORK}::test_a_slow_worker_keeps_its_piece_and_a_dead_one_loses_it",
    ),
    "a lease is renewed": Removal(
        fault="F-G17",
        file="jobs.py",
        protection="            if self._under_way:\n                try:",
        without="            if self._under_way is None:\n                try:",
        shown_by=f"{OPEN_WORK}::test_a_slow_worker_keeps_its_piece_and_a_dead_one_loses_it",
    ),
    "work that nobody answered is not given up": Removal(
        fault="F-G6",
        file="jobs.py",
        protection="        except NO_ANSWER as error:\n",
        without="        except ZeroDivisionError as error:\n",
        shown_by=f"{OPEN_WORK}::test_a_partner_that_does_not_answer_is_never_given_up",
    ),
    "poison is set aside": Removal(
        fault="F-W9",
        file="jobs.py",
        protection="            if job.attempts >= ATTEMPTS_MAX:",
        without="            if job.attempts < 0:",
        shown_by=f"{OPEN_WORK}::test_a_poisoned_piece_is_parked_and_the_others_are_done",
    ),
    # -- what comes from outside ------------------------------------------------------------------
    "a webhook is signed": Removal(
        fault="F-W6",
        file="external_systems/webhook_signatures.py",
        protection="            hmac.compare_digest(expected, signature)\n",
        without="            len(expected) == len(signature)\n",
        shown_by="external_systems/test_webhook_signatures.py::test_every_single_bit_counts",
    ),
    "a webhook is of now": Removal(
        fault="F-W7",
        file="external_systems/webhook_signatures.py",
        protection="abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS",
        without="now.timestamp() - int(timestamp) > TOLERANCE_SECONDS",
        shown_by="external_systems/test_webhook_signatures.py"
        "::test_outside_the_window_nothing_is_believed_on_either_side",
    ),
    "an event counts once": Removal(
        fault="F-W1",
        file=SCHEMA,
        protection="webhook_inbox_gateway_event_id_key unique (gateway, event_id)",
        without="webhook_inbox_gateway_event_id_key unique (gateway, event_id, id)",
        shown_by="api/test_webhooks.py::test_the_same_event_a_hundred_times_is_stored_once",
    ),
    "no card number comes in": Removal(
        fault="F-P5",
        file="web/card_refusal.py",
        protection='    if may_hold_one(text.encode("utf-8", "replace")) and holds_one(text):',
        without="    if text is None:",
        shown_by="api/test_card_refusal.py"
        "::test_a_card_number_is_refused_in_every_field_of_every_call",
    ),
    "everybody sees their own": Removal(
        fault="F-P7",
        file="api/ownership.py",
        protection="    if not (theirs and caller.dealership in {None, order.dealership}):",
        without="    if not theirs:",
        shown_by="api/test_ownership.py::test_what_is_anothers_is_not_found_by_a_dealerships_key",
    ),
    # -- one transaction of a payment -------------------------------------------------------------
    "nothing is undone before the choice": Removal(
        fault="F-H1",
        file="payment_processing/compensation.py",
        protection="        if payment.gateway_transaction_id is None and payment.state not in "
        "ENDED:\n",
        without="        if payment.gateway_transaction_id == transaction_id:\n",
        shown_by=f"{SEVERAL}::test_nothing_is_undone_before_the_payment_has_chosen",
    ),
    "what a payment lives by is not undone": Removal(
        fault="F-H1",
        file="payment_processing/compensation.py",
        protection="        if not is_sibling(payment, transaction_id) and payment.state not in "
        "LIVED_WITHOUT:\n",
        without="        if transaction_id is None:\n",
        shown_by=f"{SEVERAL}::test_what_a_payment_lives_by_is_never_undone",
    ),
    "a dead sibling ends no payment": Removal(
        fault="F-H1",
        file="payment_processing/transaction_selection.py",
        protection="        if not undecided or not self.has_lookup(payment):\n",
        without="        if undecided or not undecided:\n",
        shown_by=f"{SEVERAL}::test_a_payment_does_not_fail_by_a_dead_sibling",
    ),
    "siblings are looked for": Removal(
        fault="F-H1",
        file="payment_processing/gateway_calls.py",
        protection="                if on_unknown is not None:\n",
        without="                if on_unknown is None and on_unknown:\n",
        shown_by=f"{SEVERAL}::test_a_second_hold_is_found_although_nobody_tells",
    ),
    # -- several gateways -------------------------------------------------------------------------
    "a webhook is of the payment's gateway": Removal(
        fault="F-H2",
        file="payment_processing/settlement.py",
        protection="        if payment is not None and payment.gateway != row.gateway:\n",
        without="        if payment is None and event is None:\n",
        shown_by=f"{PROVIDERS}::test_a_webhook_moves_no_payment_of_another_gateway[settled]",
    ),
    "a transaction is of its gateway": Removal(
        fault="F-H2",
        file="billing_database/payments.py",
        protection='{READ} where gateway = $1 and gateway_transaction_id = $2"',
        without="{READ} where $1 <> '' and gateway_transaction_id = $2 order by id limit 1\"",
        shown_by=f"{PROVIDERS}::test_transactions_with_the_same_id_at_two_gateways_stay_apart",
    ),
    "a payment is asked about where it is": Removal(
        fault="F-H2",
        file="payment_processing/gateways.py",
        protection="        return self.named(payment.gateway)\n",
        without="        return self.named(self.for_new_payments if payment else '')\n",
        shown_by=f"{PROVIDERS}::"
        "test_after_a_change_each_payment_is_settled_and_refunded_where_it_was_made",
    ),
    "only who has the job moves a payment": Removal(
        fault="F-H2",
        file="payment_processing/gateway_change.py",
        protection="                raise _MustStayError\n",
        without="                pass\n",
        shown_by=f"{ROUTES}::test_a_payment_that_another_process_may_have_sent_stays",
    ),
    "an operation is unsent only as a whole": Removal(
        fault="F-G4",
        file="payment_processing/gateway_calls.py",
        protection="            if not writes:\n",
        without="            if writes is not None:\n",
        shown_by=f"{CUT}::test_a_page_that_was_made_and_not_read_is_in_doubt",
    ),
    "a process puts back only what nobody has worked on": Removal(
        fault="F-G11",
        file="billing_database/postponed_jobs.py",
        protection=" where exists (select from payments where id = $2 and version = $7)\n",
        without=" where $7::bigint is not null\n",
        shown_by=f"{CUT}::test_a_process_that_was_frozen_puts_nothing_back_to_unsent",
    ),
    "a token goes nowhere else": Removal(
        fault="F-H2",
        file="payment_processing/gateways.py",
        protection="{None, payment.gateway} or payment.payment_method is not None:",
        without="{None, payment.gateway}:",
        shown_by=f"{ROUTES}::test_a_token_is_tried_nowhere_else",
    ),
    "what may have arrived goes nowhere else": Removal(
        fault="F-H2",
        file="payment_processing/gateway_change.py",
        protection="        if no_answer.maybe_sent or not ("
        "no_answer.unreached or no_answer.wait_seconds is None):\n",
        without="        if no_answer is None:\n",
        shown_by=f"{ROUTES}::test_a_payment_of_unknown_outcome_stays_although_its_call_is_not_recorded",
    ),
    "a report is compared with its gateway's payments": Removal(
        fault="F-H2",
        file="billing_database/reconciliation_snapshot.py",
        protection="from line_keys k join payments p on p.id = k.payment_id and p.gateway = $1",
        without="from line_keys k join payments p on p.id = k.payment_id and $1 <> ''",
        shown_by="reconciliation/test_two_gateways.py"
        "::test_a_line_about_a_payment_of_another_gateway_is_not_its_settlement",
    ),
    # -- the platform -----------------------------------------------------------------------------
    "nothing is answered that is not on disk": Removal(
        fault="F-G10",
        file="billing_database/embedded_postgresql.py",
        protection='    "synchronous_commit": "on",\n',
        without='    "synchronous_commit": "off",\n',
        shown_by="billing_database/test_embedded_postgresql.py"
        "::test_commits_are_on_the_disk_before_they_are_answered",
    ),
}
