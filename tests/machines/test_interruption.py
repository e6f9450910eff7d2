from __future__ import annotations

from callengine.machines.interruption import Interruption, State
from callengine.machines.response_terms import CONTINUATION, Purpose, Wanted

ANSWER = Wanted(Purpose.ANSWER)


def test_what_a_false_alarm_put_off_is_wanted_once_and_in_order() -> None:
    interruption = Interruption()
    interruption.begin()
    interruption.called_off(ANSWER)
    for _ in range(1000):  # a model that begins again and again costs no memory
        interruption.cut()
        interruption.called_off(ANSWER)
    assert interruption._put_off == [ANSWER, CONTINUATION]
    assert interruption.dismiss() == [ANSWER, CONTINUATION]
    assert interruption.state is State.DISMISSED
    assert interruption.dismiss() == []


def test_what_the_caller_interrupted_is_wanted_no_more() -> None:
    interruption = Interruption()
    interruption.begin()
    interruption.cut()
    interruption.settle()
    assert interruption.dismiss() == []


def test_a_sentence_that_was_complete_needs_no_continuation() -> None:
    interruption = Interruption()
    interruption.begin()
    interruption.called_off(ANSWER)
    interruption.cut()
    interruption.completed()
    assert interruption.dismiss() == [ANSWER]
