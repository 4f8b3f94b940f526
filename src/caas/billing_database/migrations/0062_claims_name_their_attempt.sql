-- A claim names the attempt that made it, so that whoever was not told its outcome can release just
-- that claim when the database answers again: a key that a request took, a job that a worker took.
--
-- Rule a change must keep: `held_by` 0 is no process, so whatever it holds is there to be taken over.
alter table idempotency_keys add column attempt uuid;
alter table open_work add column claim uuid;
