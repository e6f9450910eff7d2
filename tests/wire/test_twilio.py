from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.wire import twilio
from callengine.wire.fault import Fault
from tests.wire.golden_frames import frames, paths, replaced, without

IN = frames("twilio", "in")
OUT = frames("twilio", "out")
BAD = frames("twilio", "bad")

STREAM = "MZ2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c"
CALL = "CA1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b"
ULAW_8K = twilio.MediaFormat("audio/x-mulaw", 8000, 1)

START_REQUIRED = [
    "event", "start", "start.callSid", "start.mediaFormat", "start.mediaFormat.encoding",
    "start.mediaFormat.sampleRate",
]  # fmt: skip
REQUIRED = {
    "connected": ["event"],
    "start": START_REQUIRED,
    "start_no_custom_params": START_REQUIRED,
    "media": ["event", "streamSid", "media", "media.payload"],
    "media_second": ["event", "streamSid", "media", "media.payload"],
    "dtmf": ["event", "streamSid", "dtmf", "dtmf.digit"],
    "mark": ["event", "streamSid", "mark", "mark.name"],
    "stop": ["event", "streamSid"],
}
JUNK: list[object] = [None, True, -1, 1.5, "", "x", [], [[]], {}, {"a": []}]


def decode(frame: object) -> twilio.Inbound:
    return twilio.decode(json.dumps(frame))


def payload_of(frame: dict[str, Any]) -> bytes:
    return base64.b64decode(frame["media"]["payload"])


EXPECTED = {
    "connected": twilio.Connected("Call", "1.0.0"),
    "start": twilio.Start(
        STREAM, CALL, "AC0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", ("inbound",), ULAW_8K,
        {"tenant": "clinic-7", "token": "one-time-abc"}, 1,
    ),
    "start_no_custom_params": twilio.Start(
        STREAM, CALL, "AC0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", ("inbound",), ULAW_8K, {}, 1
    ),
    "media": twilio.Media(STREAM, 2, 102, "inbound", payload_of(IN["media"])),
    "media_second": twilio.Media(STREAM, 3, 122, "inbound", b"\xff" * 160),
    "dtmf": twilio.Dtmf(STREAM, 57, "5"),
    "mark": twilio.Mark(STREAM, 88, "g3-r12-000480"),
    "stop": twilio.Stop(STREAM, 912, CALL),
}  # fmt: skip


def test_every_inbound_example_has_its_expected_event() -> None:
    assert {name: decode(frame) for name, frame in IN.items()} == EXPECTED


def test_bad_examples_are_malformed_only_where_the_message_itself_is() -> None:
    silence = b"\xff" * 160
    other = "MZ" + "f" * 32
    assert {name: decode(frame) for name, frame in BAD.items()} == {
        "media_backwards_time": twilio.Media(STREAM, 5, 20, "inbound", silence),
        "media_duplicate_seq": twilio.Media(STREAM, 3, 122, "inbound", silence),
        "media_missing_payload": twilio.Malformed(Fault.MISSING_FIELD, "media.payload"),
        "media_not_base64": twilio.Malformed(Fault.BAD_BASE64, "media.payload"),
        "media_odd_length": twilio.Media(STREAM, 4, 142, "inbound", b"\xff" * 37),
        "media_other_stream": twilio.Media(other, 4, 142, "inbound", silence),
        "start_wrong_codec": twilio.Start(
            STREAM, CALL, "AC" + "0a" * 16, ("inbound",), twilio.MediaFormat("audio/l16", 16000, 1),
            {"tenant": "clinic-7", "token": "one-time-abc"}, 1,
        ),
        "unknown_event": twilio.Unknown("somethingNew"),
    }  # fmt: skip


@pytest.mark.parametrize("name", IN)
def test_a_deleted_field_is_named_if_required_and_harmless_if_not(name: str) -> None:
    for path in paths(IN[name]):
        decoded = decode(without(IN[name], path))
        if path in REQUIRED[name]:
            assert decoded == twilio.Malformed(Fault.MISSING_FIELD, path)
        else:
            assert isinstance(decoded, type(EXPECTED[name]))


