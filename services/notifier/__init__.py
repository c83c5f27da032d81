"""Alerts on balances: change records in, notifications out."""
