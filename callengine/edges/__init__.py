"""Sockets: where a call meets the network. Nothing here decides anything."""