@pytest.mark.parametrize("name", IN)
def test_a_field_of_any_other_type_never_raises_and_never_becomes_unknown(name: str) -> None:
    for path, junk in itertools.product(paths(IN[name]), JUNK):
        decoded = decode(replaced(IN[name], path, junk))
        if path == "event":
            assert isinstance(decoded, twilio.Unknown | twilio.Malformed)
        else:
            assert isinstance(decoded, type(EXPECTED[name]) | twilio.Malformed)


@pytest.mark.edge_case(11)
@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ("_7-x", Fault.BAD_BASE64),
        ("/7+x\n", Fault.BAD_BASE64),
        (" /7+x", Fault.BAD_BASE64),
        ("/7 +x", Fault.BAD_BASE64),
        ("/7+", Fault.BAD_BASE64),
        ("/7+x=", Fault.BAD_BASE64),
        ("/7+x====", Fault.BAD_BASE64),
        ("/w===", Fault.BAD_BASE64),
        ("/w==/w==", Fault.BAD_BASE64),
        ("=", Fault.BAD_BASE64),
        ("é+xx", Fault.BAD_BASE64),
        ("\ud800aaa", Fault.BAD_BASE64),
        (None, Fault.WRONG_TYPE),
        (7, Fault.WRONG_TYPE),
        (["/7+x"], Fault.WRONG_TYPE),
    ],
)
def test_a_payload_that_is_not_strict_base64_is_refused(payload: object, fault: Fault) -> None:
    decoded = decode(replaced(IN["media"], "media.payload", payload))
    assert decoded == twilio.Malformed(fault, "media.payload")


@pytest.mark.parametrize("path", ["streamSid", "start.callSid", "start.mediaFormat.encoding"])
def test_an_identifier_is_kept_and_therefore_of_limited_length(path: str) -> None:
    assert isinstance(decode(replaced(IN["start"], path, "i" * 512)), twilio.Start)
    too_long = decode(replaced(IN["start"], path, "i" * 513))
    assert too_long == twilio.Malformed(Fault.TOO_LONG, path)


def test_an_empty_payload_is_media_without_audio() -> None:
    decoded = decode(replaced(IN["media"], "media.payload", ""))
    assert isinstance(decoded, twilio.Media)
    assert decoded.payload == b""


@pytest.mark.edge_case(7)
@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("90001", 90001),
        (90001, 90001),
        (12.0, 12),
        ("0", 0),
        ("-3", None),
        (-3, None),
        ("1.5", None),
        (1.5, None),
        (True, None),
        ("٣", None),
        (" 3", None),
        ("1_000", None),
        ("9" * 16, None),
        (10**300, None),
        (1e300, None),
        ("soon", None),
        (None, None),
        ([], None),
    ],
)
def test_counters_are_read_from_text_and_numbers_and_garbage_is_none(
    sequence: object, expected: int | None
) -> None:
    frame = replaced(IN["media"], "sequenceNumber", sequence)
    decoded = decode(replaced(frame, "media.timestamp", sequence))
    assert isinstance(decoded, twilio.Media)
    assert (decoded.sequence_number, decoded.timestamp_ms) == (expected, expected)


def test_a_sample_rate_may_be_text_but_not_garbage() -> None:
    rate = "start.mediaFormat.sampleRate"
    decoded = decode(replaced(IN["start"], rate, "8000"))
    assert isinstance(decoded, twilio.Start)
    assert decoded.media_format == ULAW_8K
    for garbage in ("eight", -8000, None):
        assert decode(replaced(IN["start"], rate, garbage)) == twilio.Malformed(
            Fault.WRONG_TYPE, rate
        )


def test_two_channels_are_reported_and_absent_channels_are_mono() -> None:
    channels = "start.mediaFormat.channels"
    stereo, absent = (
        decode(replaced(IN["start"], channels, 2)),
        decode(without(IN["start"], channels)),
    )
    assert isinstance(stereo, twilio.Start)
    assert isinstance(absent, twilio.Start)
    assert (stereo.media_format.channels, absent.media_format.channels) == (2, 1)


