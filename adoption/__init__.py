"""What the user's own tables must be like: looked up, tried, and looked up again."""
