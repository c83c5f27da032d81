"""The statement of a provider: what moved its balance between two times."""
