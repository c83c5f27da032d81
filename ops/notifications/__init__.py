"""Notifications: which alerts were met when, and whether they were sent and delivered."""
