"""The payment side of a Car-as-a-Service platform; `app` puts it together, `cli` starts it."""

__version__ = "0.1.0"
