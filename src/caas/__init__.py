"""Payment platform for Car-as-a-Service; `app` composes it, `cli` starts it."""

__version__ = "0.1.0"
