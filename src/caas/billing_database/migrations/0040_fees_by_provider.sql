-- Fees are agreed with a provider: the format of its reports, built in or by a mapping; '*' is any.

alter table fee_terms
  add column provider text not null default '*'
    check (provider ~ '^(\*|[a-z0-9][a-z0-9_-]{0,39})$'),
  drop constraint fee_terms_pkey,
  add primary key (gateway, provider, method, kind, valid_from, kept_at);
