"""Every setting of the servers that matters: what it is, what to change, and why."""
