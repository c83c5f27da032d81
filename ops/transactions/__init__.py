"""Transactions by hand: one reversed by a row of the opposite value."""
