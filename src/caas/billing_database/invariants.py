"""Invariants of the whole database: queries that must return no row (decision 42).

Rules a change must keep: an invariant only reads, and returns the rows that violate it; it is never
weakened to make a state pass: fix the state. Constraints and triggers reject violations at once;
invariants find those that occurred while a trigger was disabled.
"""

from dataclasses import dataclass
from typing import Final

from caas.billing_database import erasure_rows, schema_catalog
from caas.billing_database.invariants_of_access import ACCESS, DUAL_CONTROL
from caas.billing_database.invariants_of_copies import COPIES
from caas.billing_database.invariants_of_documents import DOCUMENTS, INVOICES, TAXES
from caas.billing_database.invariants_of_money import LEDGER, MONEY
from caas.billing_database.invariants_of_obligations import NOTHING_IS_FORGOTTEN
from caas.billing_database.invariants_of_reconciliation import RECONCILIATION
from caas.billing_database.invariants_of_rows import HISTORY_INVARIANTS, ROWS
from caas.billing_database.invariants_of_sales import SALES
from caas.billing_database.schema_catalog import SCHEMA
from caas.rules.compared_relations import AGREEING
from caas.rules.order_states import VEHICLE_OF


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must hold, and the query that returns the rows that violate it."""

    name: str
    sentence: str
    query: str


_SIDE_BY_SIDE = ", ".join(f"('{order}', '{vehicle}')" for order, vehicle in VEHICLE_OF.items())
_HOLDING = ", ".join(f"'{order}'" for order in VEHICLE_OF)

INVARIANTS: Final = (
    Invariant(
        "no_capture_without_delivery",
        "A captured service payment has a verified acknowledgement from its vehicle.",
        """select p.id from payments p left join service_orders o on o.id = p.subject
            where p.type = 'service' and p.captured_amount > 0
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
            where (p.state = 'Voided' and (c.kind = 'capture' or p.captured_amount > 0))
               or (p.captured_amount > 0 and c.kind is distinct from 'capture')""",
    ),
    Invariant(
        "one_live_payment",
        "A subject has at most one live payment per type.",
        """select min(id::text) from payments where live
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
            RECONCILIATION,
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
            where e.to_state is distinct from p.state or e.hash is distinct from p.event_hash
           union all
           select e.payment_id from payment_events e left join payments p on p.id = e.payment_id
            where p.id is null or e.seq > p.version
           union all
           select e.payment_id from payment_events e left join payment_events b
             on b.payment_id = e.payment_id and b.seq = e.seq - 1
            where e.from_state is distinct from b.to_state
               or (e.seq > 1 and not exists (select from payment_transitions a
                where a.event = e.event
                  and a.from_state = e.from_state and a.to_state = e.to_state))""",
    ),
    Invariant(
        "event_chain_holds",
        "Every event's hash is computed from the event and the previous hash.",
        """select e.payment_id from payment_events e left join payment_events b
             on b.payment_id = e.payment_id and b.seq = e.seq - 1
            where e.hash <> event_digest(coalesce(b.hash, ''::bytea), e.payment_id, e.seq, e.event,
                                         e.to_state, e.source, e.facts, e.at)""",
    ),
    Invariant(
        "one_transaction_per_payment",
        "Any gateway transaction other than a payment's own is voided, refunded or being undone.",
        """select e.payment_id from payment_events e
            where e.event = 'Late outcome' and e.source like 'late:%'
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
            where p.state not in ('Failed', 'Voided', 'SettlementFailed')""",
    ),
    Invariant(
        "one_owner_per_vehicle",
        "A vehicle is in stock (sin asignar) or assigned to exactly one order (decision 20).",
        """select v.vin from vehicles v
            where (select count(*) from vehicle_assignments a where a.vin = v.vin and a.active)
               <> case when v.state = 'sin asignar' then 0 else 1 end
               or (v.state = 'sin asignar') <> (v.in_stock_since is not null)""",
    ),
    Invariant(
        "order_and_vehicle_states_match",
        "The states of an order and its vehicle match.",
        f"""select o.id from vehicle_assignments a join orders o on o.id = a.order_id
              join vehicles v on v.vin = a.vin
             where a.active and (o.customer <> a.customer or o.vin <> a.vin
               or (o.state, v.state) not in ({_SIDE_BY_SIDE}, ('withdrawn', 'delivered')))
            union all
            select o.id from orders o where o.vin is not null
               and o.state in ({_HOLDING})
               and not exists (select from vehicle_assignments a
                                where a.order_id = o.id and a.vin = o.vin and a.active)""",
    ),
    Invariant(
        "vehicles_are_paid_for",
        "An order with a vehicle has its payments, and no payment was captured without a vehicle.",
        f"""select o.id from orders o where o.state in ({_HOLDING}) and not exists (
              select from payments p where p.subject = o.id and p.type = 'reservation'
                 and p.captured_amount > 0)
            union all
            select e.order_id from order_events e where e.to_state = 'fully paid' and not exists (
              select from payments p where p.subject = e.order_id and p.type = 'final'
                 and p.captured_amount > 0)
            union all
            select p.id from payments p join orders o on o.id = p.subject
             where p.captured_amount > 0 and not exists (
               select from order_events e where e.order_id = o.id and e.to_state =
                 case p.type when 'reservation' then 'reserved' else 'fully paid' end)""",
    ),
    Invariant(
        "only_a_decline_loses_a_reservation",
        "A lost reservation has a declined final payment (decision 19).",
        """select o.id from orders o where o.state = 'reservation lost' and not exists (
             select from payments p where p.subject = o.id and p.type = 'final'
                and p.state = 'Failed' and p.decline_code is not null)""",
    ),
    Invariant(
        "one_invoice_per_month",
        "A subscription has at most one invoice per month.",
        """select min(id::text) from invoices where kind = 'invoice'
            group by subscription, month having count(*) > 1""",
    ),
    Invariant(
        "no_gap_in_invoice_numbers",
        "Invoice numbers of a series are consecutive from one.",
        """select s.series from invoice_series s left join (
             select series, count(*) as n, max(number) as last from invoices group by series) i
             on i.series = s.series
            where coalesce(i.n, 0) <> s.next - 1 or coalesce(i.last, 0) <> s.next - 1""",
    ),
    Invariant(
        "every_invoice_has_its_subscription",
        "An invoice belongs to a subscription, and its credit notes to the same one.",
        """select i.id from invoices i left join subscriptions s on s.id = i.subscription
             left join invoices c on c.id = i.corrects
            where i.subscription is not null and s.customer is distinct from i.customer
               or i.corrects is not null and (c.subscription, c.month) is distinct from
                                             (i.subscription, i.month)""",
    ),
    Invariant(
        "usage_is_billed_as_recorded",
        "Billed usage equals recorded usage, and each record is on one invoice.",
        """select coalesce(billed.id, used.invoice) from (
             select i.id, l->>'unit' as unit, sum((l->>'quantity')::numeric) as quantity
               from invoices i cross join lateral jsonb_array_elements(i.lines) l
              where i.kind = 'invoice' and l->>'kind' = 'metered usage' group by 1, 2) billed
             full join (
             select invoice, unit, sum(quantity) as quantity from usage_records
              where invoice is not null group by 1, 2 having sum(quantity) <> 0) used
               on used.invoice = billed.id and used.unit = billed.unit
            where billed.quantity is distinct from used.quantity
           union all
           select u.subscription from usage_records u left join invoices i on i.id = u.invoice
            where u.invoice is not null and i.subscription is distinct from u.subscription""",
    ),
    Invariant(
        "usage_is_cancelled_in_full",
        "A usage cancellation reverses its record in full, and both are billed or neither.",
        """select c.subscription::text || ' ' || c.source_id from usage_records c
             left join usage_records u on u.subscription = c.subscription
                                      and u.source_id = c.cancels
            where c.cancels is not null
              and ((u.quantity, u.unit, u.at) is distinct from (-c.quantity, c.unit, c.at)
                   or u.invoice is distinct from c.invoice)""",
    ),
    Invariant(
        "disputed_usage_is_not_billed",
        "No invoice bills usage while it is disputed.",
        """select d.id from usage_disputes d
             join usage_records u on u.subscription = d.subscription and u.source_id = d.source_id
             join invoices i on i.id = u.invoice
            where i.issued_at >= d.opened_at
              and (d.ended_at is null or i.issued_at < d.ended_at)""",
    ),
    Invariant(
        "no_usage_is_unbilled",
        "Usage of a billed month is on an invoice or has an open case.",
        """with last as (
             select month, started_at from billing_runs where finished_at is not null
              order by month desc limit 1)
           select u.subscription::text || ' ' || u.source_id from last r
             join usage_records u on u.invoice is null and u.cancels is null
              and u.recorded_at < r.started_at and u.at < to_date(r.month, 'YYYY-MM')
             join subscriptions s on s.id = u.subscription and s.activated_at <= u.at
              and (least(s.cancelled_at, s.deactivated_at) > u.at
                   or least(s.cancelled_at, s.deactivated_at) is null)
              and coalesce(s.cancelled_because, 'customer') = 'customer'
            where not exists (select from usage_records c where c.subscription = u.subscription
                                 and c.cancels = u.source_id)
              and not exists (select from usage_disputes d where d.subscription = u.subscription
                  and d.source_id = u.source_id
                  and (d.ended_at is null or d.ended_at > r.started_at))
              and not exists (select from cases k where k.subject = s.id and k.status = 'open')""",
    ),
    Invariant(
        "every_invoice_is_charged",
        "After a completed billing run, every invoice with an amount has a payment.",
        """select i.id from invoices i join billing_runs r on r.month = i.month
            where i.kind = 'invoice' and i.gross > 0 and r.finished_at is not null
              and not exists (select from payments p where p.subject = i.id)""",
    ),
    Invariant(
        "written_off_invoices_are_not_charged",
        "Nothing was charged for an invoice whose payment finally failed (decision 26).",
        """select w.invoice from written_off_invoices w join payments p on p.subject = w.invoice
            where w.because = 'payment failed' and p.captured_amount > 0""",
    ),
    Invariant(
        "subscriptions_are_activated_by_their_vehicle",
        "An active subscription has a verified activation acknowledgement from its vehicle.",
        """select s.id from subscriptions s where s.activated_at is not null and not exists (
             select from delivery_evidence e join ota_commands k on k.command_id = e.command_id
              where e.id = s.activation_evidence and e.proves_delivery
                and k.subject = s.id and k.action = 'activate')""",
    ),
    Invariant(
        "terms_never_overlap",
        "Terms of the same service and vehicle never overlap.",
        """select a.id from entitlement_terms a join entitlement_terms b
              on b.entitlement = a.entitlement and b.id <> a.id
            where a.state in ('activating', 'granted', 'ended')
              and b.state in ('activating', 'granted', 'ended')
              and tstzrange(a.starts_at, coalesce(a.ends_at, 'infinity'))
                  && tstzrange(b.starts_at, coalesce(b.ends_at, 'infinity'))""",
    ),
    Invariant(
        "every_term_is_paid_for",
        "Every granted term has a captured payment or an active subscription, and vice versa.",
        """select t.id from entitlement_terms t left join payments p on p.id = t.payment_id
             left join subscriptions s on s.id = t.subscription
            where t.state = 'granted' and coalesce(p.captured_amount, 0) = 0
              and s.state is distinct from 'active'
            union all
            select t.id from entitlement_terms t join payments p on p.id = t.payment_id
            where t.state in ('granted', 'ended')
              and (p.subject <> t.service_order or p.type <> 'service')
            union all
            select p.id from payments p
            where p.type = 'service' and p.captured_amount > 0
              and exists (select from service_orders o where o.id = p.subject)
              and not exists (select from entitlement_terms t
                               where t.payment_id = p.id and t.state in ('granted', 'ended'))
            union all
            select s.id from subscriptions s
            where s.state = 'active' and not exists (
              select from entitlement_terms t where t.subscription = s.id and t.state = 'granted')
            union all
            select t.id from entitlement_terms t
            where t.state = 'granted' and t.service_order is not null
              and t.ends_at - t.starts_at <> make_interval(secs => t.duration_days * 86400.0)""",
    ),
    Invariant(
        "refunded_terms_have_ended",
        "A voided or fully refunded payment has no running term, unless a decision keeps it.",
        """select t.id from entitlement_terms t join payments p on p.id = t.payment_id
            where p.state = 'Voided' and t.state in ('activating', 'granted')
              and not exists (select from resolution_claims c
                               where c.payment_id = p.id and c.kind = 'capture')
            union all
            select t.id from entitlement_terms t join refunds r on r.payment_id = t.payment_id
            where t.state = 'granted' and coalesce(t.ends_at, 'infinity') > db_now()
              and r.state <> 'failed'
              and not exists (select from entitlement_changes c where c.term = t.id and c.kept)
            group by t.id, t.payment_id
           having sum(r.amount) >= (select captured_amount from payments where id = t.payment_id)
            union all
            select t.id from entitlement_terms t join subscriptions s on s.id = t.subscription
            where t.state in ('pending', 'activating', 'granted')
              and s.state in ('cancelled', 'not activated', 'payment method refused')""",
    ),
    Invariant(
        "vehicles_match_their_entitlements",
        "A vehicle's confirmed state matches its entitlements, or has a job or an open case.",
        """select e.id from entitlements e left join desired_state(e.id) d on true
            where case when coalesce(d.on_, false)
                       then not coalesce(e.reported_on, false)
                            or coalesce(e.reported_until, 'infinity')
                               is distinct from coalesce(d.until, 'infinity')
                       else coalesce(e.reported_on, false)
                            and coalesce(e.reported_until, 'infinity') > db_now() end
              and not exists (select from jobs o where o.paused_at is null
                and (o.subject = e.id or o.kind = 'activate' and o.subject = d.subject))
              and not exists (select from cases c where c.status = 'open' and c.subject in (
                select e.id union all
                select coalesce(t.payment_id, t.subscription) from entitlement_terms t
                 where t.entitlement = e.id))""",
    ),
    Invariant(
        "settlement_reports_add_up",
        "The lines of a report add up to its recorded totals (decision 33).",
        """select r.id from settlement_reports r left join (
             select report_id, count(*) as lines, sum(gross) as gross, sum(net) as net
               from settlement_lines group by report_id) l on l.report_id = r.id
            where (r.lines_stored, r.gross_stored, r.net_stored) is distinct from
                  (coalesce(l.lines, 0), coalesce(l.gross, 0), coalesce(l.net, 0))""",
    ),
    Invariant(
        "differences_are_discrepancies",
        "Every settlement line matches our records or has a discrepancy (decision 35).",
        f"""select l.report_id || ':' || l.line_no from settlement_lines l
            where l.class not in {tuple(sorted(AGREEING))} and not exists (
              select from discrepancies d
               where d.report_id = l.report_id and d.line_no = l.line_no)""",
    ),
    Invariant(
        "discrepancy_state_is_fold_of_events",
        "A discrepancy's state results from its events.",
        """select d.id from discrepancies d left join discrepancy_events e
             on e.discrepancy_id = d.id and e.seq = d.version
            where e.status is distinct from d.status
               or exists (select from discrepancy_events l
                           where l.discrepancy_id = d.id and l.seq > d.version)""",
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
        "The database allows exactly the state transitions that the rules allow.",
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
