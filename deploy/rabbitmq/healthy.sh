#!/bin/bash
# Exit 0 when clients can connect: the AMQP port is open (RabbitMQ opens it
# last) and the management page answers (so the node runs, not only its
# sockets). rabbitmq-diagnostics says the same, but starts an Erlang node each
# time: over a second of processor, too much to repeat on small machines.
set -euo pipefail

exec 3<>/dev/tcp/127.0.0.1/5672
exec 4<>/dev/tcp/127.0.0.1/15672
printf 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' >&4
read -r -t 3 answer <&4
[[ $answer == *" 200 "* ]]
