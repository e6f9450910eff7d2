from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine.machines.transmission_terms import SendClear, SendMedia
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    Interrupted,
    ResponseHeard,
)
from callengine.testing.explore.audio_watch import AudioWatch
from callengine.testing.explore.broken import Broken
from callengine.testing.explore.sound import Run, frame_of, item_id, runs
from callengine.wire import realtime_events as wire

if TYPE_CHECKING:
    from collections.abc import Callable

CUT = Interrupted(1, 1, "r1")
SPOKE = CallerSpoke(1)
SURE = BargeInConfirmed(1, ())
OVER = wire.ResponseDone("r1", "completed", None, None, None, ())


def begun(
    *events: object,
    protected: bool = False,
    unwanted: bool = False,
    watch: AudioWatch | None = None,
) -> AudioWatch:
    """The bridge has heard these, then r1 began, and its three frames came."""
    watch = watch or AudioWatch()
    deltas = [wire.AudioDelta("r1", item_id(1, n), 0, frame_of(1, n)) for n in range(3)]
    for event in (*events, wire.ResponseCreated("r1", False), *deltas):
        watch = watch.bridge_hears(event, protected=protected, unwanted=unwanted)
    return watch


def tells(watch: AudioWatch, *actions: object, now: float = 0.0) -> AudioWatch:
    for action in actions:
        watch = watch.pacer_does(action, now)
    return watch


def writes(watch: AudioWatch, frame: int = 0) -> AudioWatch:
    return tells(watch, SendMedia(frame_of(1, frame)))


def heard(watch: AudioWatch, frames: int) -> AudioWatch:
    return watch.ear_hears([Run(1, n, 160) for n in range(frames)])


def truncates(watch: AudioWatch, item: str, ms: int) -> AudioWatch:
    return watch.bridge_does(SendTruncate(item, 0, ms))


def over(watch: AudioWatch) -> AudioWatch:
    return watch.bridge_hears(OVER, protected=False, unwanted=False)


BROKEN: list[tuple[str, Callable[[], object]]] = [
    ("L1", lambda: writes(AudioWatch())),
    ("L1", lambda: writes(tells(begun(), CUT))),
    ("L1", lambda: writes(tells(begun(), CUT, SURE))),
    ("L1", lambda: writes(tells(begun(), SPOKE))),
    ("L1", lambda: writes(tells(begun(CUT), CUT))),
    ("L1", lambda: writes(tells(begun(CUT), CUT, BargeInConfirmed(2, ())))),
    ("L1", lambda: writes(begun(unwanted=True))),
    ("L1", lambda: tells(begun(), CUT).may_be_heard(Run(1, 0, 160))),
    ("L3", lambda: truncates(heard(begun(), 2), "i1a", 61)),
    ("L3", lambda: truncates(begun(), "i1a", 21)),
    ("L3", lambda: truncates(heard(begun(), 2), "i1a", 19)),
    ("L3", lambda: truncates(truncates(begun(), "i1a", 0), "i1a", 0)),
    ("L3", lambda: truncates(AudioWatch(), "i1a", 0)),
    ("L3", lambda: begun().at_rest()),
    ("L3", lambda: heard(begun(), 2).at_rest()),
    ("L3", lambda: tells(AudioWatch(), ResponseHeard("r1"))),
    ("L6", lambda: writes(begun()).interrupted(Run(1, 0, 160), 0.0, [])),
    ("L9", lambda: truncates(begun(protected=True), "i1a", 0)),
    ("stuck", lambda: over(heard(begun(), 3)).at_rest()),
]


@pytest.mark.parametrize(("law", "happens"), BROKEN)
def test_what_breaks_a_law(law: str, happens: Callable[[], object]) -> None:
    with pytest.raises(Broken) as broken:
        happens()
    assert broken.value.law == law


def test_audio_may_be_played() -> None:
    writes(begun())
    writes(tells(begun(SPOKE), SPOKE))
    writes(tells(begun(CUT, SURE), CUT, SURE))
    writes(tells(begun(CUT), CUT, SURE))
    writes(tells(begun(), CUT, BargeInDismissed()))
    writes(tells(begun(protected=True), SPOKE))


def test_two_false_alarms_in_a_row_cut_nothing() -> None:
    again = (BargeInDismissed(), Interrupted(2, 2, "r1"), BargeInDismissed())
    writes(tells(begun(), CUT, *again))
    with pytest.raises(Broken):
        writes(tells(begun(), SPOKE, Interrupted(1, 2, "r1"), BargeInDismissed()))


def test_what_was_heard_or_truncated_rests() -> None:
    tells(over(heard(begun(), 3)), ResponseHeard("r1")).at_rest()
    cut = tells(heard(begun(), 1), CUT, SURE)
    rests = over(truncates(truncates(cut, "i1a", 20), "i1b", 0))
    rests.at_rest()
    assert rests.told == ()


def test_what_is_heard_out_is_forgotten_when_it_has_reached_the_ear() -> None:
    told = tells(over(heard(begun(), 2)), ResponseHeard("r1"))
    assert told.told
    assert not told.ear_hears([Run(1, 2, 160)]).told


def test_a_line_that_takes_its_time_is_forgiven_a_frame() -> None:
    slow = AudioWatch(slack_bytes=160)
    tells(over(heard(begun(watch=slow), 2)), ResponseHeard("r1")).at_rest()


def test_a_clear_silences_by_our_clock_too() -> None:
    on_air = Run(1, 0, 160)
    silent = tells(writes(begun()), SendClear())
    silent.interrupted(on_air, 0.0, [])
    writes(begun()).interrupted(on_air, 0.02, [])
    writes(begun()).interrupted(None, 0.0, [])
    writes(begun()).interrupted(on_air, 0.0, [SendClear()])
    writes(begun(protected=True)).interrupted(on_air, 0.0, [])


def test_parts_of_a_frame_add_up() -> None:
    half = begun().ear_hears([Run(1, 0, 80)])
    told = half.ear_hears([Run(1, 0, 80), Run(1, 0, 80)]).of("r1")
    assert told is not None
    assert told.heard == (160,)


def test_a_frame_tells_where_it_is_from() -> None:
    assert list(runs(frame_of(3, 2)[:100] + frame_of(4, 0)[:20] + b"\xff" * 40)) == [
        Run(3, 2, 100),
        Run(4, 0, 20),
    ]
