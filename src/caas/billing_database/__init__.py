"""Billing Database (Diagram 1): the only place where SQL is written.

Payments, orders, services, ledger, settlements and jobs are rows of one PostgreSQL, and the
laws that protect a customer's money are constraints of it.

Rules: one function is one transaction; a move of a payment, its event, its entries and its open
work commit together; SQL is written whole, never built from strings; rows leave as typed values.
"""
