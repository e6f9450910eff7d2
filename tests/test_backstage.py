from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from loguru import logger
from sqlalchemy import func, select

from callengine import Agent, Settings, SettingsError
from callengine.backstage import Backstage
from callengine.logs import QuietLog
from callengine.machines.strain import Ballast, Level, Strain
from callengine.messages import StreamStarted
from callengine.metrics import NoMetrics
from callengine.records import CallBegan, EventNoted, TurnTaken
from callengine.store import Business, Store, metadata, upgrade
from tests.store.made import whole_call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from callengine.summary import CallSummary

STARTED = StreamStarted("MZ1", "CA1", {}, called="+15550100")
FALLBACK = Agent(instructions="Take a message.")


class Counting(NoMetrics):
    """Metrics that remember what they were told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def call_began(self) -> None:
        self.told.append("began")

    def call_ended(self, _: CallSummary) -> None:
        self.told.append("ended")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.from_url(f"sqlite:///{tmp_path / 'calls.db'}")
    upgrade(store.engine)
    yield store
    store.close()


def test_what_is_noted_is_measured_and_in_the_database_when_it_has_stopped(store: Store) -> None:
    before = threading.active_count()
    metrics = Counting()
    backstage = Backstage(Settings(), FALLBACK, store, metrics)
    setting = backstage.stage(Agent(), None).setting
    call_id = uuid4()
    setting.note(CallBegan(call_id=call_id, call_sid="CA1", stream_sid="MZ1"))
    setting.note(EventNoted(call_id=call_id, kind="model_lost"))
    backstage.stop()
    assert metrics.told == ["began"]
    assert backstage.journal_waiting == 0
    call = store.call(call_id)
    assert call is not None
    assert call.call_sid == "CA1"
    assert threading.active_count() == before


def test_without_a_database_the_agent_answers_as_it_is() -> None:
    backstage = Backstage(Settings(), FALLBACK, None, NoMetrics())
    agent = Agent(greeting=None)
    staged = backstage.stage(agent, None)
    assert backstage.journal_waiting == backstage.mailbox_depth == 0
    backstage.stop()
    assert staged.agent is agent
    assert staged.setting.stand_in(STARTED) is FALLBACK
    assert staged.setting.redirect is None, "there is no token to ask Twilio with"


def test_with_one_the_business_that_is_called_furnishes_the_agent(store: Store) -> None:
    store.save_business(Business(called="+15550100", voice="cedar"))
    backstage = Backstage(Settings(twilio_auth_token="t"), FALLBACK, store, NoMetrics())
    staged = backstage.stage(Agent(), None)
    assert not isinstance(staged.agent, Agent)
    assert staged.agent(STARTED).voice == "cedar"
    assert staged.setting.stand_in(STARTED).voice == "cedar"
    assert staged.setting.redirect is not None
    backstage.stop()


class StrainedTo(Strain):
    """As strained as it is told."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        self._told = level

    def level(self, _now: float) -> Level:
        return self._told


@pytest.mark.parametrize(
    ("level", "left_out", "lines"),
    [
        (Level.CALM, set(), ["call ended", "model lost"]),
        (Level.STRAINED, {"callengine_events"}, ["model lost"]),
        (Level.OVERLOADED, {"callengine_events", "callengine_turns"}, ["model lost"]),
    ],
)
def test_a_strained_engine_writes_less_down(
    store: Store, level: Level, left_out: set[str], lines: list[str]
) -> None:
    """That the call was, what it cost and how it was interrupted is written in any case."""
    written: list[str] = []
    sink = logger.add(written.append, format="{message}")
    logger.enable("tests")
    strain, records = StrainedTo(level), whole_call()
    backstage = Backstage(Settings(), FALLBACK, store, NoMetrics(), strain=strain)
    setting = backstage.stage(Agent(), None).setting
    for record in records:
        setting.note(record)
    log = QuietLog(setting.log.logger)
    log.info("call ended")
    log.warning("model lost")
    backstage.stop()
    logger.remove(sink)
    logger.disable("tests")
    with store.engine.connect() as connection:
        empty = {
            name
            for name, table in metadata.tables.items()
            if connection.scalar(select(func.count()).select_from(table)) == 0
        }
    assert empty == {"callengine_businesses", "callengine_erased_calls"} | left_out
    assert [line.strip() for line in written] == lines
    kinds = [type(record) for record in records]
    assert strain.shed[Ballast.DIAGNOSTICS] == (kinds.count(EventNoted) + 1) * (level > Level.CALM)
    assert strain.shed[Ballast.RECORDINGS] == kinds.count(TurnTaken) * (level > Level.STRAINED)


class Alarm:
    """Something that rings."""

    def __init__(self) -> None:
        self.rung = threading.Event()

    def ring(self) -> None:
        self.rung.set()


@pytest.mark.realtime
def test_a_loop_that_is_held_up_strains_the_engine() -> None:
    strain = Strain()
    backstage = Backstage(Settings(), FALLBACK, None, NoMetrics(), strain=strain)
    loop = backstage.stage(Agent(), None).loop
    alarm, judged = Alarm(), Alarm()

    def hold_up() -> None:
        for _ in range(100):
            loop.call_at(time.monotonic(), alarm.ring)
        time.sleep(0.1)

    loop.call_soon(hold_up)
    loop.call_at(time.monotonic() + 1.0, judged.ring)
    assert judged.rung.wait(5)
    level = strain.level(time.monotonic())
    backstage.stop()
    assert level is Level.OVERLOADED


def test_a_spill_file_that_cannot_be_written_leaves_no_thread_behind(store: Store) -> None:
    before = threading.active_count()
    with pytest.raises(SettingsError, match="spill_path"):
        Backstage(Settings(spill_path="/proc/none/spill"), FALLBACK, store, NoMetrics())
    assert threading.active_count() == before
