"""`./caas demo`: runs every flow and every failure that the specification draws, and explains it.

Rules a change must keep: the platform is called over its public HTTP API, the simulators over their
control planes, and records are read in sessions that cannot write.
"""
