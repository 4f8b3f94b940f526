"""The API (layer 8): what machines use, over the subsystems of the installation.

`build_api(subsystems, settings)` is the whole of it: the seed's Internal Payment API, the
subsystems around it, the Webhook Handler, and what it tells of itself. `server_config` says how it
is served.

Rules a change must keep: nothing is decided here, every call asks the room of its name; what is
documented is read off the same values that are enforced.
"""
