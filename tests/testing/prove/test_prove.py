"""The proof itself: calls are drawn, judged, shortened and told; the same seed is the same call."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from callengine.messages import EndCause
from callengine.testing import laws
from callengine.testing.held import hold
from callengine.testing.prove import command
from callengine.testing.prove.fleet import Tally, prove
from callengine.testing.prove.scenario import MAX_CALL_S, MIN_CALL_S, Scenario, draw
from callengine.testing.prove.shrink import shrink
from callengine.testing.prove.timeline import Timeline, describe
from callengine.testing.prove.trial import Breach, Verdict, judge, name_of
from callengine.testing.prove.trouble import KINDS, LOSS, LOST
from callengine.testing.realtime.script import Behaviour

if TYPE_CHECKING:
    from callengine.testing.held import Held

SEED = 14
"""A call with an interruption and without troubles; a test below says so."""


def nobody_is_interrupted(held: Held) -> None:
    """No law at all: what is needed to see one broken."""
    if held.caller.clears:
        raise laws.LawBroken("somebody was")


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> str:
    """One law more, which calls break; its name."""
    monkeypatch.setattr(laws, "ALWAYS", {**laws.ALWAYS, nobody_is_interrupted: "L0"})
    return name_of(nobody_is_interrupted)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_drawn_call_keeps_the_laws(seed: int) -> None:
    verdict = judge(draw(seed))
    assert verdict.breaches == ()
    assert verdict.laws_checked > len(laws.ALWAYS) // 2


def test_calls_last_from_twenty_seconds_to_a_minute_and_have_all_troubles() -> None:
    scenarios = [draw(seed) for seed in range(400)]
    assert {t.kind for scenario in scenarios for t in scenario.troubles} == {*KINDS, LOSS}
    quick = [s for s in scenarios if not s.troubles and s.behaviour.first_audio_s <= 1.0]
    lasted = [judge(s).duration_s for s in quick[:20]]
    assert min(lasted) >= MIN_CALL_S
    assert max(lasted) <= MAX_CALL_S


def test_the_same_seed_is_the_same_call_message_by_message() -> None:
    one, two = Timeline(with_frames=True), Timeline(with_frames=True)
    assert judge(draw(SEED), one) == judge(draw(SEED), two)
    assert list(one.lines()) == list(two.lines())
    assert len(list(one.lines())) > 1000


def test_the_same_seed_is_the_same_call_to_the_last_byte() -> None:
    one, two = (hold(draw(SEED).simulation()) for _ in range(2))
    assert one.summary.to_json() == two.summary.to_json()
    assert one.model == two.model
    assert one.caller == two.caller


@pytest.mark.timeout(90)
def test_a_broken_law_is_told_and_shortened(strict: str) -> None:
    drawn = draw(SEED)
    scenario = replace(drawn, replies=drawn.replies[:3], behaviour=Behaviour())
    assert scenario.troubles == ()
    assert [breach.law for breach in judge(scenario).breaches] == [strict]
    shorter = shrink(scenario, strict)
    assert len(shorter.script) < len(scenario.script)
    assert [breach.law for breach in judge(shorter).breaches] == [strict]
    for n in range(len(shorter.script)):
        shortest = replace(shorter, script=shorter.script[:n] + shorter.script[n + 1 :])
        assert strict not in {breach.law for breach in judge(shortest).breaches}


def test_a_failure_is_a_finding_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(Scenario, "simulation", fails)  # before it has actors to leave behind
    (breach,) = judge(draw(SEED)).breaches
    assert "ZeroDivisionError: by design" in breach.seen


def test_an_end_that_nothing_explains_is_a_finding() -> None:
    scenario = draw(SEED)
    assert EndCause.MODEL_LOST not in scenario.may_end
    assert hold(scenario.simulation()).summary.end_cause in scenario.may_end


def a_call_whose_model_is_lost() -> Scenario:
    scenarios = (draw(seed) for seed in itertools.count(1))
    return next(
        scenario
        for scenario in scenarios
        if [trouble.kind for trouble in scenario.troubles] == [LOSS]
        and scenario.successors
        and scenario.successors[0].lasts
        and all(plan.seconds for plan in scenario.replies)
    )


def test_a_call_goes_on_with_another_model_if_there_is_one() -> None:
    """Its replies go on, too: no two sessions say the same."""
    scenario = a_call_whose_model_is_lost()
    held = hold(scenario.simulation())
    assert len(held.models) == 2
    assert held.summary.end_cause in scenario.may_end
    assert not scenario.may_end & LOST
    said = [response.audio for response in held.responses if response.audio]
    assert len({audio[:160] for audio in said}) == len(said)
    assert len({response.id for response in held.responses}) == len(held.responses)


def test_a_call_ends_if_no_other_model_can_be_reached() -> None:
    scenario = replace(a_call_whose_model_is_lost(), successors=())
    held = hold(scenario.simulation())
    assert len(held.models) == 1
    assert held.summary.end_cause in scenario.may_end & LOST


def test_slow_models_and_agents_without_a_fallback_are_drawn() -> None:
    scenarios = [draw(seed) for seed in range(100)]
    assert {0.0} < {scenario.fallback_s for scenario in scenarios}
    assert sum(scenario.behaviour.first_audio_s > 2.5 for scenario in scenarios) > 10
    assert {len(scenario.successors) for scenario in scenarios} == {0, 1, 2}
    assert any(not one.lasts for scenario in scenarios for one in scenario.successors)


def test_the_tally_says_how_often_another_model_took_over_and_a_fallback_was_played() -> None:
    tally = Tally()
    tally.add(Verdict(7, 30.0, (), Counter(), Counter(), 18, Counter({"fallbacks": 2})))
    told = "\n".join(command.summary(tally))
    assert "waits        fallbacks 2" in told


def test_the_event_script_shows_what_is_unusual() -> None:
    told = list(describe(draw(SEED)))
    assert any(line.startswith("caller   BargeIn(") for line in told)
    assert any(line.startswith("reply 1 ") for line in told)
    assert not any("clip=b" in line for line in told), "audio is not for people"


def test_a_replay_prints_the_call_and_its_verdict(
    strict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.replay(SEED) == 1
    once = capsys.readouterr().out
    assert f"broken: {strict}: somebody was" in once
    assert "Interrupted(barge_in=1" in once
    assert command.replay(SEED) == 1
    assert capsys.readouterr().out == once


def test_many_calls_are_held_and_counted() -> None:
    seen: list[int] = []
    tally = prove(range(1, 4), processes=1, progress=lambda tally: seen.append(tally.calls))
    assert (tally.calls, tally.broken_calls, seen[-1]) == (3, 0, 3)
    assert tally.simulated_s > 3 * 5
    assert sum(tally.barge_ins.values()) > 0


def test_the_summary_counts_and_names_what_was_broken() -> None:
    tally = Tally(real_s=2.0)
    tally.add(Verdict(7, 30.0, (Breach("L1 x", "y"),), Counter(acted=2), Counter(hiccup=1), 18))
    tally.add(Verdict(8, 5.0, (), Counter(acted=1), Counter(), 18))
    told = "\n".join(command.summary(tally))
    assert "2, of them 1 ended by their trouble within 20 s" in told
    assert "acted 3" in told
    assert "hiccup 1" in told
    assert "checked 36 times" in told
    assert "violations   1 calls" in told
    assert "1 x L1 x" in told
    assert "seeds: 7" in told
