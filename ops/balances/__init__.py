"""Balances as Postgres has them, beside what KeyDB shows."""
