-- Lines are found by the time they were booked at: a file is held against what other reports of the
-- same days have already, so that a provider's row is booked once.

create index settlement_lines_booked on settlement_lines using brin (booked_at)
  with (pages_per_range = 32, autosummarize = on);
