"""The artifact store: a port for objects, its adapters, and the protocol that makes shards and stages take effect once."""
