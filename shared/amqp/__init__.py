"""RabbitMQ, over pika: connections, publishing, consuming, and AMQP's own formats."""
