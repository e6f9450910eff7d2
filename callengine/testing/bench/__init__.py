"""How many calls one engine holds: a lean load of callers and models, and what it measures."""
