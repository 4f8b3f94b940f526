"""Invariants of the whole database: queries that must return no row (decision 42).

Rules a change must keep: an invariant only reads, and returns the rows that violate it; it is never
weakened to make a state pass: fix the state. Constraints and triggers reject violations at once;
invariants find those that occurred while a trigger was disabled.
"""

from typing import Final

import msgspec

from caas.billing_database import erasure_rows, schema_catalog
from caas.billing_database.invariant_scopes import EVERYTHING, scoped
from caas.billing_database.invariants_of_access import ACCESS, DUAL_CONTROL
from caas.billing_database.invariants_of_copies import COPIES
from caas.billing_database.invariants_of_delivery import DELIVERY
from caas.billing_database.invariants_of_documents import DOCUMENTS, INVOICES, TAXES
from caas.billing_database.invariants_of_money import LEDGER, MONEY
from caas.billing_database.invariants_of_obligations import NOTHING_IS_FORGOTTEN
from caas.billing_database.invariants_of_reconciliation import RECONCILIATION
from caas.billing_database.invariants_of_rows import HISTORY_INVARIANTS, ROWS
from caas.billing_database.invariants_of_sales import SALES
from caas.billing_database.invariants_of_settled_funds import SETTLED_FUNDS
from caas.billing_database.invariants_of_usage import USAGE
from caas.billing_database.schema_catalog import SCHEMA
from caas.rules.compared_relations import AGREEING
from caas.rules.order_states import VEHICLE_OF


class Invariant(msgspec.Struct, frozen=True):
    """What must hold, and the query that returns the rows that violate it.

    The text names the keys by which it can be restricted (`invariant_scopes`).
    """

    name: str
    sentence: str
    text: str

    @property
    def query(self) -> str:
        """The query over everything."""
        return scoped(self.text, EVERYTHING)[0]


_SIDE_BY_SIDE = ", ".join(f"('{order}', '{vehicle}')" for order, vehicle in VEHICLE_OF.items())
_HOLDING = ", ".join(f"'{order}'" for order in VEHICLE_OF)

