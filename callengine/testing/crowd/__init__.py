"""Many calls at once to one server."""
