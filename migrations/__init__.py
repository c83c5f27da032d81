"""Plain SQL, numbered, forward only. A one-shot job applies it; the services never do."""
