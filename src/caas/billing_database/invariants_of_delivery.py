"""Invariants of delivery: terms, vehicle commands, acknowledgements and the claims they allow.

A term is paid for and matches its sale; a vehicle's state matches its terms and its commands.

Rule a change must keep: what lets a payment be captured is compared with the vehicle's own word.
"""

from typing import Final

DELIVERY: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "subscriptions_are_activated_by_their_vehicle",
        "An active subscription has a verified activation acknowledgement from its vehicle.",
        """select s.id from subscriptions s
            where within(s.id) and s.activated_at is not null and not exists (
             select from delivery_evidence e join ota_commands k on k.command_id = e.command_id
              where e.id = s.activation_evidence and e.proves_delivery
                and k.subject = s.id and k.action = 'activate')""",
    ),
    (
        "terms_never_overlap",
        "Terms of the same service and vehicle never overlap.",
        """select a.id from entitlement_terms a join entitlement_terms b
              on b.entitlement = a.entitlement and b.id <> a.id
            where within(a.entitlement) and a.state in ('activating', 'granted', 'ended')
              and b.state in ('activating', 'granted', 'ended')
              and tstzrange(a.starts_at, coalesce(a.ends_at, 'infinity'))
                  && tstzrange(b.starts_at, coalesce(b.ends_at, 'infinity'))""",
    ),
    (
        "every_term_is_paid_for",
        "Every granted term has a captured payment or an active subscription, and vice versa.",
        """select t.id from entitlement_terms t left join payments p on p.id = t.payment_id
             left join subscriptions s on s.id = t.subscription
            where within(t.id) and t.state = 'granted' and coalesce(p.captured_amount, 0) = 0
              and s.state is distinct from 'active'
            union all
            select t.id from entitlement_terms t join payments p on p.id = t.payment_id
            where within(t.id) and t.state in ('granted', 'ended')
              and (p.subject <> t.service_order or p.type <> 'service')
            union all
            select p.id from payments p
            where within(p.id) and p.type = 'service' and p.captured_amount > 0
              and exists (select from service_orders o where o.id = p.subject)
              and not exists (select from entitlement_terms t
                               where t.payment_id = p.id and t.state in ('granted', 'ended'))
            union all
            select s.id from subscriptions s
            where within(s.id) and s.state = 'active' and not exists (
              select from entitlement_terms t where t.subscription = s.id and t.state = 'granted')
            union all
            select t.id from entitlement_terms t
            where within(t.id) and t.state = 'granted' and t.service_order is not null
              and t.ends_at - t.starts_at <> make_interval(secs => t.duration_days * 86400.0)""",
    ),
    (
        "refunded_terms_have_ended",
        "A voided or fully refunded payment has no running term, unless a decision keeps it.",
        """select t.id from entitlement_terms t join payments p on p.id = t.payment_id
            where within(t.id) and p.state = 'Voided' and t.state in ('activating', 'granted')
              and not exists (select from resolution_claims c
                               where c.payment_id = p.id and c.kind = 'capture')
            union all
            select t.id from entitlement_terms t join refunds r on r.payment_id = t.payment_id
            where within(t.id) and t.state = 'granted'
              and coalesce(t.ends_at, 'infinity') > db_now()
              and r.state <> 'failed'
              and not exists (select from entitlement_changes c where c.term = t.id and c.kept)
            group by t.id, t.payment_id
           having sum(r.amount) >= (select captured_amount from payments where id = t.payment_id)
            union all
            select t.id from entitlement_terms t join subscriptions s on s.id = t.subscription
            where within(t.id) and t.state in ('pending', 'activating', 'granted')
              and s.state in ('cancelled', 'not activated', 'payment method refused')""",
    ),
    (
        "vehicles_match_their_entitlements",
        "A vehicle's confirmed state matches its entitlements, or has a job or an open case.",
        """select e.id from entitlements e left join desired_state(e.id) d on true
            where within(e.id) and case when coalesce(d.on_, false)
                       then not coalesce(e.reported_on, false)
                            or coalesce(e.reported_until, 'infinity')
                               is distinct from coalesce(d.until, 'infinity')
                       else coalesce(e.reported_on, false)
                            and coalesce(e.reported_until, 'infinity') > db_now() end
              and not exists (select from jobs o where o.paused_at is null and o.subject = e.id)
              and not exists (select from jobs o where o.paused_at is null
                and o.kind = 'activate' and o.subject = d.subject)
              and not exists (select from cases c where c.status = 'open' and c.subject = e.id)
              and not exists (select from entitlement_terms t join cases c
                  on c.subject = coalesce(t.payment_id, t.subscription) and c.status = 'open'
                where t.entitlement = e.id)""",
    ),
    (
        "acknowledgements_match_their_command",
        "An acknowledgement matches its command, and a command its purchase and entitlement.",
        """select v.id from delivery_evidence v
             left join ota_commands k on k.command_id = v.command_id
            where within(v.id) and v.verified and v.kind = 'vehicle_acknowledgement'
              and (k.subject, k.action, k.epoch, k.vin, k.service) is distinct from
                  (v.subject, v.action, v.epoch, v.vin, v.service)
           union all
           select k.command_id from ota_commands k
             left join payments p on p.id = k.subject
             left join service_orders o on o.id = p.subject
             left join subscriptions s on s.id = k.subject
            where within(k.subject) and (o.id is not null or s.id is not null)
              and (k.vin, k.service, k.purpose) is distinct from
                  (coalesce(s.vin, o.vin), coalesce(s.service, o.service),
                   case when s.id is null then 'service payment' else 'subscription' end)
           union all
           select e.id from entitlements e join ota_commands k on k.command_id = e.last_command
            where within(e.id) and (k.vin, k.service) is distinct from (e.vin, e.service)""",
    ),
    (
        "reported_states_are_the_newest",
        "An entitlement has its newest command and the state that its newest confirmation set.",
        """select e.id from entitlements e
             left join ota_commands k on k.command_id = e.last_command
             cross join lateral (
               select max(n.epoch) as newest, max(n.epoch) filter (where v.id is not null) as epoch,
                      (array_agg(n.valid_until order by n.epoch desc)
                        filter (where v.id is not null))[1] as until
                 from (select p.id from entitlement_terms t
                         join payments p on p.subject = t.service_order
                        where t.entitlement = e.id
                       union all
                       select t.subscription from entitlement_terms t
                        where t.entitlement = e.id) s
                 join ota_commands n on n.subject = s.id
                 left join delivery_evidence v
                   on v.command_id = n.command_id and v.subject = n.subject and v.verified
                  and v.status = 'SUCCEEDED' and v.kind = 'vehicle_acknowledgement') n
            where within(e.id)
              and (e.last_command is not null and k.command_id is null
                or n.newest > coalesce(k.epoch, 0)
                or n.epoch is not null
                   and (e.reported_epoch, e.reported_until) is distinct from (n.epoch, n.until))""",
    ),
    (
        "claims_match_their_payment",
        "A capture or void claim matches its payment's type and its recorded evidence.",
        """select c.payment_id from resolution_claims c left join payments p on p.id = c.payment_id
             left join delivery_evidence v on v.id = c.evidence_id
            where within(c.payment_id) and (p.type is distinct from c.payment_type
               or c.kind = 'void' and c.evidence_id is not null
               or c.kind = 'void' and c.evidence_kind is not null
               or c.kind = 'capture' and c.reason not in ('delivered', c.evidence_kind)
               or c.kind = 'capture' and (v.subject, v.kind, v.proves_delivery) is distinct from
                  (c.payment_id, c.evidence_kind, c.proves_delivery))
           union all
           select v.id from delivery_evidence v left join payments p on p.id = v.subject
            where within(v.id) and v.kind <> 'vehicle_acknowledgement'
              and p.type is distinct from case v.kind
              when 'reservation_recorded' then 'reservation'
              when 'order_confirmed' then 'final' else 'subscription' end
           union all
           select v.id from delivery_evidence v left join payments p on p.id = v.subject
             left join invoices i on i.id = p.subject
            where within(v.id) and v.kind <> 'vehicle_acknowledgement'
              and ((v.action, v.epoch, v.signature, v.status) is distinct from
                   (null, null, null, 'SUCCEEDED')
                or (v.command_id, v.vin, v.service) is distinct from (i.id, i.vin, i.service))
           union all
           select e.payment_id from payment_events e
             left join resolution_claims c on c.payment_id = e.payment_id
            where within(e.payment_id) and e.event in ('Initiate settlement', 'Void requested')
              and ((c.kind, c.claimed_at) is distinct from
                   (case e.event when 'Void requested' then 'void' else 'capture' end, e.at)
                or c.kind = 'void' and c.reason is distinct from e.facts->>'reason')""",
    ),
    (
        "terms_match_their_sale",
        "A term has the customer, vehicle, service and duration that were sold.",
        """select t.id from entitlement_terms t
             left join entitlements e on e.id = t.entitlement
             left join service_orders o on o.id = t.service_order
             left join subscriptions s on s.id = t.subscription
            where within(t.id) and (t.customer, e.vin, e.service, t.duration_days) is distinct from
                  (coalesce(o.customer, s.customer), coalesce(o.vin, s.vin),
                   coalesce(o.service, s.service), o.duration_days)
           union all
           select t.id from entitlement_terms t left join payments p on p.id = t.payment_id
            where within(t.id) and t.payment_id is not null
              and (p.subject is distinct from t.service_order or t.state = 'pending')
           union all
           select o.id from service_orders o
            where within(o.id)
              and not exists (select from entitlement_terms t where t.service_order = o.id)
              and exists (select from payments p where p.subject = o.id)
              and o.created_at > (select min(ran_at) from migrations)
           union all
           select s.id from subscriptions s
            where within(s.id)
              and not exists (select from entitlement_terms t where t.subscription = s.id)
              and s.created_at > (select min(ran_at) from migrations)
           union all
           select coalesce(t.id, c.term)
             from (select * from entitlement_terms where within(id)) t full join (
             select distinct on (term) term, state, starts_at, ends_at, because
               from entitlement_changes
              where within(term) and kept is null order by term, at desc) c
               on c.term = t.id
             left join service_orders o on o.id = t.service_order
             left join subscriptions s on s.id = t.subscription
            where c.term is null and t.state = 'ended'
                  and greatest(t.updated_at, o.created_at, s.created_at)
                      > (select min(ran_at) from migrations)
               or c.term is not null and (t.state, t.starts_at, t.ends_at, t.ended_because)
                  is distinct from (c.state, c.starts_at, c.ends_at, c.because)""",
    ),
)
