"""Dead letters and waiting messages: to be looked at, replayed, exported, purged."""
