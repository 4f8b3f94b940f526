"""Installation and checks that `./caas` runs before the platform's environment exists.

Rules a change must keep: standard library only; the platform never imports it.
"""
