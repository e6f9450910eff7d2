from __future__ import annotations

import json
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.inbound import (
    GAP_TOLERANCE_MS,
    MAX_FILL_MS,
    MAX_REASON_CHARS,
    RECENT_FRAMES,
    STALL_S,
    START_DEADLINE_S,
    TRANSITIONS,
    Action,
    Event,
    Inbound,
    StartRefused,
    State,
)
from callengine.messages import (
    CallEnding,
    CallerFrame,
    CarrierClosed,
    DeadlineReached,
    DtmfPressed,
    EndCause,
    MarkEchoed,
    Owner,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
    StreamStarted,
)
from callengine.security.floods import MAX_BURST_MESSAGES, MAX_MESSAGES_PER_S
from callengine.wire import twilio as wire
from callengine.wire.fault import Fault

SID = "MZ1"
ULAW = wire.MediaFormat("audio/x-mulaw", 8000, 1)
STARTED = wire.Start(SID, "CA1", "AC1", ("inbound",), ULAW, {"who": "Zoë"}, 1)
TOLD = StreamStarted(SID, "CA1", {"who": "Zoë"}, "AC1")
REFUSED = StartRefused("the ticket is used")
DUE = DeadlineReached()
FRAME = bytes(range(160))
STOP = wire.Stop(SID, 9, "CA1")
CLOSED = CarrierClosed(1006, "")
SILENT = ResetReason.CARRIER_SILENT

T = TypeVar("T")


def media(
    timestamp_ms: int | None = None,
    sequence: int | None = None,
    payload: bytes = FRAME,
    *,
    sid: str = SID,
    track: str = "inbound",
) -> wire.Media:
    return wire.Media(sid, sequence, timestamp_ms, track, payload)


def of(kind: type[T], actions: list[Action]) -> list[T]:
    return [action for action in actions if isinstance(action, kind)]


def silence(ms: int) -> CallerFrame:
    return CallerFrame(b"\xff" * (8 * ms))


class Stream:
    """A machine, its clock, and all that it did."""

    def __init__(self, *, start: bool = True) -> None:
        self.now = 50.0
        self.machine = Inbound(self.now)
        self.counts = self.machine.counts
        self.log: list[Action] = []
        if start:
            self.tell(STARTED)

    def tell(self, *events: Event) -> list[Action]:
        done = [action for event in events for action in self.machine.handle(event, self.now)]
        self.log += done
        return done

    def audio(self, *events: Event) -> list[CallerFrame]:
        return of(CallerFrame, self.tell(*events))

    def run(self, seconds: float) -> list[Action]:
        end = self.now + seconds
        done: list[Action] = []
        while (due := self.machine.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            done += self.tell(DUE)
            after = self.machine.next_deadline()
            assert after is None or after > self.now, "waking again at once would be a busy loop"
        self.now = end
        return done

    def heard_bytes(self) -> bytes:
        return b"".join(frame.payload for frame in of(CallerFrame, self.log))


# ---- life


def test_a_start_names_the_stream_and_is_reported() -> None:
    stream = Stream(start=False)
    assert stream.tell(wire.Connected("Call", "1.0.0")) == []
    assert stream.tell(STARTED) == [
        TOLD,
        StateChanged(Owner.CARRIER, "streaming", 1),
    ]
    assert stream.machine.stream_sid == SID
    assert stream.machine.state is State.STREAMING


def test_one_that_is_told_of_the_stream_goes_on_with_it_and_tells_nobody_again() -> None:
    stream = Stream(start=False)
    assert stream.tell(TOLD) == [StateChanged(Owner.CARRIER, "streaming", 1)]
    assert stream.machine.stream_sid == SID
    assert stream.audio(media(5_000, 251), media(5_020, 252)) == [CallerFrame(FRAME)] * 2
    assert of(CallerFrame, stream.run(STALL_S)) == [silence(round(STALL_S * 1000))]
    assert stream.tell(STOP) == [CallEnding(EndCause.CALLER_HUNG_UP)]


def test_one_that_knows_the_stream_need_not_be_told() -> None:
    stream = Stream()
    assert stream.tell(TOLD) == []
    assert stream.machine.state is State.STREAMING


@pytest.mark.edge_case(3)
def test_ct3_a_start_needs_no_connected() -> None:
    assert of(StreamStarted, Stream().log) != []


@pytest.mark.edge_case(1)
def test_ct1_no_start_within_ten_seconds_ends_the_call() -> None:
    stream = Stream(start=False)
    stream.tell(wire.Connected("Call", "1.0.0"))
    assert stream.run(START_DEADLINE_S - 0.001) == []
    (ending,) = stream.run(0.001)
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.START_TIMEOUT
    assert stream.machine.next_deadline() is None


def test_a_start_in_time_is_not_followed_by_the_start_deadline() -> None:
    stream = Stream()
    assert of(CallEnding, stream.run(60)) == []


@pytest.mark.edge_case(2)
def test_ct2_media_marks_and_digits_before_the_start_are_dropped_and_counted() -> None:
    stream = Stream(start=False)
    early = (media(0, 1), wire.Mark(SID, 2, "m"), wire.Dtmf(SID, 3, "5"))
    assert stream.tell(*early) == []
    assert stream.counts.early_messages == 3
    assert stream.counts.frames == 0
    assert of(StreamStarted, stream.tell(STARTED)) != []


@pytest.mark.edge_case(4)
@pytest.mark.parametrize("start", [False, True])
def test_ct4_stop_ends_the_call_once(start: bool) -> None:
    stream = Stream(start=start)
    assert stream.tell(STOP) == [CallEnding(EndCause.CALLER_HUNG_UP)]
    assert stream.tell(STOP, CLOSED, STARTED, media(0, 2), DUE) == []
    assert stream.machine.next_deadline() is None
    assert stream.machine.state is State.ENDED


@pytest.mark.edge_case(5)
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (1000, "", "the carrier's socket closed with 1000"),
        (1001, "going away", "the carrier's socket closed with 1001 going away"),
        (1005, "", "the carrier's socket closed with 1005"),
        (1006, "", "the carrier's socket closed with 1006"),
        (1011, "", "the carrier's socket closed with 1011"),
    ],
)
def test_ct5_a_socket_closed_without_stop_is_the_same_end(
    start: bool, code: int, reason: str, told: str
) -> None:
    stream = Stream(start=start)
    assert stream.tell(CarrierClosed(code, reason)) == [CallEnding(EndCause.CARRIER_LOST, told)]
    assert stream.tell(STOP) == []


