"""Three accounts of the same money compared, and corrected on request."""
