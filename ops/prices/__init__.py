"""Prices by hand: imported, listed, deleted; and the symbol that each provider's balance has."""
