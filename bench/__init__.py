"""Measurements that need a ledger of millions: run by hand, `python -m bench.<name>`."""
