"""Requests by message: items published once, what becomes of each kept, replies sent."""