@pytest.mark.edge_case(6)
def test_ct6_a_second_start_ends_the_call_and_mixes_no_ids() -> None:
    stream = Stream()
    (ending,) = stream.tell(replace(STARTED, stream_sid="MZ2"))
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.SECOND_START
    assert stream.machine.stream_sid == SID
    assert stream.tell(media(0, 3, sid="MZ2")) == []


@pytest.mark.edge_case(17)
@pytest.mark.parametrize(
    "media_format",
    [
        wire.MediaFormat("audio/l16", 16000, 1),
        wire.MediaFormat("audio/x-mulaw", 16000, 1),
        wire.MediaFormat("audio/x-mulaw", 8000, 2),
        wire.MediaFormat("audio/x-alaw", 8000, 1),
    ],
)
def test_ct17_another_media_format_is_refused_with_its_name(media_format: wire.MediaFormat) -> None:
    stream = Stream(start=False)
    (ending,) = stream.tell(replace(STARTED, media_format=media_format))
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.UNSUPPORTED_MEDIA
    assert media_format.encoding in ending.detail
    assert str(media_format.sample_rate_hz) in ending.detail
    assert stream.machine.next_deadline() is None
    assert stream.tell(media(0, 2)) == []


def start_message(**start: object) -> str:
    body: dict[str, object] = {
        "callSid": "CA1",
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    return json.dumps({"event": "start", "streamSid": SID, "start": {**body, **start}})


@pytest.mark.edge_case(17)
def test_ct17_a_sample_rate_that_is_a_string_is_the_same_format() -> None:
    stream = Stream(start=False)
    text = {"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": "1"}
    stream.tell(wire.decode(start_message(mediaFormat=text)))
    assert stream.machine.state is State.STREAMING


@pytest.mark.edge_case(18)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, {}),
        ({"customParameters": None}, {}),
        ({"customParameters": {}}, {}),
        ({"customParameters": {"né": "Zoë ☎"}}, {"né": "Zoë ☎"}),
        ({"customParameters": {"a": "x" * 499}}, {"a": "x" * 499}),
    ],
)
def test_ct18_custom_parameters_are_handed_on(
    given: dict[str, object], told: dict[str, str]
) -> None:
    stream = Stream(start=False)
    (begun,) = of(StreamStarted, stream.tell(wire.decode(start_message(**given))))
    assert begun.custom_parameters == told


