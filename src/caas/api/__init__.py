"""The JSON API over the platform's subsystems (layer 8).

`build_api(subsystems, settings)` builds the seed's Internal Payment API, the APIs of the subsystems
around it, the Webhook Handler, and the status endpoints.

Rules a change must keep: the API takes no business decision; documentation is generated from the
values that are enforced.
"""
