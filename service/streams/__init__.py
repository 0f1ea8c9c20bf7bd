"""Server-sent events: states as they change, to whoever keeps a connection open."""
