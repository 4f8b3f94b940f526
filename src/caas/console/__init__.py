"""The console: the user interfaces of the platform (Diagram 1).

The Corporate Intranet for dealership sales, the Web Platform and Mobile Application for customers,
and the operations console, as server-rendered pages with htmx. `build_console` builds all of it,
`combined` serves it on the same port as the API, `StaffAccounts` manages staff accounts.

Rules a change must keep: pages make no business decisions, they call the platform; pages load
nothing from another origin; the front end has no build step.
"""
