"""The seed's tables and diagrams as pure values and functions.

Rules a change must keep:

1. Modules here do no I/O and read no clock, environment or random source. Everything that varies is
   an argument, so the same arguments always give the same result.
2. Each table is one literal that uses the seed's words. Code only looks values up in it.
"""
