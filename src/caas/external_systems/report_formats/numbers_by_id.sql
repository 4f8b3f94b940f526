-- Lines that have ids of their own keep the number they are stored with, wherever they stand in a
-- later file; what is new is numbered behind what is stored. Parts of one row (a conversion) have
-- numbers of their own, a thousand million apart.
update checked c set line_no = cast(coalesce(
         (from known_lines k select k.line_no where k.line_id = c.line_id),
         try_cast(c.line_no as bigint)
           + (from known_lines select coalesce(max(line_no % 1000000000), 0))) as varchar)
 where c.line_id is not null
