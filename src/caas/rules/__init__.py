"""The seed's tables and diagrams as pure values and functions.

Rules a change must keep:

1. Nothing here reads a clock, a file, the network, the environment or a random source: whatever
   varies is an argument. The same arguments give the same answer, today and in a replay.
2. A table is one literal with the seed's words in it, so that a reader can hold it beside the
   seed. Code only looks things up in it.
"""
