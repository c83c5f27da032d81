"""The user's tables, the ledger and KeyDB compared: every so many ticks, and when asked."""
