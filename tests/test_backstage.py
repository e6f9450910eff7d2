from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from callengine import Agent, Settings, SettingsError
from callengine.backstage import Backstage
from callengine.messages import StreamStarted
from callengine.metrics import NoMetrics
from callengine.records import CallBegan, EventNoted
from callengine.store import Business, Store, upgrade

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
    setting, _ = backstage.stage(Agent(), None)
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
    setting, answers = backstage.stage(agent, None)
    assert backstage.journal_waiting == backstage.mailbox_depth == 0
    backstage.stop()
    assert answers is agent
    assert setting.stand_in(STARTED) is FALLBACK
    assert setting.redirect is None, "there is no token to ask Twilio with"


def test_with_one_the_business_that_is_called_furnishes_the_agent(store: Store) -> None:
    store.save_business(Business(called="+15550100", voice="cedar"))
    backstage = Backstage(Settings(twilio_auth_token="t"), FALLBACK, store, NoMetrics())
    setting, answers = backstage.stage(Agent(), None)
    assert not isinstance(answers, Agent)
    assert answers(STARTED).voice == "cedar"
    assert setting.stand_in(STARTED).voice == "cedar"
    assert setting.redirect is not None
    backstage.stop()


def test_a_spill_file_that_cannot_be_written_leaves_no_thread_behind(store: Store) -> None:
    before = threading.active_count()
    with pytest.raises(SettingsError, match="spill_path"):
        Backstage(Settings(spill_path="/proc/none/spill"), FALLBACK, store, NoMetrics())
    assert threading.active_count() == before
