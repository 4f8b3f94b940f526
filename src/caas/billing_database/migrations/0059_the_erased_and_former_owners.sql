-- Nobody who was erased is billed for a month, whatever was decided about their use afterwards.
create function refuse_bill_of_erased() returns trigger language plpgsql as $$
begin
  raise exception 'customer % was erased and is not billed', new.customer
    using errcode = 'check_violation';
end $$;
create function is_erased(p_customer uuid) returns boolean language sql stable as
$$ select exists (select from caas.customers where id = p_customer and erased_at is not null) $$;
create trigger nobody_erased_is_billed before insert on invoices for each row
  when (new.kind = 'invoice' and new.subscription is not null and is_erased(new.customer))
  execute function refuse_bill_of_erased();

-- What a customer ordered and has not paid for stands in nobody's way once the vehicle is not theirs,
-- or they are nobody; paid afterwards, it is voided. Null as vehicle is every one.
create function cancel_pending_terms(p_customer uuid, p_vin text, p_because text) returns bigint
language sql security definer set search_path = caas, pg_temp as $$
  with over as (
    update entitlement_terms t
       set state = 'cancelled', ended_because = p_because, updated_at = db_now()
      from entitlements e
     where e.id = t.entitlement and t.customer = p_customer and (p_vin is null or e.vin = p_vin)
       and t.state = 'pending' and t.service_order is not null
    returning t.id
  )
  select count(*) from over
$$;
