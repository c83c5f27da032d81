"""Coverage-guided fuzzing of what reads foreign bytes: bodies, AMQP properties, frames."""
