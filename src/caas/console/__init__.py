"""The channels (layer 8): what people use, over the subsystems of the installation (Diagram 1).

The Corporate Intranet for dealership sales, the Web Platform and Mobile Application for customers,
the console for operations: server-rendered pages, kept alive by htmx. `build_channels` is the whole
of it, `combined` serves it from the same port as the API, `StaffAccounts` lets people in.

Rules a change must keep: no decision is taken here, a page calls the room of its name; nothing is
fetched from another origin, and nothing is built before it runs.
"""
