"""Simulators of the outside world: Payment Gateway, Banking Networks, order partners, vehicles.

Each is an honest server of its own, so that the whole platform runs on one machine with no account
anywhere. `python -m caas_simulators gateway|partners` starts one; `GET /_control/` lists what can
be scripted to go wrong.

Rules: nothing of the platform is imported here, nor this by the platform; only HTTP and MQTT lie
between them.
"""
