-- Who knows a customer, who may be sold a service, and what is cleared when a customer is erased.
--
-- Rules a change must keep: naming a customer or a vehicle in a request makes neither the asker's;
-- a dealership knows whom it created and who paid a reservation there; a vehicle is a customer's from
-- its delivery until it is given back.

-- The dealership that created a customer; null when a subsystem did.
alter table customers add column dealership text check (length(dealership) between 1 and 120);

create function refuse_other_creator() returns trigger language plpgsql as $$
begin
  raise exception 'customer %: the dealership that created it never changes', old.id
    using errcode = 'check_violation';
end $$;
create trigger keeps_its_creator before update on customers for each row
  when (old.dealership is distinct from new.dealership) execute function refuse_other_creator();

-- An order was paid for once it was reserved: `is_paid_for` lets no other order become so.
create function dealership_knows(p_dealership text, p_customer uuid) returns boolean
language sql stable as $$
  select exists (select from caas.customers c where c.id = p_customer and c.dealership = p_dealership)
      or exists (select from caas.orders o
                   join caas.order_events e on e.order_id = o.id and e.to_state = 'reserved'
                  where o.customer = p_customer and o.dealership = p_dealership)
$$;

create function has_vehicle(p_customer uuid, p_vin text) returns boolean language sql stable as $$
  select exists (select from caas.vehicle_assignments a join caas.orders o on o.id = a.order_id
                  where a.vin = p_vin and a.customer = p_customer and a.active
                    and o.state = 'delivered')
$$;

-- Erasing. A customer buys nothing while being erased, and nothing afterwards: whoever writes an
-- order or a subscription waits for the erasure, and is refused after it.
create function check_not_erased() returns trigger language plpgsql as $$
declare v_id uuid;
begin
  perform from new_rows n join caas.customers c on c.id = n.customer for share of c;
  select n.id into v_id from new_rows n join caas.customers c on c.id = n.customer
   where c.erased_at is not null limit 1;
  if found then
    raise exception '% of %: its customer was erased', tg_table_name, v_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;
create trigger is_nobodys_who_was_erased after insert on orders
  referencing new table as new_rows for each statement execute function check_not_erased();
create trigger is_nobodys_who_was_erased after insert on subscriptions
  referencing new table as new_rows for each statement execute function check_not_erased();

-- A payment changes by a move; besides, what it was to be paid with, and from where, is taken out.
drop trigger changes_only_by_a_move on payments;
create trigger changes_only_by_a_move before update on payments for each row
  when ((new.version <> old.version + 1 or new.came_from is distinct from old.state
         or old.gateway_transaction_id is not null
         and new.gateway_transaction_id is distinct from old.gateway_transaction_id)
        and (new.payment_method is not null or new.return_url is not null
         or (new.state, new.came_from, new.outcome, new.version, new.event_hash, new.decline_code,
             new.gateway_transaction_id, new.hosted_page_url, new.capture_before,
             new.authorised_amount, new.captured_amount, new.settled_amount, new.refunded_amount,
             new.disputed_amount, new.updated_at)
            is distinct from
            (old.state, old.came_from, old.outcome, old.version, old.event_hash, old.decline_code,
             old.gateway_transaction_id, old.hosted_page_url, old.capture_before,
             old.authorised_amount, old.captured_amount, old.settled_amount, old.refunded_amount,
             old.disputed_amount, old.updated_at)))
  execute function refuse_rewrite();

drop trigger keeps_its_terms on subscriptions;
create trigger keeps_its_terms before update on subscriptions for each row
  when ((old.id, old.customer, old.vin, old.service, old.currency, old.monthly_fee, old.metered,
         old.created_at)
        is distinct from (new.id, new.customer, new.vin, new.service, new.currency,
         new.monthly_fee, new.metered, new.created_at)
     or old.activated_at is not null and (new.activated_at, new.activation_evidence)
        is distinct from (old.activated_at, old.activation_evidence)
     or old.deactivated_at is not null and new.deactivated_at is distinct from old.deactivated_at
     or old.cancelled_at is not null and new.cancelled_at is distinct from old.cancelled_at
     or old.payment_method <> new.payment_method
        and (new.event <> 'Payment method changed' or new.version = old.version)
        and (new.payment_method <> 'erased'
             or new.state in ('verifying payment method', 'activating', 'active')))
  execute function refuse_other_subscription();

-- Clears every copy of who a customer is and of what opened their account; the books stay.
create function clear_customer(p_customer uuid) returns void language sql security definer
set search_path = caas, pg_temp as $$
  update customers set name = null, email = null, erased_at = coalesce(erased_at, db_now())
   where id = p_customer;
  update access_credentials set used_at = db_now() where customer = p_customer and used_at is null;
  delete from sessions where account in (select a.id from accounts a where a.customer = p_customer);
  update accounts set disabled_at = coalesce(disabled_at, db_now()) where customer = p_customer;
  update api_keys set revoked_at = db_now() where customer = p_customer and revoked_at is null;
  update notifications set not_sent_because = 'the customer was erased',
         facts = case when facts ? 'access_url' then facts || '{"access_url": ""}' else facts end
   where audience = 'customer' and recipient = p_customer::text and sent_at is null
     and not_sent_because is null;
  update payments set payment_method = null, return_url = null
   where customer = p_customer and came_from is not null
     and (payment_method is not null or return_url is not null);
  update subscriptions set payment_method = 'erased'
   where customer = p_customer and payment_method <> 'erased'
     and state not in ('verifying payment method', 'activating', 'active')
$$;

-- Answers to who created a customer held the name and the address; they say where to look instead.
alter table idempotency_keys disable trigger answers_once;
update idempotency_keys
   set answer_body = convert_to(jsonb_build_object('links',
         convert_from(answer_body, 'UTF8')::jsonb->'links')::text, 'UTF8')
 where position('"erased_at"'::bytea in answer_body) > 0;
alter table idempotency_keys enable always trigger answers_once;

-- Other accounts of the same address that the same password opened at this sign-in: one person
-- whom two dealerships wrote down moves between them without signing in again.
alter table sessions add column also uuid[] not null default '{}' check (cardinality(also) <= 4);