@pytest.mark.edge_case(18)
@pytest.mark.parametrize("start", [False, True])
def test_ct18_a_start_that_is_refused_ends_the_call_and_nothing_is_told_of_it(start: bool) -> None:
    stream = Stream(start=start)
    assert stream.tell(REFUSED) == [CallEnding(EndCause.TICKET_REFUSED, "the ticket is used")]
    assert stream.machine.next_deadline() is None
    assert stream.tell(STARTED, TOLD, media(0), STOP, CLOSED, REFUSED) == []


@pytest.mark.edge_case(18)
def test_ct18_a_start_with_too_many_parameters_is_none_and_its_time_runs_out() -> None:
    stream = Stream(start=False)
    many = {f"p{n}": "" for n in range(65)}
    assert stream.tell(wire.decode(start_message(customParameters=many))) == []
    assert stream.counts.malformed == {Fault.TOO_LONG: 1}
    (ending,) = of(CallEnding, stream.run(START_DEADLINE_S))
    assert ending.cause is EndCause.START_TIMEOUT


def test_of_what_a_host_says_why_its_socket_closed_only_so_much_is_kept() -> None:
    (ending,) = of(CallEnding, Stream().tell(CarrierClosed(4000, "x" * 10_000)))
    assert ending.detail.endswith(f" 4000 {'x' * MAX_REASON_CHARS}")


# ---- floods

FLOODS = [
    wire.Media("MZ2", None, None, "inbound", FRAME),
    wire.Mark(SID, None, "m"),
    wire.Dtmf(SID, None, "1"),
    wire.Malformed(Fault.BINARY, ""),
    wire.Unknown("x"),
    wire.Connected("Call", "1.0.0"),
]


