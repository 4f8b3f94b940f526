"""What `./caas` does before the platform's own environment exists.

Rules: the standard library only; nothing here is part of the platform, which never imports it.
"""
