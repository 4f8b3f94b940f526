"""`./caas bench`: measures the goals of docs/performance on this machine.

Rules a change must keep: a figure is a ratio to a yardstick measured in the same minute on the same
server with the same settings; durability is never reduced; results are printed, not asserted.
"""
