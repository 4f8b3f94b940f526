"""`./caas simulate`: a randomized simulation with a fixed seed and injected faults.

Customers buy, reserve, subscribe, withdraw and repeat requests; vehicles sleep, refuse and forge;
gateway, partners and webhooks fail, all derived from the seed, on a complete platform. After all
faults are cleared, every payment must reach a final state, every integrity check must hold, and the
ledgers of gateway, vehicles and platform must agree.

Rules a change must keep: the plan depends only on the seed; the verdict uses integrity checks,
ledgers and final states, never expectations about one story; faults are cleared before it.
"""
