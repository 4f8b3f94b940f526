-- What stands in one place only is counted and summed in the commit that writes it, so that a row
-- that is changed, added or removed past the triggers contradicts the sums of its table (law
-- `tables_are_as_written`).
--
-- Rules a change must keep: the triggers do not fire for a session that says it replicates, so that
-- what such a session changes is found; a table that changes its columns is summed anew by
-- `keep_checksum`; no table of the one-time purchase or of the webhook is summed here.

-- Rows of a table, and the sums of their digests: `fixed` of the columns that never change,
-- `moving` of the others. Sessions write to slots of their own and do not wait for each other.
create table table_checksums (
  of_table text not null,
  slot integer not null,
  rows bigint not null,
  fixed numeric not null,
  moving numeric not null,
  primary key (of_table, slot)
) with (fillfactor = 50);

-- Sums a table anew, as it is: after its columns changed, or once what was wrong in it was mended.
create function sum_anew(p_table text) returns void language plpgsql as $$
begin
  execute format('lock table caas.%I in share row exclusive mode', p_table);
  delete from caas.table_checksums where of_table = p_table;
  execute format('insert into caas.table_checksums select %L, 0, count(*),'
    ' coalesce(sum(caas.fixed_checksum(r)), 0), coalesce(sum(caas.moving_checksum(r)), 0)'
    ' from caas.%I r', p_table, p_table);
end $$;

-- Sums a table from now on, and what is in it already. What is `p_removable` may lose rows.
create function keep_checksum(
  p_table text, p_fixed text[], p_removable boolean default false
) returns void language plpgsql as $$
declare v_fixed text; v_moving text; v_name text := 'sum_' || p_table;
begin
  select coalesce('hash_record_extended(row('
                  || string_agg('r.' || quote_ident(attname), ', ' order by attname)
                     filter (where attname = any (p_fixed)) || '), 0)', '0'),
         coalesce('hash_record_extended(row('
                  || string_agg('r.' || quote_ident(attname), ', ' order by attname)
                     filter (where attname <> all (p_fixed)) || '), 0)', '0')
    into v_fixed, v_moving from pg_attribute
   where attrelid = ('caas.' || p_table)::regclass and attnum > 0 and not attisdropped
     and attgenerated = '';
  execute format('create or replace function caas.fixed_checksum(r caas.%I) returns bigint'
    ' language sql immutable parallel safe as %L', p_table, 'select ' || v_fixed || '::bigint');
  execute format('create or replace function caas.moving_checksum(r caas.%I) returns bigint'
    ' language sql immutable parallel safe as %L', p_table, 'select ' || v_moving || '::bigint');
  execute format('create or replace function caas.%I() returns trigger language plpgsql'
    ' security definer set search_path = caas, pg_temp as %L', v_name, format($f$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(%2$s), 0), coalesce(sum(%3$s), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(%3$s), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(%2$s), 0), -coalesce(sum(%3$s), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values (%1$L, pg_backend_pid() %% 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $f$, p_table, v_fixed, v_moving));
  execute format('create or replace trigger checksum_of_inserted after insert on caas.%I'
    ' referencing new table as new_rows for each statement execute function caas.%I()',
    p_table, v_name);
  if v_moving <> '0' then
    execute format('create or replace trigger checksum_of_updated after update on caas.%I'
      ' referencing old table as old_rows new table as new_rows'
      ' for each statement execute function caas.%I()', p_table, v_name);
  end if;
  if p_removable then
    execute format('create or replace trigger checksum_of_deleted after delete on caas.%I'
      ' referencing old table as old_rows for each statement execute function caas.%I()',
      p_table, v_name);
  end if;
  perform sum_anew(p_table);
end $$;

select keep_checksum(of_table, string_to_array(fixed, ' '), of_table = 'billing_details') from (values
  -- people
  ('customers', 'id created_at dealership'),
  ('accounts', 'id created_at'),
  ('api_keys', 'id key_hash created_at account scopes customer dealership'),
  ('access_credentials', 'token_hash customer order_id expires_at created_at'),
  ('staff_links', 'token_hash created_at'),
  ('second_factors', 'id account'),
  ('recovery_codes', 'code_hash factor created_at'),
  ('audit_events', 'id type actor account subject address at'),
  -- what is on offer, and how it is taxed
  ('services', ''),
  ('vehicle_models', ''),
  ('billing_details', ''),
  ('dealership_markets', ''),
  ('tax_rates', 'id'),
  ('tax_settings', ''),
  -- what was sold and used
  ('orders', 'id customer model dealership deposit price currency created_at'),
  ('vehicles', 'vin model created_at'),
  ('vehicle_assignments', 'id vin order_id customer since'),
  ('subscriptions', 'id customer vin service currency monthly_fee metered created_at'),
  ('usage_records', 'subscription source_id unit quantity at recorded_at cancels'),
  ('usage_disputes', 'id subscription source_id because opened_by opened_at'),
  ('billing_runs', 'month series first_number started_at'),
  -- money that goes back, and what people decide and look at
  ('refunds', 'id payment_id amount currency reason requested_by created_at'),
  ('disputes', 'id payment_id claimed_currency currency reason origin opened_at'),
  ('deposit_decisions',
   'id payment_id decision note needs_second proposed_by proposed_at proposed_account'),
  ('outcome_decisions', 'id payment_id note proposed_by proposed_at proposed_account'),
  ('refund_decisions',
   'id payment_id amount reason term note needs_second proposed_by proposed_at proposed_account'),
  ('credit_note_decisions',
   'id invoice gross reason term proposed_by proposed_at proposed_account'),
  ('cases', 'id kind subject sentence facts opened_at')) as summed(of_table, fixed);
