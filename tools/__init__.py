"""What developers run beside the make targets; no service needs it."""
