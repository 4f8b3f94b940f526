"""The HTTP edge shared by the API and the pages; it depends on neither.

A request enters through `WebApplication`, `Router` matches it, and a `Response` leaves.
`server_config` configures uvicorn.
"""
