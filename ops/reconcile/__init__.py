"""Three accounts of the same money held against each other, and put right on request."""
