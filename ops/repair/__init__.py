"""Repairs: KeyDB rebuilt, balances corrected, ticks audited, the default partition emptied."""
