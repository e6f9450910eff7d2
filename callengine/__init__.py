"""callengine: put a speech-to-speech AI on the phone, interruptible like a person."""