INVARIANTS: Final = (
    Invariant(
        "no_capture_without_delivery",
        "A captured service payment has a verified acknowledgement from its vehicle.",
        """select p.id from payments p left join service_orders o on o.id = p.subject
            where within(p.id) and p.type = 'service' and p.captured_amount > 0
            and not exists (select from resolution_claims c
              join delivery_evidence e on e.id = c.evidence_id and e.subject = p.id
             where c.payment_id = p.id and c.kind = 'capture' and e.proves_delivery
               and e.kind = 'vehicle_acknowledgement'
               and (o.id is null or (o.vin, o.service) = (e.vin, e.service)))""",
    ),
    Invariant(
        "capture_or_void_never_both",
        "An authorization is captured or voided, never both, and matches its recorded claim.",
        """select p.id from payments p left join resolution_claims c on c.payment_id = p.id
            where within(p.id)
              and (p.state = 'Voided' and (c.kind = 'capture' or p.captured_amount > 0)
                   or p.captured_amount > 0 and c.kind is distinct from 'capture')""",
    ),
    Invariant(
        "one_live_payment",
        "A subject has at most one live payment per type.",
        """select min(id::text) from payments where live and within(subject)
            group by subject, type having count(*) > 1""",
    ),
    *(
        Invariant(*invariant)
        for invariants in (
            MONEY,
            TAXES,
            DOCUMENTS,
            LEDGER,
            COPIES,
            INVOICES,
            USAGE,
            DELIVERY,
            RECONCILIATION,
            SETTLED_FUNDS,
            DUAL_CONTROL,
            ACCESS,
            SALES,
            HISTORY_INVARIANTS,
            ROWS,
            SCHEMA,
        )
        for invariant in invariants
    ),
    Invariant(*NOTHING_IS_FORGOTTEN),
    Invariant(
        "state_is_fold_of_events",
        "A payment's state results from its events, and every transition is legal.",
        """select p.id from payments p left join payment_events e
             on e.payment_id = p.id and e.seq = p.version
            where within(p.id)
              and (e.to_state is distinct from p.state or e.hash is distinct from p.event_hash)
           union all
           select e.payment_id from payment_events e left join payments p on p.id = e.payment_id
            where within(e.payment_id) and (p.id is null or e.seq > p.version)
           union all
           select e.payment_id from payment_events e left join payment_events b
             on b.payment_id = e.payment_id and b.seq = e.seq - 1
            where within(e.payment_id) and (e.from_state is distinct from b.to_state
               or (e.seq > 1 and not exists (select from payment_transitions a
                where a.event = e.event
                  and a.from_state = e.from_state and a.to_state = e.to_state)))""",
    ),
    Invariant(
        "event_chain_holds",
        "Every event's hash is computed from the event and the previous hash.",
        """select e.payment_id from payment_events e left join payment_events b
             on b.payment_id = e.payment_id and b.seq = e.seq - 1
            where within(e.payment_id)
              and e.hash <> event_digest(coalesce(b.hash, ''::bytea), e.payment_id, e.seq, e.event,
                                         e.to_state, e.source, e.facts, e.at)""",
    ),
    Invariant(
        "one_transaction_per_payment",
        "Any gateway transaction other than a payment's own is voided, refunded or being undone.",
        """select e.payment_id from payment_events e
            where within(e.payment_id) and e.event = 'Late outcome' and e.source like 'late:%'
              and e.source <> 'late:settled'  -- its own: a line or a case is about it
              and not exists (select from payment_events u where u.payment_id = e.payment_id
                               and u.source = 'undone:' || substr(e.source, 6))
              and not exists (select from jobs o
                               where o.kind = 'compensate'
                                 and o.payload->>'transaction' = substr(e.source, 6))
              and not exists (select from cases c
                               where c.subject = e.payment_id and c.status = 'open')
           union all
           select p.id from payments p join payment_events e on e.payment_id = p.id
              and e.source = 'late:' || p.gateway_transaction_id
            where within(p.id) and p.state not in ('Failed', 'Voided', 'SettlementFailed')""",
    ),
    Invariant(
        "one_owner_per_vehicle",
        "A vehicle is in stock (sin asignar) or assigned to exactly one order (decision 20).",
        """select v.vin from vehicles v
            where within(v.vin)
              and ((select count(*) from vehicle_assignments a where a.vin = v.vin and a.active)
                   <> case when v.state = 'sin asignar' then 0 else 1 end
                or (v.state = 'sin asignar') <> (v.in_stock_since is not null))""",
    ),
    Invariant(
        "order_and_vehicle_states_match",
        "The states of an order and its vehicle match.",
        f"""select o.id from vehicle_assignments a join orders o on o.id = a.order_id
              join vehicles v on v.vin = a.vin
             where within(a.order_id) and a.active and (o.customer <> a.customer or o.vin <> a.vin
               or (o.state, v.state) not in ({_SIDE_BY_SIDE}, ('withdrawn', 'delivered')))
            union all
            select o.id from orders o where within(o.id) and o.vin is not null
               and o.state in ({_HOLDING})
               and not exists (select from vehicle_assignments a
                                where a.order_id = o.id and a.vin = o.vin and a.active)""",
    ),
    Invariant(
        "vehicles_are_paid_for",
        "An order with a vehicle has its payments, and no payment was captured without a vehicle.",
        f"""select o.id from orders o
             where within(o.id) and o.state in ({_HOLDING}) and not exists (
              select from payments p where p.subject = o.id and p.type = 'reservation'
                 and p.captured_amount > 0)
            union all
            select e.order_id from order_events e
             where within(e.order_id) and e.to_state = 'fully paid' and not exists (
              select from payments p where p.subject = e.order_id and p.type = 'final'
                 and p.captured_amount > 0)
            union all
            select p.id from payments p join orders o on o.id = p.subject
             where within(p.id) and p.captured_amount > 0 and not exists (
               select from order_events e where e.order_id = o.id and e.to_state =
                 case p.type when 'reservation' then 'reserved' else 'fully paid' end)""",
    ),
    Invariant(
        "only_a_decline_loses_a_reservation",
        "A lost reservation has a final payment that failed by a decline (decisions 19, 280).",
        """select o.id from orders o
            where within(o.id) and o.state = 'reservation lost' and not exists (
             select from payments p where p.subject = o.id and p.type = 'final'
                and p.state = 'Failed' and is_decline(p.decline_code))""",
    ),
    Invariant(
        "only_a_decline_cancels_a_subscription",
        "A subscription was cancelled for a payment that was declined, never confirmed, or rejected"
        " by the bank (decision 280).",
        """select e.subscription from subscription_events e
            where within(e.subscription) and e.event = 'Mark Subscription Cancelled'
              and not may_cancel(e.payment_id)""",
    ),
    Invariant(
        "settlement_reports_add_up",
        "The lines of a report add up to its recorded totals (decision 33).",
        """select r.id from settlement_reports r left join (
             select report_id, count(*) as lines, sum(gross) as gross, sum(net) as net
               from settlement_lines where within(report_id) group by report_id) l
               on l.report_id = r.id
            where within(r.id) and (r.lines_stored, r.gross_stored, r.net_stored) is distinct from
                  (coalesce(l.lines, 0), coalesce(l.gross, 0), coalesce(l.net, 0))""",
    ),
    Invariant(
        "differences_are_discrepancies",
        "Every settlement line matches our records or has a discrepancy (decision 35).",
        f"""select l.report_id || ':' || l.line_no from settlement_lines l
            where within(l.report_id) and l.class not in {tuple(sorted(AGREEING))}
              and not exists (
              select from discrepancies d
               where d.report_id = l.report_id and d.line_no = l.line_no)""",
    ),
    Invariant(
        "discrepancy_state_is_fold_of_events",
        "A discrepancy's state results from its events.",
        """select d.id from discrepancies d left join discrepancy_events e
             on e.discrepancy_id = d.id and e.seq = d.version
            where within(d.id) and (e.status is distinct from d.status
               or exists (select from discrepancy_events l
                           where l.discrepancy_id = d.id and l.seq > d.version))""",
    ),
    Invariant(
        "sealed_days_are_resolved",
        "A sealed day has no unresolved discrepancy.",
        """select d.day from reconciliation_days d join discrepancies o
             on o.gateway = d.gateway and o.day = d.day
            where d.sealed_at is not null and o.status <> 'resolved'""",
    ),
    Invariant(*erasure_rows.THE_ERASED),
    Invariant(
        "transitions_match_the_rules",
        "The database has exactly the state transitions and refusal codes of the rules.",
        schema_catalog.DIFFER,
    ),
    Invariant(
        "guards_are_enabled",
        "Every trigger and constraint of the schema exists, is enabled and is unchanged.",
        schema_catalog.AWAY,
    ),
)
EVERY_MESSAGE_IS_SIGNED: Final = Invariant(
    "acknowledgements_are_signed",
    "Every accepted acknowledgement has a valid signature of its vehicle.",
    schema_catalog.ACKNOWLEDGED,
)
NO_CARD_NUMBER: Final = Invariant("no_card_number", "No text column contains a card number.", "")
EVERY_INVARIANT: Final = (*INVARIANTS, EVERY_MESSAGE_IS_SIGNED, NO_CARD_NUMBER)
"""The last two cannot be checked by a query alone; `self_check` implements them."""

ONLY_AS_A_WHOLE: Final = frozenset({
    "growing_tables_match_their_checksums", "counted_rows_exist", "leaves_are_complete",
    "idempotency_keys_match_their_payments", "no_usage_is_unbilled", "runs_count_their_invoices",
    "provider_rows_are_posted_once", "provider_lines_sum_to_zero",
})  # fmt: skip
"""Invariants that compare a large table with itself or with a sum: they are checked at night."""
ONCE_A_ROW: Final = frozenset({EVERY_MESSAGE_IS_SIGNED.name, NO_CARD_NUMBER.name})
"""Invariants of single rows that never change: each is checked when written, all now and then."""
