"""At each tick: fold the outbox into balances, then show them in KeyDB behind a watermark."""
