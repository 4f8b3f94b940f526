"""`./caas bench`: the goals of docs/performance, measured on this machine.

Rules: nothing is asserted, everything is printed; a figure is a ratio to the yardstick of the same
minute on the same server with the same settings; durability is never reduced.
"""
