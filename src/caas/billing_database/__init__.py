"""Billing Database (Diagram 1): the only package that contains SQL.

Payments, orders, services, ledger, settlements and jobs are rows of one PostgreSQL database;
constraints enforce the invariants that protect customers' money.

Rules a change must keep: one function is one transaction; a transition, its event, its ledger
entries and its jobs commit together; SQL is written whole, never built from strings; rows are
returned as typed values.
"""
