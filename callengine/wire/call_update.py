"""TwiML for a call that is in progress: what the carrier does when it has taken the call over.

Source: Twilio's pages of "<Dial>" and "<Say>". Everything is escaped: a text is never markup.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr


def put_through(number: str, text: str | None, language: str | None) -> str:
    """Say `text`, if there is one, then dial `number`."""
    return _response(f"{_say(text, language)}<Dial>{escape(number)}</Dial>")


def say_goodbye(text: str, language: str | None) -> str:
    """Say `text`, then hang up."""
    return _response(f"{_say(text, language)}<Hangup />")


def _say(text: str | None, language: str | None) -> str:
    if not text:
        return ""
    attribute = f" language={quoteattr(language)}" if language else ""
    return f"<Say{attribute}>{escape(text)}</Say>"


def _response(verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{verbs}</Response>'
