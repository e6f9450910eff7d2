"""The fallback reply from the database, inside a Flask application whose own wants a context.

A host's session "works only inside of application context": the reply that a caller hears when the
model is gone is looked up and played all the same, because it is our session that finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flask
import pytest

from callengine import EndCause
from callengine.store import Business, Store, upgrade
from callengine.testing import SimulatedRealtime, Wait, said, speech
from callengine.testing.realtime.faults import DelaySessionUpdated
from tests.adapters.test_flask import site
from tests.edges.twilio_signed import CALL

if TYPE_CHECKING:
    from pathlib import Path

    from callengine.messages import StreamStarted

pytestmark = pytest.mark.realtime

FALLBACK = speech.clip("agent_reply_1")[:8_000]
FAREWELL = speech.clip("agent_reply_2")[:8_000]
DEAD_AIR_S = 3.0


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'calls.db'}"
    store = Store.from_url(url)
    upgrade(store.engine)
    store.save_business(Business(called=CALL["To"], fallback_clip=FALLBACK, farewell_clip=FAREWELL))
    store.close()
    return url


def hosts_own_reply() -> str:
    """What the host's code did once: a session that belongs to the application."""
    return str(flask.current_app.config["FALLBACK"])


def test_the_reply_of_the_business_is_heard_although_no_application_is_current(
    database_url: str,
) -> None:
    app = flask.Flask("host")
    app.config["FALLBACK"] = "never seen"
    with site(
        app,
        lambda: SimulatedRealtime([said("agent_greeting")], faults=[DelaySessionUpdated(60.0)]),
        model_retries=0,
        database_url=database_url,
    ) as open_site:
        record = open_site.dial(open_site.port, "/voice", Wait(4.5))
        summary = open_site.summary()
    heard = b"".join(span.payload for span in record.heard)
    assert FALLBACK in heard
    assert record.heard[0].at - record.opened_at < DEAD_AIR_S
    assert summary.fallbacks == 1
    assert summary.context_errors == 0


def test_a_choice_that_needs_the_context_fails_alone_and_the_reply_comes_all_the_same(
    database_url: str,
) -> None:
    told: list[str] = []

    def choose(_: StreamStarted) -> object:
        told.append("asked")
        return hosts_own_reply()  # RuntimeError: Working outside of application context

    app = flask.Flask("host")
    with site(
        app,
        lambda: SimulatedRealtime([said("agent_greeting")], faults=[DelaySessionUpdated(60.0)]),
        agent=choose,
        model_retries=0,
        database_url=database_url,
    ) as open_site:
        record = open_site.dial(open_site.port, "/voice", Wait(4.5))
        summary = open_site.summary()
    assert told == ["asked"]
    assert summary.context_errors == 1
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert FALLBACK in b"".join(span.payload for span in record.heard)
