"""The protocol as a model that a checker searches exhaustively, and mutants that it must find."""
