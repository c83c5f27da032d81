"""`ops console`: a web page with the state of the system, and what may be done from it."""
