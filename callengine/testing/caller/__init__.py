"""A simulated phone caller behind a faithful Twilio media stream."""
