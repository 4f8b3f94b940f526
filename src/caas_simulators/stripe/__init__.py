"""Simulator of Stripe's API: an external gateway that refuses what Stripe refuses.

One account in one mode, one API version, cards only. `python -m caas_simulators stripe` starts it;
`/_control/` moves its clock, scripts faults and lets cardholders dispute.

Rules: what Stripe's documentation does not allow is refused with Stripe's own code; parameters that
are not served here are refused as unknown, never ignored; nothing of the platform is imported.
"""
