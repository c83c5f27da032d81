"""All at a glance: what the three servers say, what is wrong with it, and what to type next."""
