from __future__ import annotations

import heapq
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from callengine.agent import Agent
from callengine.testing.bench import script
from callengine.testing.bench.codec import Inbox
from callengine.testing.bench.model import ANSWERS_AFTER_S, CANCEL_TAKES_S, Model
from callengine.testing.bench.sounds import NOISE, REPLY_MS, SPEECH, reply
from callengine.wire import realtime_client as client
from callengine.wire import realtime_events as events
from callengine.wire.realtime_server import decode

if TYPE_CHECKING:
    from collections.abc import Callable

SLOT_S = 0.02
CONFIG = Agent(instructions="bench call 4").session_config()


@dataclass
class FakeLine:
    """A `Line` whose time moves only when told; events are kept as the engine reads them."""

    now: float = 0.0
    told: list[tuple[float, events.ServerEvent]] = field(default_factory=list)
    first_audio: list[tuple[int, float]] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    before: int = 0
    agenda: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)

    def send(self, messages: bytes) -> None:
        for _, text in Inbox(masked=False).take(messages):
            event = decode(text)
            assert not isinstance(event, events.Malformed | events.Unknown), text[:200]
            self.told.append((self.now, event))

    def at(self, when: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self.agenda, (when, len(self.agenda) + len(self.told), action))

    def speaks(self, number: int, now: float) -> None:
        self.first_audio.append((number, now))

    def configured(self, instructions: str) -> int:
        self.instructions.append(instructions)
        return self.before

    def advance(self, until: float) -> None:
        while self.agenda and self.agenda[0][0] <= until:
            self.now, _, action = heapq.heappop(self.agenda)
            action(self.now)
        self.now = until

    def of(self, kind: type[events.ServerEvent]) -> list[events.ServerEvent]:
        return [event for _, event in self.told if isinstance(event, kind)]


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


@pytest.fixture
def model(line: FakeLine) -> Model:
    made = Model(line)
    made.open(0.0)
    say(made, client.encode_session_update("session-1", CONFIG, interrupt_response=True), 0.0)
    return made


def say(model: Model, message: str, now: float) -> None:
    model.received(message.encode(), now)


def hear(model: Model, line: FakeLine, frames: tuple[bytes, ...]) -> None:
    """Appends every 20 ms, from now on."""
    for frame in frames:
        message = b'{"type":"input_audio_buffer.append","audio":"%b"}' % frame
        model.received(message, line.now)
        line.advance(line.now + SLOT_S)


def silence(seconds: float) -> tuple[bytes, ...]:
    return NOISE[:1] * round(seconds / SLOT_S)


def ask(model: Model, line: FakeLine) -> None:
    hear(model, line, SPEECH)
    hear(model, line, silence(0.6))


def test_a_session_has_the_formats_that_were_asked_for(model: Model, line: FakeLine) -> None:
    created, updated = (event for _, event in line.told)
    assert isinstance(created, events.SessionCreated)
    assert isinstance(updated, events.SessionUpdated)
    assert client.mismatches(updated, CONFIG, interrupt_response=True) == ()
    assert line.instructions == ["bench call 4"]


def test_an_update_changes_only_what_it_names(model: Model, line: FakeLine) -> None:
    say(model, client.encode_session_query("probe-1"), 1.0)
    update = client.encode_turn_detection_update("session-2", CONFIG.vad, interrupt_response=True)
    say(model, update, 1.0)
    *_, (_, updated) = line.told
    assert isinstance(updated, events.SessionUpdated)
    assert client.mismatches(updated, CONFIG, interrupt_response=True) == ()
    assert len(line.instructions) == 1


def test_a_question_is_answered(model: Model, line: FakeLine) -> None:
    hear(model, line, silence(0.4) + SPEECH)
    (started,) = line.of(events.SpeechStarted)
    assert isinstance(started, events.SpeechStarted)
    assert started.audio_start_ms == 100
    hear(model, line, silence(0.6))
    (stopped,) = line.of(events.SpeechStopped)
    assert isinstance(stopped, events.SpeechStopped)
    assert stopped.audio_end_ms == 400 + 1200 + 500
    kinds = [type(event) for _, event in line.told[2:]]
    assert kinds[:3] == [events.SpeechStarted, events.SpeechStopped, events.InputCommitted]
    stopped_at = next(at for at, event in line.told if isinstance(event, events.SpeechStopped))
    line.advance(stopped_at + 10.0)
    created_at = next(at for at, event in line.told if isinstance(event, events.ResponseCreated))
    assert created_at == pytest.approx(stopped_at + ANSWERS_AFTER_S)
    done_at, done = next(
        (at, event) for at, event in line.told if isinstance(event, events.ResponseDone)
    )
    assert isinstance(done, events.ResponseDone)
    assert (done.response_id, done.status) == (script.response_id(1), "completed")
    assert done_at == pytest.approx(created_at + REPLY_MS / 1000 / script.PACE)
    deltas = line.of(events.AudioDelta)
    assert b"".join(each.audio for each in deltas if isinstance(each, events.AudioDelta)) == reply(
        1
    )
    assert line.first_audio == [(1, created_at)]
    assert len(line.of(events.InputTranscript)) == 1
    assert len(line.of(events.AudioDone)) == len(line.of(events.TranscriptDone)) == 1
    assert (model.counts.completed, model.counts.sent_bytes) == (1, REPLY_MS * 8)
    assert model.counts.appended_bytes == model.counts.appends * 160


