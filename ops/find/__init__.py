"""One transaction looked for: its life, or where else to look."""
