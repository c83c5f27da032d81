#!/bin/sh
# Runs inside the new image, after its packages are installed.
set -eu
# The package's commands in /usr/sbin insist on su and runuser; the server's
# own scripts do not. A cookie is made at first start, never part of an image.
rm -f /var/lib/rabbitmq/.erlang.cookie /usr/sbin/rabbitmq*
# What is run by docker exec (as root) must use the server's cookie and user.
for tool in rabbitmqctl rabbitmq-diagnostics rabbitmq-plugins rabbitmq-queues rabbitmq-upgrade; do
  cat >"/usr/local/bin/$tool" <<WRAPPER
#!/bin/sh
if [ "\$(id -u)" = 0 ]; then
  exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups /usr/lib/rabbitmq/bin/$tool "\$@"
fi
exec /usr/lib/rabbitmq/bin/$tool "\$@"
WRAPPER
  chmod 755 "/usr/local/bin/$tool"
done
rm -f /etc/rabbitmq/rabbitmq-env.conf
chown -R rabbitmq:rabbitmq /var/lib/rabbitmq /etc/rabbitmq
