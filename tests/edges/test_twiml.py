from __future__ import annotations

from xml.etree import ElementTree

import pytest

from callengine.edges.twiml import connect_stream, turn_away
from callengine.errors import SettingsError
from callengine.settings import TurnAway, WhenFull

URL = "wss://voice.example.com/media-stream"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.encode())


def test_the_caller_is_connected_and_then_hung_up() -> None:
    response = parsed(connect_stream(URL))
    assert response.tag == "Response"
    assert [verb.tag for verb in response] == ["Connect", "Hangup"]
    [stream] = response[0]
    assert (stream.tag, stream.attrib) == ("Stream", {"url": URL})
    assert len(stream) == 0


def test_parameters_are_what_the_call_is_told() -> None:
    given = {"token": "abc", "language": "de-CH"}
    stream = parsed(connect_stream(URL, given))[0][0]
    assert {each.tag for each in stream} == {"Parameter"}
    assert {each.attrib["name"]: each.attrib["value"] for each in stream} == given


@pytest.mark.parametrize(
    "nasty",
    ["\"/><Hangup/><Stream url='", "a&b", "<", ">", "'", '"', "'\"", "&amp;", "Zoë – ☎", "a b\tc"],
)
def test_nothing_breaks_out_of_an_attribute(nasty: str) -> None:
    text = connect_stream(f"wss://x.example/{nasty}", {nasty: nasty})
    response = parsed(text)
    [stream] = response[0]
    assert [verb.tag for verb in response] == ["Connect", "Hangup"]
    assert stream.attrib["url"] == f"wss://x.example/{nasty}"
    [parameter] = stream
    assert parameter.attrib == {"name": nasty, "value": nasty}
    told = parsed(connect_stream(URL, status_url=f"https://x.example/{nasty}"))[0][0]
    assert told.attrib == {"url": URL, "statusCallback": f"https://x.example/{nasty}"}


@pytest.mark.parametrize("unspeakable", ["\0", "\x1b", "\ud800", "\uffff", "\x0b"])
def test_what_xml_cannot_say_is_replaced(unspeakable: str) -> None:
    [parameter] = parsed(connect_stream(URL, {"name": f"a{unspeakable}b"}))[0][0]
    assert parameter.attrib["value"] == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("when_full", "verbs"),
    [
        (WhenFull(), [("Reject", {"reason": "busy"}, None)]),
        (WhenFull.parse("say:Call later."), [("Say", {}, "Call later."), ("Hangup", {}, None)]),
        (WhenFull.parse("queue:support"), [("Enqueue", {}, "support")]),
        (WhenFull.parse("dial:+15550100"), [("Dial", {}, "+15550100")]),
    ],
)
def test_what_a_caller_hears_for_whom_there_is_no_room(
    when_full: WhenFull, verbs: list[tuple[str, dict[str, str], str | None]]
) -> None:
    response = parsed(turn_away(when_full))
    assert [(verb.tag, verb.attrib, verb.text) for verb in response] == verbs


@pytest.mark.parametrize("text", ["</Say><Dial>+15550100</Dial>", "a & b {0} {}", "Zoë <3", '"'])
@pytest.mark.parametrize("how", [TurnAway.SAY, TurnAway.QUEUE])
def test_nothing_breaks_out_of_a_verb(how: TurnAway, text: str) -> None:
    verb = parsed(turn_away(WhenFull(how, text)))[0]
    assert (verb.text, len(verb)) == (text, 0)
    assert parsed(turn_away(WhenFull(how, "a\x1bb")))[0].text == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    "url",
    [
        "ws://voice.example.com/media",
        "https://voice.example.com/media",
        "voice.example.com/media",
        "wss://voice.example.com/media?token=1",
        "",
    ],
)
def test_twilio_takes_only_wss_without_a_query(url: str) -> None:
    with pytest.raises(SettingsError, match="must be wss:// without a query") as raised:
        connect_stream(url)
    assert repr(url) in str(raised.value)
