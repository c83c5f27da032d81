"""Providers by hand: the rows of `initial_data`, each change in one transaction."""
