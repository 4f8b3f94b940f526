"""The seed's tables and diagrams as pure values and functions: no IO, no clock, no framework."""
