"""Transactions to the queue, each confirmed: given ones, or made-up ones at a rate."""
