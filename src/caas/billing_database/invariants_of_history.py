"""Invariants of signed heads (decision 118): name, sentence and query of each."""

from typing import Final

HISTORY_INVARIANTS: Final = (
    (
        "heads_are_chained",
        "Every signed head contains the digest of the previous one, and none is missing.",
        """select h.head::text from history_heads h
             left join history_heads b on b.head = h.head - 1
            where h.body::jsonb ->> 'previous' is distinct from
                  coalesce(encode(sha256(convert_to(b.body, 'UTF8')), 'hex'), '')
               or (h.head > 1 and b.head is null)
               or (h.body::jsonb ->> 'head')::bigint <> h.head""",
    ),
    (
        "leaves_are_complete",
        "Every Merkle tree has all of its leaves, without gaps.",
        """select coalesce(t.of_table, l.of_table) from history_trees t
             full join (select of_table, sum(cardinality(keys)) as leaves,
                               max(first_leaf + cardinality(keys)) as behind
                          from history_leaves group by of_table) l on l.of_table = t.of_table
            where coalesce(l.leaves, 0) <> coalesce(t.size, 0)
               or coalesce(l.behind, 0) <> coalesce(t.size, 0)""",
    ),
)
