"""Conformance of gateways and fleets: one set of cases, for the command and for our tests.

Decisions 196 and 197. A third party installs the package and runs the command against its adapter,
its server, or its vehicles.
"""
