"""Pure codecs: Twilio and Realtime JSON to typed events and back. JSON is never seen outside."""
