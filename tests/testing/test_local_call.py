from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from callengine import EndCause, Settings, SettingsError
from callengine.edges import carrier_stream, stream
from callengine.testing import (
    BargeIn,
    Reply,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    Wait,
    WaitUntil,
    WaitUntilHeard,
    local_call,
)
from callengine.testing.local_call import (
    LEAST_SECONDS,
    OVER_GREETING,
    Resources,
    hold_call,
    replies,
    script,
)
from callengine.testing.realtime.script import Behaviour
from callengine.wire.text_frame import FrameReader

if TYPE_CHECKING:
    from callengine.testing.caller.record import CallRecord


@pytest.mark.parametrize("seconds", [LEAST_SECONDS, 60, 120])
def test_the_script_interrupts_three_times_and_lasts_as_long_as_asked(seconds: int) -> None:
    steps = script(seconds)
    labels = [step.label for step in steps if isinstance(step, BargeIn)]
    assert labels == [OVER_GREETING, "while the model generates", "after the model is done"]
    assert steps[-1] == WaitUntil(seconds)


def test_a_longer_call_has_more_questions() -> None:
    questions = [
        sum(isinstance(step, Say) for step in script(seconds)) for seconds in (36, 60, 120)
    ]
    assert questions == [1, 3, 7]


@pytest.mark.parametrize("seconds", [-1, 0, LEAST_SECONDS - 1])
def test_too_short_a_call_is_refused_with_the_least(seconds: int) -> None:
    with pytest.raises(SettingsError, match=f"a call takes {LEAST_SECONDS} or more"):
        script(seconds)


@pytest.mark.realtime
def test_resources_are_waited_for_but_not_for_ever() -> None:
    stop, before = threading.Event(), Resources.now()
    thread = threading.Thread(target=stop.wait, args=(0.1,))
    thread.start()
    assert not Resources.back_to(before).exceeds(before)
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert Resources.back_to(before) == Resources(before.threads + 1, before.sockets)
    stop.set()
    thread.join()
    assert not Resources(1, 1).exceeds(Resources(1, 1))
    assert Resources(0, 2).exceeds(Resources(1, 1))
    assert Resources(2, 0).exceeds(Resources(1, 1))


@pytest.mark.parametrize("seconds", [LEAST_SECONDS, 60, 90])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_script_fits_into_its_time(seconds: int, seed: int) -> None:
    """Nothing is missed, and the caller never has to be cut off in mid-question."""
    caller = SimulatedCaller(script(seconds), seed=seed)
    model = SimulatedRealtime(replies(), behaviour=Behaviour(latency_s=0.04), seed=seed)
    summary = Simulation(caller, model, seed=seed).run()
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.barge_in_events == 2
    assert caller.record.missed == []
    assert caller.record.closed is not None
    assert seconds <= caller.record.closed.at - caller.record.opened_at < seconds + 1
    assert all(said.end_at < caller.record.closed.at for said in caller.record.said)


def test_every_reply_is_longer_than_what_is_said_before_it_is_interrupted() -> None:
    assert all(isinstance(reply, Reply) and len(reply.audio) > 5 * 8000 for reply in replies()[1:])


def test_resources_count_threads_and_sockets() -> None:
    stop = threading.Event()
    before = Resources.now()
    with socket.socket():
        thread = threading.Thread(target=stop.wait)
        thread.start()
        during = Resources.now()
        stop.set()
        thread.join()
    assert (during.threads, during.sockets) == (before.threads + 1, before.sockets + 1)
    assert Resources.now() == before


def test_the_real_model_needs_a_key() -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        hold_call(LEAST_SECONDS, 1, settings=Settings())


def test_a_long_call_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[float] = []

    def run_client(*_: object, deadline_s: float, **__: object) -> None:
        deadlines.append(deadline_s)
        raise KeyboardInterrupt

    monkeypatch.setattr(local_call, "run_client", run_client)
    with pytest.raises(KeyboardInterrupt):
        hold_call(3600, 1)
    assert deadlines[0] > 3660


@pytest.mark.realtime
def test_a_call_is_counted_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is gone before the engine has read the last of what it sent."""
    steps = [WaitUntilHeard(5.0), Wait(0.3)]

    class Slow(FrameReader):
        def feed(self, data: bytes | bytearray) -> None:
            time.sleep(0.01)  # frames come faster than that
            super().feed(data)

    monkeypatch.setattr(carrier_stream, "FrameReader", Slow)
    monkeypatch.setattr(stream, "READ_BYTES", 100)  # a third of one of them
    monkeypatch.setattr(local_call, "script", lambda _: steps)
    for seed in range(2):
        progress: list[float] = []

        def on_progress(elapsed_s: float, record: CallRecord, seen: Any = progress) -> None:  # noqa: ANN401
            assert record.opened_at > 0
            seen.append(elapsed_s)

        held = hold_call(LEAST_SECONDS, seed, on_progress=on_progress)
        assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
        assert held.summary.inbound.frames == held.caller.inbound_frames_sent
        assert held.model is not None
        assert held.summary.session.appended_bytes == len(held.model.appended)
        assert not held.after.exceeds(held.before)
        assert progress == sorted(progress)
        assert len(progress) > 10


@pytest.mark.realtime
def test_a_call_with_a_model_of_ones_own() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen; somebody else's it cannot become
        port = nobody.getsockname()[1]
        held = hold_call(36, 1, settings=Settings(realtime_url=f"ws://127.0.0.1:{port}/"))
    assert held.model is None
    assert held.summary.end_cause is EndCause.MODEL_UNREACHABLE
    assert held.caller.closed is not None
    assert held.caller.closed.code == 1000
