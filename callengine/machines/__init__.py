"""Pure decisions: `handle(event, now) -> actions`, `next_deadline()`. No I/O, thread or clock."""
