"""Dead letters and waiting messages: listed, shown, replayed, exported, purged."""
