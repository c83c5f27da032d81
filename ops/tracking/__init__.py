"""Requests, as the tracker has them."""
