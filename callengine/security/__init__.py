"""Who is let in, how much they may send, and what of them may be shown. See docs/security.md."""