@pytest.mark.parametrize("event", FLOODS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("start", [False, True])
def test_one_message_too_many_of_any_kind_ends_the_call(event: Event, start: bool) -> None:
    stream = Stream(start=start)
    allowed = MAX_BURST_MESSAGES - start
    assert of(CallEnding, stream.tell(*[event] * allowed)) == []
    (ending,) = stream.tell(event)
    told = f"over {MAX_MESSAGES_PER_S} messages a second, after {MAX_BURST_MESSAGES}"
    assert ending == CallEnding(EndCause.FLOODED, told)
    assert stream.machine.state is State.ENDED
    assert stream.machine.next_deadline() is None
    assert stream.tell(event, STARTED, STOP) == []


@pytest.mark.edge_case(34)
def test_ct34_a_network_that_stood_still_is_no_flood() -> None:
    stream = Stream()
    for n in range(50 * 60):
        stream.now += 0.02
        stream.tell(media(n * 20, n + 2))
    for n in range(2):
        stream.now += 15
        burst = [media(n * 20, n + 2) for n in range(3000 + 750 * n, 3750 + 750 * n)]
        assert len(stream.audio(*burst)) >= 750
    assert stream.machine.state is State.STREAMING


def test_what_is_not_from_the_carrier_counts_as_no_message() -> None:
    stream = Stream()
    for _ in range(2 * MAX_BURST_MESSAGES):
        stream.tell(DUE, TOLD, ResetRequest(Owner.CARRIER, SILENT, 99))
    assert stream.machine.state is State.STREAMING


# ---- messages


@pytest.mark.edge_case(20)
def test_ct20_digits_keep_their_order_and_none_is_lost() -> None:
    stream = Stream()
    dialled = "0123456789*#A"
    pressed: list[DtmfPressed] = []
    for n, digit in enumerate(dialled):
        stream.now += 0.025
        pressed += of(DtmfPressed, stream.tell(media(20 * n, 2 * n + 2)))
        pressed += of(DtmfPressed, stream.tell(wire.Dtmf(SID, 2 * n + 3, digit)))
    assert "".join(press.digit for press in pressed) == dialled
    assert stream.counts.dtmf_digits == len(dialled)


@pytest.mark.edge_case(21)
def test_marks_are_handed_on_whatever_their_name() -> None:
    """C-T 21: whose they are is for who sent them."""
    stream = Stream()
    marks: list[Event] = [wire.Mark(SID, n, name) for n, name in ((2, "a"), (3, ""), (4, "a"))]
    assert stream.tell(*marks) == [MarkEchoed("a"), MarkEchoed(""), MarkEchoed("a")]


@pytest.mark.edge_case(15)
def test_ct15_unknown_messages_are_counted_and_cost_nothing() -> None:
    stream = Stream()
    assert stream.tell(wire.Unknown("dance"), wire.Connected("Call", "2")) == []
    assert stream.counts.unknown_messages == 1
    extra = json.loads(_media_message(payload="//8=")) | {"new": {"field": 1}}
    assert stream.audio(wire.decode(json.dumps(extra))) == [CallerFrame(b"\xff\xff")]


def _media_message(**fields: object) -> str:
    body = {"track": "inbound", "timestamp": "100", **fields}
    return json.dumps({"event": "media", "sequenceNumber": "2", "streamSid": SID, "media": body})


@pytest.mark.edge_case(11)
@pytest.mark.parametrize("payload", ["!", "a", "_-_-", " ", None, 7])
def test_ct11_a_payload_that_is_no_audio_is_counted_and_the_call_lives(payload: object) -> None:
    stream = Stream()
    stream.tell(wire.decode(_media_message(payload=payload)))
    assert stream.heard_bytes() == b""
    assert sum(stream.counts.malformed.values()) == 1
    assert stream.audio(media(20, 3)) == [CallerFrame(FRAME)]


@pytest.mark.edge_case(12)
@pytest.mark.parametrize(
    "message",
    [
        '{"event":"media","streamSid":"MZ1"}',
        '{"event":"media","streamSid":"MZ1","media":7}',
        '{"event":"media","streamSid":"MZ1","media":{}}',
        '["event"]',
        '"media"',
        "7",
        "null",
        '{"event":"media"',
        '{"event":NaN}',
        "[" * 30_000,
        b'{"event":"stop"}',
    ],
    ids=range(11),
)
def test_ct12_what_is_no_message_is_counted_by_cause_and_the_call_lives(
    message: str | bytes,
) -> None:
    stream = Stream()
    before = wire.decode(message)
    assert isinstance(before, wire.Malformed)
    assert stream.tell(before) == []
    assert stream.counts.malformed == {before.fault: 1}
    assert stream.machine.state is State.STREAMING


@pytest.mark.edge_case(10, 14)
def test_ct10_ct14_an_oversized_message_ends_the_call() -> None:
    stream = Stream()
    (ending,) = stream.tell(wire.decode("x" * 2_097_152))
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.OVERSIZE_MESSAGE
    assert stream.counts.malformed == {Fault.OVERSIZE: 1}
    assert stream.machine.next_deadline() is None


def test_an_oversized_message_before_the_start_is_only_counted() -> None:
    stream = Stream(start=False)
    assert stream.tell(wire.Malformed(Fault.OVERSIZE, "")) == []
    assert stream.machine.state is State.WAITING


# ---- media


@pytest.mark.edge_case(10)
@pytest.mark.parametrize("size", [160, 80, 320, 1, 37, 49_000])
def test_ct10_payloads_of_any_size_are_forwarded_to_the_byte(size: int) -> None:
    stream = Stream()
    sent = b""
    for n in range(10):
        payload = bytes((n + i) % 256 for i in range(size))
        stream.tell(media(155 + n * size // 8, n + 2, payload))
        sent += payload
    assert stream.heard_bytes() == sent
    assert (stream.counts.frames, stream.counts.payload_bytes) == (10, len(sent))
    assert stream.counts.filled_ms == 0


@pytest.mark.edge_case(10)
def test_ct10_an_empty_payload_is_skipped_and_its_time_filled() -> None:
    stream = Stream()
    stream.tell(media(100, 2), media(120, 3, b""))
    assert stream.audio(media(140, 4)) == [silence(20), CallerFrame(FRAME)]
    assert stream.counts.empty_frames == 1
    assert stream.counts.frames == 2


@pytest.mark.edge_case(9)
def test_frames_without_audio_do_not_keep_silence_from_being_made_up() -> None:
    """C-T 9. The model's clock is the audio it gets, not the messages we get."""
    stream = Stream()
    stream.tell(media(100, 2))
    made_up = 0
    for n in range(150):
        made_up += sum(len(f.payload) for f in of(CallerFrame, stream.run(0.020)))
        stream.tell(media(120 + 20 * n, n + 3, b""))
    assert made_up >= 8 * 2700


@pytest.mark.edge_case(16)
def test_ct16_outbound_and_foreign_media_are_not_forwarded() -> None:
    stream = Stream()
    foreign = (media(0, 2, track="outbound"), media(20, 3, sid="MZ2"))
    assert stream.tell(*foreign) == []
    assert stream.counts.foreign_frames == 2
    assert stream.audio(media(40, 4)) == [CallerFrame(FRAME)]


@pytest.mark.edge_case(7)
def test_ct7_a_duplicate_is_forwarded_once() -> None:
    stream = Stream()
    frames = [media(100, 2), media(120, 3), media(120, 3), media(100, 2)]
    assert len(stream.audio(*frames)) == 2
    assert stream.counts.duplicates == 2


@pytest.mark.edge_case(7)
def test_ct7_a_frame_that_was_overtaken_is_dropped_as_its_place_is_taken() -> None:
    stream = Stream()
    swapped = [media(100, 2), media(140, 4), media(120, 3), media(160, 5)]
    assert stream.audio(*swapped) == [
        CallerFrame(FRAME),
        silence(20),
        CallerFrame(FRAME),
        CallerFrame(FRAME),
    ]
    assert stream.counts.reordered == 1


@pytest.mark.edge_case(7)
def test_ct7_a_gap_in_the_sequence_is_none_in_the_audio() -> None:
    """Marks and digits take numbers of the same sequence."""
    stream = Stream()
    assert len(stream.audio(media(100, 2), media(120, 90), media(140, 1_000_000))) == 3
    assert stream.counts.filled_ms == 0


@pytest.mark.edge_case(7)
def test_ct7_a_sequence_that_begins_anew_is_accepted_with_its_clock() -> None:
    stream = Stream()
    last = RECENT_FRAMES + 40
    stream.tell(*(media(100 + 20 * n, 2 + n) for n in range(last)))
    assert stream.audio(media(5, 1), media(25, 2)) == [CallerFrame(FRAME)] * 2
    assert stream.audio(media(45, last)) == [CallerFrame(FRAME)], "old numbers are no duplicates"
    assert stream.counts.clock_restarts == 1
    assert stream.counts.filled_ms == 0


@pytest.mark.edge_case(7)
@pytest.mark.parametrize("before", [1, 2, 40, RECENT_FRAMES])
def test_ct7_a_sequence_that_begins_anew_early_in_the_call_is_no_repetition(before: int) -> None:
    """The media clock tells: what is due now was not heard before, whatever its number."""
    stream = Stream()
    stream.tell(*(media(100 + 20 * n, 2 + n) for n in range(before)))
    again = [media(100 + 20 * (before + n), 1 + n) for n in range(100)]
    assert stream.audio(*again) == [CallerFrame(FRAME)] * 100
    assert (stream.counts.duplicates, stream.counts.reordered) == (0, 0)
    assert stream.counts.clock_restarts == 1
    repeated = [again[-1], again[-2]]
    assert stream.audio(*repeated) == []
    assert stream.counts.duplicates == 2


def test_ct7_only_so_many_numbers_are_remembered() -> None:
    stream = Stream()
    stream.tell(*(media(None, n) for n in range(2, 10_000)))
    assert len(stream.machine._recent) == RECENT_FRAMES


@pytest.mark.edge_case(7)
def test_ct7_numbers_may_be_missing() -> None:
    stream = Stream()
    assert len(stream.audio(*(media(100 + 20 * n) for n in range(50)))) == 50


@pytest.mark.edge_case(8)
def test_ct8_the_first_timestamp_is_not_zero_and_no_hole() -> None:
    assert Stream().audio(media(155, 2)) == [CallerFrame(FRAME)]


@pytest.mark.edge_case(8)
@pytest.mark.parametrize("spacing_ms", [19.97, 20.0, 20.03])
def test_ct8_jitter_of_the_carriers_clock_is_no_hole(spacing_ms: float) -> None:
    stream = Stream()
    for n in range(5000):
        stream.now += 0.02
        stream.tell(media(102 + int(n * spacing_ms), n + 2))
    assert stream.heard_bytes() == FRAME * 5000
    assert stream.counts.clock_restarts == 0


@pytest.mark.edge_case(8)
@pytest.mark.parametrize(
    ("hole_ms", "filled_ms", "skipped_ms"),
    [
        (GAP_TOLERANCE_MS - 1, 0, 0),
        (GAP_TOLERANCE_MS, GAP_TOLERANCE_MS, 0),
        (20, 20, 0),
        (200, 200, 0),
        (5000, 5000, 0),
        (MAX_FILL_MS, MAX_FILL_MS, 0),
        (3_600_000, MAX_FILL_MS, 3_600_000 - MAX_FILL_MS),
    ],
)
def test_ct8_a_hole_is_filled_with_silence_up_to_a_cap(
    hole_ms: int, filled_ms: int, skipped_ms: int
) -> None:
    stream = Stream()
    stream.tell(media(100, 2))
    expected = [silence(filled_ms)] if filled_ms else []
    assert stream.audio(media(120 + hole_ms, 3)) == [*expected, CallerFrame(FRAME)]
    assert (stream.counts.filled_ms, stream.counts.skipped_ms) == (filled_ms, skipped_ms)
    assert stream.audio(media(140 + hole_ms, 4)) == [CallerFrame(FRAME)]


@pytest.mark.edge_case(8)
def test_ct8_a_clock_that_goes_backwards_is_taken_as_it_is() -> None:
    stream = Stream()
    frames = [media(5000, 2), media(100, 3), media(120, 4), media(121, 5)]
    assert stream.audio(*frames) == [CallerFrame(FRAME)] * 4
    assert stream.counts.clock_restarts == 1
    assert stream.audio(media(341, 6))[0] == silence(200)


def test_frames_without_a_timestamp_count_on_the_clock_with_their_length() -> None:
    stream = Stream()
    frames = [media(100, 2), media(None, 3), media(None, 4), media(160, 5)]
    assert stream.audio(*frames) == [CallerFrame(FRAME)] * 4
    assert stream.counts.filled_ms == 0


@pytest.mark.edge_case(8)
def test_ct8_silence_does_not_outrun_the_clock() -> None:
    """However often the media clock leaps: few messages must not become hours of audio."""
    stream = Stream()
    stream.tell(*(media(n * 3_600_000, n + 2) for n in range(100)))
    assert stream.counts.filled_ms == MAX_FILL_MS
    stream.now += 5.0
    stream.tell(*(media(n * 3_600_000, n + 2) for n in range(100, 200)))
    assert stream.counts.filled_ms == MAX_FILL_MS + 5_000
    lost_ms = stream.counts.filled_ms + stream.counts.skipped_ms
    assert lost_ms == 199 * 3_600_000 - 199 * 20
    assert stream.counts.frames == 200


def test_a_stall_that_a_frame_without_a_timestamp_ended_is_not_filled_again() -> None:
    stream = Stream()
    stream.tell(media(100, 2))
    stream.run(3.0)
    made_up = stream.counts.filled_ms
    stream.tell(media(None, 3))
    fill, frame = stream.audio(media(3120, 4))
    assert fill == silence(2980 - made_up)
    assert frame == CallerFrame(FRAME)


# ---- stalls


@pytest.mark.edge_case(9)
def test_ct9_silence_is_made_up_while_no_frames_come() -> None:
    stream = Stream()
    stream.tell(media(100, 2))
    assert stream.run(STALL_S - 0.001) == []
    assert stream.run(0.001) == [silence(750)]
    assert stream.run(0.2001) == [silence(200)]
    stream.run(2.05)
    assert stream.counts.filled_ms == pytest.approx(3000, abs=200)
    assert stream.counts.stalls == 1


@pytest.mark.edge_case(9)
def test_ct9_made_up_silence_is_not_filled_again_by_the_timestamps() -> None:
    stream = Stream()
    stream.tell(media(100, 2))
    stream.run(3.0)
    made_up = stream.counts.filled_ms
    (fill, frame) = stream.audio(media(100 + 3000, 3))
    assert fill == silence(3000 - 20 - made_up)
    assert frame == CallerFrame(FRAME)
    assert stream.counts.filled_ms == 2980
    assert stream.audio(media(3120, 4)) == [CallerFrame(FRAME)]


@pytest.mark.edge_case(34)
def test_frames_that_were_only_late_are_forwarded_in_order() -> None:
    """C-T 34: a burst after a stall of the network; their clock has no hole."""
    stream = Stream()
    stream.tell(media(100, 2))
    stream.run(2.0)
    burst = [media(120 + 20 * n, 3 + n, bytes([n]) * 160) for n in range(100)]
    assert [frame.payload[:1] for frame in stream.audio(*burst)] == [bytes([n]) for n in range(100)]
    assert stream.audio(media(2320, 200))[0] == silence(200), "a hole after it is one again"


@pytest.mark.edge_case(34)
def test_a_burst_without_a_stall_is_forwarded_as_it_is() -> None:
    """C-T 34."""
    stream = Stream()
    stream.tell(*(media(100 + 20 * n, n + 2, bytes([n]) * 160) for n in range(100)))
    assert stream.heard_bytes() == b"".join(bytes([n]) * 160 for n in range(100))


def test_a_stall_is_made_up_to_the_cap_and_not_for_ever() -> None:
    stream = Stream()
    stream.tell(media(100, 2))
    stream.run(60)
    assert stream.counts.filled_ms == MAX_FILL_MS
    assert stream.machine.next_deadline() is None
    assert stream.audio(media(60_100, 3)) == [CallerFrame(FRAME)], "one hole, one cap"
    assert stream.counts.filled_ms == MAX_FILL_MS
    assert stream.counts.skipped_ms == 60_000 - 20 - MAX_FILL_MS
    assert len(of(CallerFrame, stream.run(1.0))) == 2, "and the next stall is made up again"


@pytest.mark.parametrize("clock", [False, True])
def test_every_stall_is_made_up_anew_with_and_without_timestamps(clock: bool) -> None:
    stream = Stream()
    for n in range(6):
        stream.tell(media(2000 * n if clock else None, n + 2))
        assert sum(len(f.payload) for f in of(CallerFrame, stream.run(1.99))) >= 8 * 1700
    assert stream.counts.stalls == 6


def test_a_stream_that_never_sends_audio_is_a_stall_too() -> None:
    stream = Stream()
    assert of(CallerFrame, stream.run(STALL_S)) == [silence(750)]


def test_a_deadline_before_its_time_does_nothing() -> None:
    stream = Stream()
    stream.now += 0.5
    assert stream.tell(DUE) == []
    stream.tell(media(0, 2))
    stream.now += 0.5
    assert stream.tell(DUE) == [], "the frame has put it off"


def test_a_deadline_after_the_last_fill_does_nothing() -> None:
    stream = Stream()
    stream.run(60)
    assert stream.tell(DUE) == []


# ---- watchdog


def test_frames_are_reported_as_life_once_a_second() -> None:
    stream = Stream()
    for n in range(140):
        stream.tell(media(20 * n, n + 2))
        stream.run(0.02)
    versions = [change.version for change in of(StateChanged, stream.log)]
    assert versions == [1, 2, 3]


def test_silence_that_was_made_up_is_no_sign_of_life() -> None:
    stream = Stream()
    assert of(StateChanged, stream.run(30)) == []


def test_l10_a_reset_of_a_dead_socket_ends_the_call() -> None:
    stream = Stream()
    stream.run(30)
    granted, ending = stream.tell(ResetRequest(Owner.CARRIER, SILENT, 1))
    assert granted == ResetGranted(Owner.CARRIER, SILENT)
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.CARRIER_SILENT
    assert stream.machine.state is State.ENDED
    assert stream.machine.next_deadline() is None


@pytest.mark.parametrize(
    ("reason", "version", "why"),
    [
        (SILENT, 0, Refusal.VERSION_MOVED),
        (SILENT, 2, Refusal.VERSION_MOVED),
        (ResetReason.MODEL_SILENT, 1, Refusal.NOT_STUCK),
    ],
)
def test_l10_any_other_reset_is_refused(reason: ResetReason, version: int, why: Refusal) -> None:
    stream = Stream()
    asked = ResetRequest(Owner.CARRIER, reason, version)
    assert stream.tell(asked) == [ResetRefused(Owner.CARRIER, reason, why)]
    assert stream.machine.state is State.STREAMING


def test_l10_one_that_has_ended_answers_all_the_same() -> None:
    stream = Stream()
    stream.tell(STOP)
    asked = ResetRequest(Owner.CARRIER, SILENT, 1)
    assert stream.tell(asked) == [ResetRefused(Owner.CARRIER, SILENT, Refusal.NOT_STUCK)]


# ---- properties


def test_the_table_says_what_the_machine_does() -> None:
    oversize = wire.Malformed(Fault.OVERSIZE, "")
    events: dict[type, Event] = {
        type(event): event for event in (STARTED, TOLD, REFUSED, STOP, CLOSED, DUE, oversize)
    }
    for (state, kind), entered in TRANSITIONS.items():
        stream = Stream(start=state is State.STREAMING)
        stream.now += START_DEADLINE_S
        stream.tell(events[kind])
        assert stream.machine.state is entered


COUNTS = st.none() | st.integers(0, 300) | st.integers(0, 10**14)
ANY_MEDIA = st.builds(
    media,
    COUNTS,
    COUNTS,
    st.binary(max_size=400),
    sid=st.sampled_from([SID, SID, SID, "MZ2"]),
    track=st.sampled_from(["inbound", "inbound", "outbound", "strange"]),
)
ANYTHING = st.one_of(
    ANY_MEDIA,
    ANY_MEDIA,
    ANY_MEDIA,
    st.builds(wire.Mark, st.just(SID), COUNTS, st.text(max_size=5)),
    st.builds(wire.Dtmf, st.just(SID), COUNTS, st.text(max_size=2)),
    st.builds(wire.Malformed, st.sampled_from(Fault), st.just("")),
    st.sampled_from([STARTED, TOLD, REFUSED, STOP, CLOSED, DUE]),
    st.sampled_from([wire.Unknown("x"), wire.Connected("", "")]),
    st.builds(
        ResetRequest, st.just(Owner.CARRIER), st.sampled_from(ResetReason), st.integers(0, 3)
    ),
)


@given(st.lists(st.tuples(ANY_MEDIA, st.floats(0, 3)), max_size=40))
def test_what_comes_out_is_the_accepted_frames_in_order_and_the_fill(
    told: list[tuple[wire.Media, float]],
) -> None:
    stream = Stream()
    accepted = []
    filled_bytes = 0
    for event, wait_s in told:
        before = stream.counts.frames
        out = stream.audio(event)
        if stream.counts.frames > before:
            assert out[-1].payload == event.payload
            accepted.append(event.payload)
            out.pop()
        filled_bytes += sum(len(frame.payload) for frame in out)
        assert all(set(frame.payload) == {0xFF} for frame in out)
        made_up = of(CallerFrame, stream.run(wait_s))
        assert all(set(frame.payload) == {0xFF} for frame in made_up)
        filled_bytes += sum(len(frame.payload) for frame in made_up)
    counts = stream.counts
    assert filled_bytes == counts.filled_ms * 8
    assert len(stream.heard_bytes()) == counts.payload_bytes + filled_bytes
    assert counts.payload_bytes == sum(map(len, accepted))
    dropped = counts.duplicates + counts.reordered + counts.empty_frames + counts.foreign_frames
    assert counts.frames + dropped == len(told)


@given(
    st.lists(st.integers(1, 12_000), max_size=20),
    st.booleans(),
)
def test_the_model_is_given_as_much_audio_as_time_has_passed(
    waits_ms: list[int], numbered: bool
) -> None:
    """Whatever the holes, as long as none exceeds the cap: neither too little nor twice.

    A stall is made up until the next frame comes, and that frame brings 20 ms of its own.
    """
    stream = Stream()
    clock_ms = 100
    stream.tell(media(clock_ms, 2))
    for n, wait_ms in enumerate(waits_ms):
        wait_ms = min(max(wait_ms, 20), MAX_FILL_MS)  # noqa: PLW2901 - clipped to what is filled
        stream.run(wait_ms / 1000)
        clock_ms += wait_ms
        stream.tell(media(clock_ms, n + 3 if numbered else None))
    heard_ms = len(stream.heard_bytes()) / 8
    too_much_ms = heard_ms - (clock_ms - 100 + 20)
    assert -GAP_TOLERANCE_MS * len(waits_ms) <= too_much_ms <= 20 * len(waits_ms)


@given(st.booleans(), st.lists(st.tuples(ANYTHING, st.floats(0, 12)), max_size=40))
def test_whatever_comes_nothing_is_raised_and_the_call_ends_at_most_once(
    start: bool, told: list[tuple[Event, float]]
) -> None:
    stream = Stream(start=start)
    for event, wait_s in told:
        stream.tell(event)
        stream.run(wait_s)
    endings = of(CallEnding, stream.log)
    assert len(endings) == (stream.machine.state is State.ENDED)
    if endings:
        told = [each for each in stream.log if not isinstance(each, ResetRefused)]
        assert isinstance(told[-1], CallEnding), "once ended, nothing matters"
        assert stream.machine.next_deadline() is None


# ---- numbers, by looking at all of them


class Looking(Inbound):
    """Looks for every number among the recent ones, whatever it is."""

    def _media(self, event: wire.Media, now: float) -> list[Action]:
        sequence = event.sequence_number
        if sequence is not None:
            newest = self._recent[-1] if self._recent else sequence - 1
            known, due = sequence in self._recent, self._is_due(event)
            if (known or newest - RECENT_FRAMES < sequence < newest) and not due:
                self.counts.duplicates += known
                self.counts.reordered += not known
                return []
            if sequence <= newest:
                self._recent.clear()
                self.counts.clock_restarts += 1
                if not due:
                    self._next_ms = None
            self._recent.append(sequence)
        return super()._media(replace(event, sequence_number=None), now)


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 9) | st.sampled_from([70, 71, 200]),
            st.none() | st.integers(0, 300),
        )
    )
)
def test_a_number_above_the_last_needs_no_looking(numbers: list[tuple[int | None, int]]) -> None:
    quick, looking = Inbound(0.0), Looking(0.0)
    for machine in (quick, looking):
        machine.handle(STARTED, 0.0)
    for n, (sequence, timestamp_ms) in enumerate(numbers):
        event = wire.Media(SID, sequence, timestamp_ms, "inbound", FRAME)
        assert quick.handle(event, n / 50) == looking.handle(event, n / 50)
        assert quick.counts == looking.counts
