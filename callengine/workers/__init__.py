"""Several processes that serve one port: a parent that hands out connections, and its workers."""
