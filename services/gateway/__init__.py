"""HTTP in: accepts transactions for the tracker, and answers questions."""
