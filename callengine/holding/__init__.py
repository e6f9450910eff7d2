"""How one call is held over a socket: on a thread of the host's, or on its event loop."""
