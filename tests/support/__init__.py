"""What tests share: containers, fresh databases and vhosts, and waiting for a state."""
