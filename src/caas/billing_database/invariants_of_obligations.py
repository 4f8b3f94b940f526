"""The invariant of obligations: everything still to be done has a job or an open case.

`OBLIGATIONS` lists for each task the query that shows it is outstanding, and the kinds of jobs that
perform it, so that a lost job is detected. Jobs that only speed something up (other gateway
webhooks, searches for duplicate transactions, extra probes, schedules that every worker start
recreates) are not obligations.

Rule a change must keep: a new kind of job belongs to an obligation or to `HINTS`, with the reason
why losing it is harmless.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from caas.billing_database.received_money import RECEIVED


class Obligation(msgspec.Struct, frozen=True):
    """An outstanding task: the query for (job subject, case subject), and the kinds of jobs."""

    name: str
    kinds: tuple[str, ...]
    query: str


# Disputes reported by the gateway, with every payment that each names.
_DISPUTES_REPORTED: Final = """select n.id, n.gateway, named_object(n.body) as dispute,
       p.id as payment
  from webhook_inbox n cross join lateral (
       select coalesce(n.body->'data'->'object'->>'payment_intent',
                       n.body->'data'->>'transaction_id') as transaction,
              coalesce(n.body->'data'->>'reference', '') as reference) reported
  join payments p on p.gateway = n.gateway and (p.gateway_transaction_id = reported.transaction
    or p.id = case when reported.reference ~ '^[0-9a-f-]{36}$' then reported.reference::uuid end)
 where n.body->>'type' in ('dispute.opened', 'dispute.won', 'dispute.lost',
                           'charge.dispute.created', 'charge.dispute.closed')"""

# The money of a payment that is neither refunded, nor promised, nor disputed. After a failed refund
# a person decides.
_LEFT: Final = f"""p.state in ('Capturing', 'Settled', 'Refunding', 'SettlementFailed')
   and {RECEIVED} > coalesce((select sum(r.amount) from refunds r
         where r.payment_id = p.id and r.state <> 'failed'), 0)
       + coalesce((select sum(d.amount) from disputes d
         where d.payment_id = p.id and d.state in ('opened', 'lost')), 0)
   and not exists (select from jobs w where w.kind = 'promised_refund'
         and w.payload->>'payment' = p.id::text)
   and not exists (select from cases c where c.subject = p.id and c.kind = 'refund_failed')"""

OBLIGATIONS: Final = (
    Obligation(
        "authorize", ("authorize", "probe"),
        "select id, id from payments where state in ('Initiated', 'Pending')",
    ),
    Obligation(
        "end the page of a withdrawn purchase", ("end_page",),
        """select p.id, p.id from payments p
            where p.state in ('Initiated', 'Pending') and p.hosted_page_url is not null
              and (exists (select from orders o where o.id = p.subject
                     and (o.state = 'withdrawn' or o.event = 'Withdrawal requested'))
                or exists (select from subscriptions s where s.id = p.subject and s.state in
                     ('cancelled', 'payment method refused', 'not activated')))""",
    ),
    Obligation(
        "deliver", ("activate",),
        """select p.id, p.id from payments p where p.state = 'Authorized'
              and not exists (select from resolution_claims c where c.payment_id = p.id)""",
    ),
    Obligation(
        "void", ("void", "probe"),
        """select p.id, p.id from payments p join resolution_claims c on c.payment_id = p.id
            where p.state = 'Authorized'""",
    ),
    Obligation(
        "capture", ("capture", "probe", "poll_settlement"),
        "select id, id from payments where state = 'Capturing'",
    ),
    Obligation(
        "refund", ("refund",),
        "select id, payment_id from refunds where state in ('waiting', 'sent')",
    ),
    Obligation(
        "apply a decision that nothing was charged", ("carry_out_outcome_decision",),
        """select p.id, p.id from outcome_decisions o join payments p on p.id = o.payment_id
            where o.state = 'agreed' and p.state = 'Pending' and p.outcome = 'unknown'
              and not exists (select from payment_events e where e.payment_id = p.id
                    and e.source like 'absent:%' and e.at >= o.decided_at)""",
    ),
    Obligation(
        "apply a refund decision", ("carry_out_refund_decision",),
        """select d.id, d.payment_id from refund_decisions d where d.state = 'agreed'
              and not exists (select from refunds r where r.payment_id = d.payment_id
                    and (r.amount, r.reason) = (d.amount, d.reason))
              and not exists (select from cases c where c.subject = d.payment_id
                    and c.kind = 'refund_decision_refused')""",
    ),
    Obligation(
        "place the factory order", ("place_factory_order",),
        "select id, id from orders where state = 'reserved'",
    ),
    Obligation(
        "register", ("register_vehicle",),
        "select id, id from orders where state = 'fully paid'",
    ),
    Obligation(
        "deliver the vehicle", ("schedule_delivery",),
        "select id, id from orders where state = 'registered'",
    ),
    Obligation(
        "refund an order", ("refund_order",),
        f"""select o.id, p.id from orders o join payments p on p.subject = o.id
             where o.state in ('withdrawn', 'factory refused') and {_LEFT}
            union all
            select o.id, p.id from orders o join payments p on p.subject = o.id
              join deposit_decisions d on d.payment_id = p.id
             where d.state = 'agreed' and d.decision = 'refund' and {_LEFT}""",
    ),
    Obligation(
        "decide on a held deposit", (),
        """select p.id, p.id from payments p join payment_events h on h.payment_id = p.id
              and h.event = 'Deposit held'
            where not exists (select from payment_events d
                               where d.payment_id = p.id and d.event = 'Deposit decided')""",
    ),
    Obligation(
        "end the services of a returned vehicle", ("end_ancillary_services",),
        """select o.id, o.id from orders o
             join order_events w on w.order_id = o.id and w.to_state = 'withdrawn'
             join entitlements e on e.vin = o.vin
             join entitlement_terms t on t.entitlement = e.id and t.customer = o.customer
              and t.reserved_at < w.at and t.state in ('pending', 'activating', 'granted')
              and coalesce(t.ends_at, 'infinity') > db_now()
            where o.state = 'withdrawn' and not exists (
              select from vehicle_assignments a where a.vin = o.vin and a.active
                 and a.customer = t.customer and a.order_id <> o.id)""",
    ),
    Obligation(
        "refund a withdrawn service", (),
        f"""select p.id, p.id from entitlement_terms t join payments p on p.id = t.payment_id
             where t.state = 'ended' and t.ended_because = 'desistimiento' and {_LEFT}""",
    ),
    # Money that disputes held when a refund ended the term, and that was returned since.
    Obligation(
        "refund money that a bank returned for an ended service", (),
        f"""select p.id, p.id from entitlement_terms t join payments p on p.id = t.payment_id
              join entitlement_changes c on c.term = t.id and c.state = 'ended' and c.kept is null
             where t.state = 'ended' and {_LEFT} and (
                   select coalesce(sum(then_.amount), 0) from disputes d cross join lateral (
                     select e.event, (e.facts->>'amount')::bigint as amount from payment_events e
                      where e.payment_id = p.id and e.facts->>'dispute' = d.id and e.at <= c.at
                      order by e.seq desc limit 1) then_
                    where d.payment_id = p.id and d.state in ('won', 'reversed')
                      and then_.event in ('Dispute opened', 'Dispute counted', 'Dispute lost'))
                 > (select coalesce(sum(r.amount), 0) from refunds r
                     where r.payment_id = p.id and r.created_at > c.at)
                 + (select coalesce(sum(d.amount), 0) from disputes d
                     where d.payment_id = p.id and d.state in ('opened', 'lost'))
            union all
            select p.id, p.id from entitlement_terms t join payments p on p.id = t.payment_id
             where t.state = 'ended' and {_LEFT}
               and not exists (select from refunds r where r.payment_id = p.id)
               and not exists (select from disputes d where d.payment_id = p.id)""",
    ),
    Obligation(
        "refund a credit note",
        ("refund_credit_note",),
        """select n.id, n.id from invoices n
            where n.kind = 'credit note' and n.refund is not null
              and not exists (select from refunds r where r.id = n.refund)
              and not exists (select from jobs w join invoices i on i.id = n.corrects
                               where w.kind = 'promised_refund' and w.payload->>'key' like
                                     '%' || n.id::text || '%')""",
    ),
    Obligation(
        "verify a payment method", ("verify_payment_method",),
        """select s.id, s.id from subscriptions s where s.state = 'verifying payment method'
              and not exists (select from payments p where p.subject = s.id and p.live)""",
    ),
    Obligation(
        "activate a subscription", ("activate",),
        "select id, id from subscriptions where state = 'activating'",
    ),
    Obligation(
        "collect a month", ("charge_month_again", "end_of_grace"),
        """select i.id, i.id from invoices i
             join billing_runs r on r.month = i.month and r.finished_at is not null
            where i.kind = 'invoice' and i.gross > 0
              and not exists (select from payments p where p.subject = i.id
                               and (p.live or p.captured_amount > 0))
              and not exists (select from written_off_invoices w where w.invoice = i.id)
              and i.gross > coalesce((select -sum(n.gross) from invoices n
                                       where n.corrects = i.id), 0)""",
    ),
    Obligation(
        "fail a month that the bank rejected", ("authorize",),
        """select p.id, p.id from payments p join invoices i on i.id = p.subject
            where p.state = 'SettlementFailed'
              and not exists (select from written_off_invoices w where w.invoice = i.id)""",
    ),
    Obligation(
        "complete a vehicle command", ("synchronize",),
        """select e.id, k.subject from entitlements e
             join ota_commands k on k.command_id = e.last_command
            where k.deadline > db_now()
              and not exists (select from delivery_evidence v where v.command_id = k.command_id)
              and not exists (select from jobs w
                    where w.kind = 'activate' and w.subject = k.subject and w.paused_at is null)""",
    ),
    Obligation(
        "send a notification", ("notify",),
        """select id, id from notifications where sent_at is null and not_sent_because is null""",
    ),
    Obligation(
        "notify that a service is active", ("notify_service_active",),
        """select p.id, p.id from resolution_claims c join payments p on p.id = c.payment_id
             join service_orders o on o.id = p.subject
            where c.kind = 'capture' and c.payment_type = 'service'
              and not exists (select from notifications n
                    where n.subject = c.payment_id and n.template = 'service_active')""",
    ),
    Obligation(
        "apply a partner webhook", ("apply_partner_webhook",),
        """select n.id, n.id from webhook_inbox n
             join vehicles v on v.vin = n.body->'data'->>'vin'
            where n.gateway = 'factory' and not v.finished
           union all
           select n.id, o.id from webhook_inbox n
             join orders o on o.delivery_id = n.body->'data'->>'delivery_id'
            where n.gateway = 'transport' and o.state = 'delivery scheduled'""",
    ),
    Obligation(
        "record a dispute reported by the gateway", ("apply_webhook",),
        f"""select t.id, t.payment from ({_DISPUTES_REPORTED}) t
             where not exists (select from disputes d where d.gateway = t.gateway
                                  and t.dispute in (d.id, d.gateway_dispute_id))
               and not exists (select from cases c where c.subject = t.payment and c.kind in
                     ('dispute_contradiction', 'late_outcome', 'late_outcome_not_undone',
                      'duplicate_transaction'))
               and not exists (select from jobs w where w.kind = 'compensate'
                                  and w.payload->>'payment' = t.payment::text)
               and not exists (select from jobs w
                                where w.kind = 'apply_webhook' and w.subject = t.id)""",
    ),
    Obligation(
        "apply a decision about a line", ("carry_out_resolution",),
        """select d.id, p.id from discrepancies d join payments p on p.id = d.payment_id
             left join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
            where d.status = 'resolved' and case
              when d.kind = 'partial_settlement' and d.resolution in ('accept_loss', 'write_off')
                then p.state = 'Capturing'
              when d.kind in ('delayed_settlement', 'missing_at_gateway')
                   and d.resolution in ('accept_loss', 'write_off')
                then p.state in ('Capturing', 'Settled', 'Refunding')
              when d.kind = 'chargeback' and d.resolution <> 'itself' and l.gross < 0
                then (select coalesce(sum(taken), 0) from disputed_amounts(p.id, l.currency))
                       < least(-l.gross, p.amount) end""",
    ),
    Obligation(
        "refund a withdrawn subscription", ("credit_withdrawn_subscription",),
        f"""select s.id, coalesce(i.last_payment, s.id)
             from subscriptions s
             join invoice_states i on i.subscription = s.id and within(i.subscription)
            where s.cancelled_because = 'withdrawal' and i.kind = 'invoice'
              and i.gross > 0 and i.credited < i.gross
              and (i.state in ('open', 'declined') and i.credited = 0
                   or i.state = 'paid' and exists (
                        select from payments p where p.id = i.last_payment and {_LEFT}))""",
    ),
    Obligation(
        "deliver events", ("deliver_events",),
        "select id, id from event_subscriptions where ended_at is null",
    ),
)  # fmt: skip

HINTS: Final[dict[str, str]] = {
    "bill_month": "invariant `schedules_are_complete` checks it; each worker start schedules it",
    "check_invariants": "as `bill_month`",
    "check_fraud_warnings": "each worker start schedules it; three days are listed each time",
    "check_payouts": "each worker start schedules it; ten days are compared each time",
    "compensate": "invariant `one_transaction_per_payment` checks it",
    "erase_at_gateways": "repeating the erasure schedules it again",
    "fit_disputes": "invariant `outgoing_money_is_in_rows` checks it",
    "forget_buyers": "each start schedules it; old data is deleted a day later",
    "forget_messages": "repeating the erasure schedules it again",
    "issue_documents": "each worker start schedules it; invariants of documents check each",
    "keep_head": "the next head contains the digest of this one",
    "late_settlement_line": "the line's discrepancy stays open",
    "look_for_siblings": "the settlement report shows a duplicate transaction",
    "make_head": "each worker start schedules it",
    "promised_refund": "its order, service or credit note is the obligation",
    "reconcile_daily": "as `bill_month`",
    "reconcile_hourly": "as `bill_month`",
    "remove_old_rows": "each worker start schedules it; old rows go a day later",
    "send_access_links": "requesting a link again sends one",
    "take_dropped_reports": "each worker start schedules it",
}
"""Kinds of jobs without an obligation, and why losing one is harmless."""


def _owed(obligation: Obligation) -> str:
    kinds = ", ".join(f"'{kind}'" for kind in obligation.kinds)
    return (
        f"select '{obligation.name}', array[{kinds}]::text[], o.job, o.about"
        f" from ({obligation.query}) o (job, about)"
    )


def forgotten(obligations: Iterable[Obligation]) -> str:
    """Return the query for what these obligations owe without a job or an open case.

    A pending vehicle return is no reason for a pending refund.
    """
    owed = " union all ".join(map(_owed, obligations))
    return f"""with owed (what, kinds, job, about) as ({owed})
    select o.what || ' ' || o.job from owed o
     where within(o.job) and not exists (select from jobs w where w.subject = o.job
                          and w.kind = any (o.kinds) and w.paused_at is null)
       and not exists (select from cases c
                        where c.status = 'open' and c.subject in (o.job, o.about)
                          and c.kind <> 'withdrawn_after_registration')"""


NOTHING_IS_FORGOTTEN: Final = (
    "obligations_have_a_job",
    "Every outstanding obligation has a job or an open case.",
    forgotten(OBLIGATIONS),
)
