-- Heads of the history (decision 118): what a Merkle tree over each append-only table comes to, once
-- a day. The leaves are kept, so that a head can be checked when its rows are elsewhere by then.

create table history_heads (
  head bigint primary key check (head > 0),
  body text not null,
  public_key text not null,
  signature text not null,
  made_at timestamptz not null
);

-- The leaves of a table in their order, some at a time: the keys of rows, and their digests one
-- after the other, over these columns. `head` is the first head that counts them.
create table history_leaves (
  of_table text not null,
  first_leaf bigint not null check (first_leaf >= 0),
  head bigint not null,
  columns text[] not null,
  keys text[] not null,
  digests bytea not null check (octet_length(digests) = 32 * cardinality(keys)),
  primary key (of_table, first_leaf)
);
create index history_leaves_of_head on history_leaves (of_table, head);

-- How far each tree has grown, so that it grows on without its leaves. Rows from before
-- `looked_from` are not looked for any more: one that appears there was not written in its time.
create table history_trees (
  of_table text primary key,
  size bigint not null check (size >= 0),
  peaks bytea[] not null,
  looked_from timestamptz not null
);

create trigger append_only before update or delete or truncate on history_heads
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on history_leaves
  for each statement execute function refuse_change();

-- A change of an entitlement had no name of its own.
alter table entitlement_changes add column id bigint generated always as identity primary key;

-- The day's rows are found by their time.
create index audit_events_in_time on audit_events using brin (at)
  with (pages_per_range = 32, autosummarize = on);
create index gateway_calls_in_time on gateway_calls using brin (asked_at)
  with (pages_per_range = 32, autosummarize = on);
create index invoices_in_time on invoices using brin (issued_at)
  with (pages_per_range = 32, autosummarize = on);
create index order_events_in_time on order_events using brin (at)
  with (pages_per_range = 32, autosummarize = on);
create index ota_commands_in_time on ota_commands using brin (created_at)
  with (pages_per_range = 32, autosummarize = on);
create index refunds_in_time on refunds using brin (created_at)
  with (pages_per_range = 32, autosummarize = on);
create index resolution_claims_in_time on resolution_claims using brin (claimed_at)
  with (pages_per_range = 32, autosummarize = on);
create index service_orders_in_time on service_orders using brin (created_at)
  with (pages_per_range = 32, autosummarize = on);
create index settlement_lines_in_time on settlement_lines using brin (at)
  with (pages_per_range = 32, autosummarize = on);
create index subscription_events_in_time on subscription_events using brin (at)
  with (pages_per_range = 32, autosummarize = on);
create index vehicle_events_in_time on vehicle_events using brin (at)
  with (pages_per_range = 32, autosummarize = on);
create index webhook_inbox_in_time on webhook_inbox using brin (received_at)
  with (pages_per_range = 32, autosummarize = on);
