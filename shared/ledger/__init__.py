"""Questions about ticks and balances, answered from Postgres."""
