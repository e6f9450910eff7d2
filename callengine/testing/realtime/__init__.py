"""A simulated OpenAI Realtime server."""
