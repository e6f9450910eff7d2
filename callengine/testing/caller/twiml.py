"""What Twilio does once the agent has closed the stream: the TwiML behind it, or its action URL.

Reads the answer of a voice webhook; knows no more verbs than it has to. Source: Twilio's page of
"<Connect>": without `action` the next verb is carried out, with it that URL is asked instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True, slots=True)
class NextStep:
    """One thing that Twilio does: a verb with its text or URL, or `action` with the URL asked."""

    verb: str
    detail: str = ""


def steps_after_stream(twiml: str) -> tuple[NextStep, ...]:
    """What follows the first `<Connect><Stream>`, up to the end of the call.

    Raises ValueError if that is no TwiML, or connects no stream.
    """
    try:
        verbs = list(ElementTree.fromstring(twiml))  # noqa: S314 - the tester wrote it
    except ElementTree.ParseError as failure:
        raise ValueError(f"the TwiML is no XML: {failure}") from failure
    places = [
        place
        for place, verb in enumerate(verbs)
        if verb.tag == "Connect" and verb.find("Stream") is not None
    ]
    if not places:
        raise ValueError("the TwiML has no <Connect><Stream>, so there is no stream to simulate")
    if (url := verbs[places[0]].get("action")) is not None:
        return (NextStep("action", url),)
    return _until_the_end(verbs[places[0] + 1 :])


def _until_the_end(verbs: list[ElementTree.Element]) -> tuple[NextStep, ...]:
    steps = []
    for verb in verbs:
        steps.append(NextStep(verb.tag, (verb.text or "").strip()))
        if verb.tag in {"Hangup", "Redirect", "Reject"}:
            break
    return tuple(steps)