def test_the_stream_sid_is_found_at_the_top_or_inside_start() -> None:
    for path in ("streamSid", "start.streamSid"):
        assert decode(without(IN["start"], path)) == EXPECTED["start"]
        assert decode(replaced(IN["start"], path, "")) == EXPECTED["start"]
    neither = without(without(IN["start"], "streamSid"), "start.streamSid")
    assert decode(neither) == twilio.Malformed(Fault.MISSING_FIELD, "start.streamSid")


@pytest.mark.parametrize("path", ["streamSid", "dtmf.digit"])
def test_an_empty_identifier_counts_as_missing(path: str) -> None:
    assert decode(replaced(IN["dtmf"], path, "")) == twilio.Malformed(Fault.MISSING_FIELD, path)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (None, {}),
        ({}, {}),
        ([], {}),
        ("x", {}),
        ({"näme": "Zoë ☎"}, {"näme": "Zoë ☎"}),
        ({"a": "x" * 499}, {"a": "x" * 499}),
        ({"n": 5, "b": True, "z": None, "o": {"k": [1]}},
         {"n": "5", "b": "true", "z": "null", "o": '{"k": [1]}'}),
        ({"lone": "\ud83d"}, {"lone": "?"}),
    ],
)  # fmt: skip
def test_custom_parameters_are_always_a_mapping_of_texts(
    parameters: object, expected: dict[str, str]
) -> None:
    decoded = decode(replaced(IN["start"], "start.customParameters", parameters))
    assert isinstance(decoded, twilio.Start)
    assert decoded.custom_parameters == expected


@pytest.mark.edge_case(18)
@pytest.mark.parametrize(
    ("parameters", "fits"),
    [
        ({f"p{n}": "v" for n in range(64)}, True),
        ({f"p{n}": "v" for n in range(65)}, False),
        ({"n": "v" * 511}, True),
        ({"n": "v" * 512}, False),
        ({"n" * 512: ""}, True),
        ({"n" * 513: ""}, False),
        ({"short": "v", "n": "é" * 512}, False),
        ({"n": list(range(300))}, False),
    ],
)
def test_custom_parameters_are_kept_and_therefore_limited(
    parameters: dict[str, object], fits: bool
) -> None:
    decoded = decode(replaced(IN["start"], "start.customParameters", parameters))
    assert isinstance(decoded, twilio.Start) is fits
    if not fits:
        assert decoded == twilio.Malformed(Fault.TOO_LONG, "start.customParameters")


def test_the_account_may_be_missing_but_is_limited_too() -> None:
    account = "start.accountSid"
    for nobody in ("", None, 7):
        decoded = decode(replaced(IN["start"], account, nobody))
        assert isinstance(decoded, twilio.Start)
        assert decoded.account_sid == ""
    too_long = decode(replaced(IN["start"], account, "A" * 513))
    assert too_long == twilio.Malformed(Fault.TOO_LONG, account)


def test_the_track_is_told_apart_and_inbound_if_not_said() -> None:
    outbound = decode(replaced(IN["media"], "media.track", "outbound"))
    unsaid = decode(without(IN["media"], "media.track"))
    assert isinstance(outbound, twilio.Media)
    assert isinstance(unsaid, twilio.Media)
    assert (outbound.track, unsaid.track) == ("outbound", "inbound")


def test_an_empty_mark_name_is_still_an_echo() -> None:
    assert decode(replaced(IN["mark"], "mark.name", "")) == twilio.Mark(STREAM, 88, "")


def test_extra_fields_are_ignored() -> None:
    for name, frame in IN.items():
        extended = {**frame, "extra": {"a": [1]}}
        assert decode(extended) == EXPECTED[name]


