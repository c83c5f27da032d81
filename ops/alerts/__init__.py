"""Alerts by hand: added, listed, removed."""
