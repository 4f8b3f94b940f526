"""The web edge: what the API and the pages share of HTTP, knowing neither of them.

A request comes in through `WebApplication`, is matched by `Router`, and leaves as a `Response`;
`server_config` says how it is served.
"""
