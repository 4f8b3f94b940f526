"""`./caas simulate`: a randomized simulation with a fixed seed and injected faults.

Customers buy, reserve, subscribe, withdraw and send requests twice; vehicles sleep, refuse and
forge; gateway, partners and webhooks fail, all as the seed decides, on a complete platform. Once
every fault is gone, each payment must come to rest, every integrity check must hold, and the
ledgers of the gateway, the vehicles and the platform must agree.

Rules a change must keep: the plan follows from the seed alone; the verdict rests on integrity
checks, ledgers and rest, never on an expectation about one story; the faults are cleared before it.
"""