@pytest.mark.edge_case(12)
@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("", Fault.NOT_JSON),
        ("{", Fault.NOT_JSON),
        ('{"event":"media","media":{"payl', Fault.NOT_JSON),
        ("{}{}", Fault.NOT_JSON),
        ("\ufeff{}", Fault.NOT_JSON),
        ("NaN", Fault.NOT_JSON),
        ('{"event":"stop","x":NaN}', Fault.NOT_JSON),
        ('{"event":"stop","x":-Infinity}', Fault.NOT_JSON),
        ("9" * 5000, Fault.NOT_JSON),
        ("[" * 60_000, Fault.NOT_JSON),
        ('{"a":' * 12_000, Fault.NOT_JSON),
        ("\ud800", Fault.NOT_JSON),
        ("[]", Fault.NOT_AN_OBJECT),
        ("7", Fault.NOT_AN_OBJECT),
        ('"start"', Fault.NOT_AN_OBJECT),
        ("null", Fault.NOT_AN_OBJECT),
        ("{}", Fault.MISSING_FIELD),
        ('{"event":null}', Fault.WRONG_TYPE),
        ('{"event":["media"]}', Fault.WRONG_TYPE),
        ('{"event":"media","streamSid":"MZ","media":[]}', Fault.WRONG_TYPE),
    ],
)
def test_a_message_that_is_no_event_is_malformed(message: str, fault: Fault) -> None:
    decoded = twilio.decode(message)
    assert isinstance(decoded, twilio.Malformed)
    assert decoded.fault is fault


def test_parameters_nested_to_any_depth_do_not_raise() -> None:
    # Just under the recursion limit what could be parsed is too deep to be written back.
    message = json.dumps(replaced(IN["start"], "start.customParameters", {"p": 0}))
    for depth in (*range(800, 1000), 5_000, 12_000):
        nested = "[" * depth + "]" * depth
        decoded = twilio.decode(message.replace('{"p": 0}', f'{{"p": {nested}}}'))
        assert isinstance(decoded, twilio.Start | twilio.Malformed)


@pytest.mark.edge_case(12)
def test_the_last_of_a_duplicated_key_counts() -> None:
    message = '{"event":"media","event":"mark","streamSid":"MZ1","mark":{"name":"a","name":"b"}}'
    assert twilio.decode(message) == twilio.Mark("MZ1", None, "b")


@pytest.mark.parametrize("message", [b"", b"{}", b"\xff\xfe", b"x" * 2**21])
def test_binary_is_refused_whatever_it_holds(message: bytes) -> None:
    assert twilio.decode(message) == twilio.Malformed(Fault.BINARY, f"{len(message)} bytes")


@pytest.mark.parametrize("filler", ["a", "é", "☎", "\ud800"])
def test_the_size_limit_counts_bytes_and_is_inclusive(filler: str) -> None:
    envelope = '{"event":"x","pad":""}'
    room = twilio.MAX_MESSAGE_BYTES - len(envelope)
    count, rest = divmod(room, len(filler.encode(errors="surrogatepass")))
    fits = envelope.replace('""', f'"{filler * count}{"a" * rest}"')
    assert twilio.decode(fits) == twilio.Unknown("x")
    over = twilio.decode(fits + " ")
    assert isinstance(over, twilio.Malformed)
    assert over.fault is Fault.OVERSIZE


def test_two_mebibytes_are_oversize_and_not_parsed() -> None:
    decoded = twilio.decode("[" * 2**21)
    assert isinstance(decoded, twilio.Malformed)
    assert decoded.fault is Fault.OVERSIZE


def test_an_unknown_kind_is_cut_to_a_loggable_length() -> None:
    assert decode({"event": "k" * 5000}) == twilio.Unknown("k" * 80)


@pytest.mark.parametrize("path", ["dtmf.digit", "start.customParameters", "media.payload"])
def test_what_the_caller_typed_said_or_presented_stays_out_of_repr(path: str) -> None:
    name = path.partition(".")[0]
    secret = {"token": "4539"} if name == "start" else "4539"
    assert "4539" not in repr(decode(replaced(IN[name], path, secret)))


def test_encoders_write_exactly_the_documented_shapes() -> None:
    assert json.loads(twilio.encode_media(STREAM, payload_of(OUT["media"]))) == OUT["media"]
    assert json.loads(twilio.encode_mark(STREAM, "g3-r12-000480")) == OUT["mark"]
    assert json.loads(twilio.encode_clear(STREAM)) == OUT["clear"]


@pytest.mark.parametrize("awkward", ['a"b\\c', "é☎", "\n\x00", "\ud800", "}}"])
def test_awkward_identifiers_are_escaped(awkward: str) -> None:
    written = [
        twilio.encode_media(awkward, b"\xff"),
        twilio.encode_mark(awkward, awkward),
        twilio.encode_clear(awkward),
    ]
    assert [json.loads(frame)["streamSid"] for frame in written] == [awkward] * 3
    assert json.loads(written[1])["mark"] == {"name": awkward}
    assert all(frame.isascii() for frame in written)


