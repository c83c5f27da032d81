"""RabbitMQ to Postgres: one commit for rows, their outbox rows and the dead letters beside them."""
