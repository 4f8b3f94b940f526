"""Simulators of external systems: Payment Gateway, Banking Networks, order partners, vehicles.

Each is a separate server, so that the whole platform runs on one machine without any account.
`python -m caas_simulators gateway|partners` starts one; `GET /_control/` lists the faults that can
be scripted.

Rules a change must keep: no import between platform and simulators in either direction; they
communicate over HTTP and MQTT only.
"""