def test_audio_comes_four_times_faster_than_it_plays(model: Model, line: FakeLine) -> None:
    ask(model, line)
    line.advance(line.now + 10.0)
    began_at, played_ms = line.first_audio[0][1], 0.0
    for at, event in line.told:
        if isinstance(event, events.AudioDelta):
            assert at - began_at == pytest.approx(played_ms / 1000 / script.PACE)
            assert 100 <= len(event.audio) / 8 <= 200 or played_ms > REPLY_MS - 200
            played_ms += len(event.audio) / 8
    assert played_ms == REPLY_MS


def test_speech_interrupts_what_is_being_made(model: Model, line: FakeLine) -> None:
    ask(model, line)
    hear(model, line, silence(1.0))
    hear(model, line, SPEECH)
    spoke_at = [at for at, event in line.told if isinstance(event, events.SpeechStarted)][1]
    ((done_at, done),) = [(a, e) for a, e in line.told if isinstance(e, events.ResponseDone)]
    assert isinstance(done, events.ResponseDone)
    assert (done.status, done.reason) == ("cancelled", "turn_detected")
    assert done_at == pytest.approx(spoke_at + CANCEL_TAKES_S)
    in_flight = [at for at, e in line.told if isinstance(e, events.AudioDelta) and at > spoke_at]
    assert in_flight == [done_at]
    assert model.counts.cancelled == 1
    hear(model, line, silence(1.0))
    assert [each.response_id for each in line.of(events.ResponseCreated)][1] == "resp_bench0002"


def test_a_cancel_ends_the_response_it_names(model: Model, line: FakeLine) -> None:
    ask(model, line)
    hear(model, line, silence(1.0))
    say(model, client.encode_response_cancel("cancel-1", script.response_id(1)), line.now)
    line.advance(line.now + 1.0)
    (done,) = line.of(events.ResponseDone)
    assert isinstance(done, events.ResponseDone)
    assert (done.status, done.reason) == ("cancelled", "client_cancelled")


@pytest.mark.parametrize("wanted", ["resp_bench0001", "resp_bench0009"])
def test_a_cancel_of_nothing_is_refused_by_name(model: Model, line: FakeLine, wanted: str) -> None:
    say(model, client.encode_response_cancel("cancel-1", wanted), line.now)
    (error,) = line.of(events.ErrorReceived)
    assert isinstance(error, events.ErrorReceived)
    assert (error.code, error.caused_by) == ("response_cancel_not_active", "cancel-1")
    assert model.counts.errors == {"response_cancel_not_active": 1}


def test_a_create_is_answered_with_its_id_and_refused_while_one_runs(
    model: Model, line: FakeLine
) -> None:
    say(model, client.encode_response_create("create-1", "Greet."), 1.0)
    say(model, client.encode_response_create("create-2", "Greet."), 1.1)
    (created,), (error,) = line.of(events.ResponseCreated), line.of(events.ErrorReceived)
    assert isinstance(created, events.ResponseCreated)
    assert isinstance(error, events.ErrorReceived)
    assert created.answers == "create-1"
    assert error.code == "conversation_already_has_active_response"


def test_a_truncate_is_confirmed(model: Model, line: FakeLine) -> None:
    say(model, client.encode_truncate("truncate-1", script.item_id(1), 0, 480), 1.0)
    assert line.of(events.ItemTruncated) == [events.ItemTruncated(script.item_id(1), 0, 480)]
    assert model.counts.truncates == 1


def test_the_second_session_of_a_call_counts_on() -> None:
    line = FakeLine(before=5)
    model = Model(line)
    say(model, client.encode_session_update("session-1", CONFIG, interrupt_response=True), 0.0)
    ask(model, line)
    line.advance(line.now + 1.0)
    assert line.first_audio[0][0] == 6


def test_a_hushed_model_says_nothing_more(model: Model, line: FakeLine) -> None:
    ask(model, line)
    hear(model, line, silence(1.0))
    model.hush()
    said = len(line.of(events.AudioDelta))
    hear(model, line, SPEECH)
    hear(model, line, silence(2.0))
    assert len(line.of(events.AudioDelta)) == said
    assert sum(len(e.audio) for e in line.of(events.AudioDelta)) == model.counts.sent_bytes


@pytest.mark.parametrize(
    "message", [b"{", b"[]", b'{"type":"nonsense"}', b'{"no":"type"}', b"\xff"]
)
def test_what_is_no_event_is_counted(model: Model, line: FakeLine, message: bytes) -> None:
    told = len(line.told)
    model.received(message, 1.0)
    assert (model.counts.unreadable, len(line.told)) == (1, told)


def test_a_long_append_is_counted_whole(model: Model) -> None:
    for size in (159, 160, 161, 1600):
        message = client.encode_append(b"\xff" * size)
        assert json.loads(message)["audio"]
        before = model.counts.appended_bytes
        say(model, message, 0.0)
        assert model.counts.appended_bytes - before == size
