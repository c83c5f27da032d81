"""What puts things right: KeyDB rebuilt, balances reconciled, ticks audited, partitions mended."""
