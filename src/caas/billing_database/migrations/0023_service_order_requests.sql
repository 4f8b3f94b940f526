-- A service order remembers the request that placed it: the request made again, because its answer
-- was lost or its process died, finds its order and the reservation of its term.

alter table service_orders add column request_key bytea;
create unique index service_orders_of_request on service_orders (request_key)
  where request_key is not null;

drop function add_service_order(uuid, uuid, text, text, integer, bigint, text, double precision);
create function add_service_order(
  p_id uuid, p_customer uuid, p_vin text, p_service text, p_duration_days integer,
  p_amount bigint, p_currency text, p_lapses_after double precision, p_request_key bytea
) returns table (id uuid, amount bigint, created_at timestamptz, obstacle text, service_order uuid,
                 subscription uuid, ends_at timestamptz)
language plpgsql security definer set search_path = caas, pg_temp as $$
#variable_conflict use_column
declare
  v_id uuid := p_id; v_amount bigint := p_amount; v_at timestamptz := db_now();
  v_is_new boolean := true;
begin
  if p_request_key is not null then
    perform lock_entitlement(p_vin, p_service);
    select o.id, o.amount, o.created_at, false into v_id, v_amount, v_at, v_is_new
      from service_orders o where o.request_key = p_request_key;
    if not found then
      v_id := p_id; v_amount := p_amount; v_at := db_now(); v_is_new := true;
    end if;
  end if;
  return query
    select v_id, v_amount, v_at, r.* from reserve_term(
      p_vin, p_service, p_customer, v_id, null, p_duration_days, p_lapses_after) r;
  if found then
    return;
  end if;
  if v_is_new then
    insert into service_orders (id, customer, vin, service, duration_days, amount, currency,
        created_at, request_key)
    values (v_id, p_customer, p_vin, p_service, p_duration_days, p_amount, p_currency, v_at,
        p_request_key);
  end if;
  return query select v_id, v_amount, v_at, null::text, null::uuid, null::uuid, null::timestamptz;
end $$;
