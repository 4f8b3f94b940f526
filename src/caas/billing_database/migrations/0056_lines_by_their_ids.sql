-- A provider's row is known by the id that it gives, whatever date it comes with.
create index settlement_lines_by_id on settlement_lines (line_id) where line_id is not null;