def test_an_empty_argument_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="stream_sid"):
        twilio.encode_media("", b"\xff")
    with pytest.raises(ValueError, match="stream_sid"):
        twilio.encode_mark("", "m")
    with pytest.raises(ValueError, match="stream_sid"):
        twilio.encode_clear("")
    with pytest.raises(ValueError, match="payload"):
        twilio.encode_media(STREAM, b"")
    with pytest.raises(ValueError, match="name"):
        twilio.encode_mark(STREAM, "")


@given(st.text(min_size=1), st.binary(min_size=1, max_size=4000))
def test_media_comes_back_byte_for_byte(stream_sid: str, payload: bytes) -> None:
    decoded = twilio.decode(twilio.encode_media(stream_sid, payload))
    assert decoded == twilio.Media(stream_sid, None, None, "inbound", payload)


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_mark_comes_back_under_its_name(stream_sid: str, name: str) -> None:
    decoded = twilio.decode(twilio.encode_mark(stream_sid, name))
    assert decoded == twilio.Mark(stream_sid, None, name)


@given(st.text(st.characters()) | st.binary())
def test_no_text_and_no_bytes_make_decode_raise(message: str | bytes) -> None:
    assert isinstance(twilio.decode(message), twilio.Inbound)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["streamSid", "callSid", "mediaFormat", "encoding", "sampleRate", "customParameters",
         "payload", "timestamp", "track", "digit", "name", "tracks"]
    ),
    JSON,
)  # fmt: skip


@given(
    st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop", "other"]),
    FIELDS,
    FIELDS | JSON,
)
def test_no_json_makes_decode_raise_and_every_fault_is_short(
    kind: str, top: dict[str, object], body: object
) -> None:
    decoded = decode({**top, "event": kind, kind: body})
    assert isinstance(decoded, twilio.Inbound)
    if isinstance(decoded, twilio.Malformed):
        assert len(decoded.detail) <= 80


# ---- the usual spelling of media


def spelled(sequence: str, track: str, timestamp: str, payload: str, stream_sid: str) -> str:
    """Media as Twilio spells it; the texts go in as they are, whatever that makes of it."""
    return (
        f'{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"{track}","chunk":"2",'
        f'"timestamp":"{timestamp}","payload":"{payload}"}},"streamSid":"{stream_sid}"}}'
    )


USUAL = ["3", "inbound", "122", "/7+x", STREAM]
COUNTS = st.text(st.sampled_from("019\u0663-. \\n"), max_size=4) | st.just("9" * 15 + "1")
UNUSUAL = [
    COUNTS,
    st.sampled_from(["outbound", "", "x"]),
    COUNTS,
    st.text(st.sampled_from("Az9+/=-_ é\\"), max_size=9),
    st.text(st.sampled_from('MZ2é \ud800"'), max_size=4) | st.sampled_from(["i" * 512, "i" * 513]),
]


@st.composite
def unusual(draw: st.DrawFn) -> str:
    """The usual message with other values in a field or two."""
    fields = USUAL.copy()
    for n in draw(st.sets(st.integers(0, 4), max_size=2)):
        fields[n] = draw(UNUSUAL[n])
    return spelled(*fields)


@st.composite
def mistyped(draw: st.DrawFn) -> str:
    """The usual message with a few characters more, less or other."""
    message = spelled(*USUAL)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(message)))
        instead = draw(st.text(st.sampled_from('{}":,0 \n\\ax='), max_size=2))
        message = message[:at] + instead + message[at + draw(st.integers(0, 2)) :]
    return message


@given(unusual() | mistyped())
def test_the_short_way_to_media_comes_to_what_the_long_one_does(message: str) -> None:
    assert twilio._usual_media(message) in (None, twilio._read(message))
    assert twilio.decode(message) == twilio._read(message)


@pytest.mark.parametrize("name", ["media", "media_second"])
def test_media_as_twilio_spells_it_goes_the_short_way(name: str) -> None:
    message = json.dumps(IN[name], separators=(",", ":"))
    assert twilio._usual_media(message) == EXPECTED[name]
