"""Shows what is around the core: HTTP, requests, replies, alerts, events."""
