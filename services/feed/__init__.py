"""Publishes what each due tick counted and changed as events."""
