"""The goals of docs/performance, measured: ours and the yardstick in turns, on one machine.

Rules: nothing is asserted, everything is printed; a figure is a ratio to the yardstick of the same
minute on the same server with the same settings; nothing durable is made less so to look faster.
"""
