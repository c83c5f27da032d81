"""What balances are worth, and what they earned."""
