"""Pure audio: G.711, framing, level. No clock, no thread, no socket."""
