"""A tick to a fanout exchange at every boundary. Depends on RabbitMQ alone."""
