-- What an order and a subscription were made at is stated by their first event as well, and a
-- month's run says in which time zone its days were counted: what stands in one place only can be
-- changed without contradicting anything.
--
-- Rule a change must keep: a column of an order or a subscription that never changes is a term.

create function order_terms(o orders) returns jsonb language sql immutable as
$$ select jsonb_build_object('customer', o.customer, 'model', o.model, 'dealership', o.dealership,
     'deposit', o.deposit, 'price', o.price, 'currency', o.currency) $$;

create function subscription_terms(s subscriptions) returns jsonb language sql immutable as
$$ select jsonb_build_object('customer', s.customer, 'vin', s.vin, 'service', s.service,
     'currency', s.currency, 'monthly_fee', s.monthly_fee, 'metered', s.metered) $$;

alter table order_events add column terms jsonb;
alter table subscription_events add column terms jsonb;
alter table billing_runs add column zone text;

create or replace function write_order_move() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'awaiting reservation payment' or new.version <> 1 then
      raise exception 'order % does not begin awaiting its reservation payment', new.id
        using errcode = 'check_violation';
    end if;
    insert into order_events
    values (new.id, 1, new.event, null, new.state, new.created_at, order_terms(new));
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from order_arrows a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of order % from % to % by "%"',
      new.id, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into order_events values
    (new.id, new.version, new.event, old.state, new.state, new.updated_at);
  return null;
end $$;

create or replace function write_subscription_move() returns trigger language plpgsql
security definer set search_path = caas, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'verifying payment method' or new.version <> 1 then
      raise exception 'subscription % does not begin with its payment method', new.id
        using errcode = 'check_violation';
    end if;
    insert into subscription_events
    values (new.id, 1, new.event, null, new.state, new.moved_for, new.created_at,
            subscription_terms(new));
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from subscription_arrows a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of subscription % from % to % by "%"',
      new.id, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into subscription_events values
    (new.id, new.version, new.event, old.state, new.state, new.moved_for, new.updated_at);
  return null;
end $$;

alter table order_events disable trigger append_only;
update order_events e set terms = order_terms(o) from orders o
 where o.id = e.order_id and e.version = 1;
alter table order_events enable always trigger append_only;
alter table subscription_events disable trigger append_only;
update subscription_events e set terms = subscription_terms(s) from subscriptions s
 where s.id = e.subscription and e.version = 1;
alter table subscription_events enable always trigger append_only;
