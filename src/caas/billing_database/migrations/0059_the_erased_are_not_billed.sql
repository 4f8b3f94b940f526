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
