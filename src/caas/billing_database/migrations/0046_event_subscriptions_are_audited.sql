-- Who makes and ends an event subscription is in the audit log, and what is in its table is summed.
alter table audit_events drop constraint audit_events_type_check,
  add constraint audit_events_type_check check (type in (
    'key made', 'key activated', 'key revoked', 'staff added', 'staff disabled', 'link made',
    'link used', 'sign-in ok', 'sign-in refused', 'sign-in slowed', 'password changed',
    'second factor enrolled', 'second factor used', 'second factor refused',
    'second factor reset', 'recovery code used', 'event subscription made',
    'event subscription ended'));

select keep_checksum('event_subscriptions',
                     array['id', 'url', 'types', 'secret', 'created_by', 'created_at']);
