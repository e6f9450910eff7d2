"""What a test call writes: the table, the sound, the page."""
