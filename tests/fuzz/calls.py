"""What must hold of a whole call for any input: real actors on a virtual clock, raw messages.

A target takes the text of a script. It raises on a broken invariant: an actor that crashes, a call
without a summary, a message or a byte that no count has, a table that grows, a frame of ours that
a strict reader refuses, a flood of log records.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pykka
from loguru import logger

from callengine.actors.call import Setting, start_call
from callengine.actors.realtime_bridge import MAX_KINDS_LOGGED
from callengine.actors.stepper import Stepper
from callengine.agent import Agent, Tool
from callengine.logs import CallLog
from callengine.machines.tools import MAX_PENDING
from callengine.messages import EndCause, ModelAlive, ModelClosed, ModelMessage
from callengine.settings import Settings
from callengine.wire.twilio import encode_mark
from tests.fuzz import bounds
from tests.fuzz.accounts import Clerk
from tests.fuzz.links import StrictCarrier, StrictModel
from tests.fuzz.script import Script, What, read

if TYPE_CHECKING:
    from types import TracebackType

    from loguru import Message

    from callengine.actors.realtime_bridge import FromModel
    from callengine.summary import CallSummary

MAX_UNHANDLED: Final = 64
"""What a socket's reader lets pile up before it waits."""

CHECK_EVERY: Final = 500
MAX_ALARMS: Final = 60
MAX_END_S: Final = 30.0


def _fails(**_: object) -> None:
    raise ValueError("what the caller said")


FAREWELL: Final = b"\xfe" * 400
FALLBACK: Final = b"\xfd" * 240
AGENT: Final = Agent(
    tools=(
        Tool("book_slot", "", {"type": "object"}, lambda **arguments: {"got": len(arguments)}),
        Tool("fail", "", {"type": "object"}, _fails),
        Tool("transfer_call", "", {"type": "object"}, object),
    ),
    fallback=FALLBACK,
    farewell=FAREWELL,
    on_event=lambda _: None,
)


class Journal:
    """Counts what the engine logs by its text, and keeps the crashes."""

    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()
        self.crashes: list[str] = []
        self._sink = logger.add(self._note, level="DEBUG", catch=False, format="{message}")
        logger.enable("callengine")

    def _note(self, message: Message) -> None:
        record = message.record
        self.texts[record["message"]] += 1
        if record["level"].no >= logger.level("ERROR").no:
            self.crashes.append(f"{record['message']}: {record['extra']}")

    def close(self) -> None:
        logger.disable("callengine")
        logger.remove(self._sink)


class FuzzedCall:
    """One call, told what happens step by step, and audited at its end.

    `seed` draws the order in which actors get their turn; with an odd one the greeting is
    protected. Used as a context manager it leaves no actor behind, whatever broke.
    """

    def __init__(self, seed: int = 0) -> None:
        self.stepper = Stepper(seed)
        self.journal = Journal()
        self.carrier, self.model = StrictCarrier(lambda: self._clerk.stream_sid), StrictModel()
        self.messages = 0
        self._unhandled = 0
        self._concluded: list[CallSummary] = []
        self._call = start_call(
            Setting(self.stepper, self.stepper, CallLog()),
            Settings(),
            replace(AGENT, greeting_protected=bool(seed % 2)),
            (self.carrier, self.model),
            self._concluded.append,
        )
        peers = self._call._peers
        assert peers is not None, "nothing keeps the actors from starting"
        self._clerk = Clerk(peers.ingress, peers.bridge, peers.pacer)

    def __enter__(self) -> FuzzedCall:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.journal.close()
        for ref in pykka.ActorRegistry.get_all():
            ref.stop(block=False)
            pykka.ActorRegistry.unregister(ref)

    @property
    def handled(self) -> int:
        """How many messages an actor took while they still mattered."""
        return self._clerk.seen.carrier.total() + self._clerk.seen.model.total()

    # ---- what happens

    def play(self, script: Script) -> None:
        """Take all steps."""
        for what, value in script:
            self.take(what, value)

    def take(self, what: What, value: str | bytes | int) -> None:
        """Let one thing happen."""
        match what:
            case What.CARRIER if not isinstance(value, int):
                self._call.received(value)
                self._count()
            case What.MODEL if not isinstance(value, int):
                self._tell_bridge(ModelMessage(value))
                self._count()
            case What.ECHO if isinstance(value, int) and value < len(self.carrier.marks):
                mark = self.carrier.marks[value]
                self._call.received(encode_mark(self._clerk.stream_sid, mark))
                self._count()
            case What.WAIT_MS if isinstance(value, int):
                self.stepper.run(self.stepper.now() + value / 1000)
                self._unhandled = 0
            case What.ALIVE:
                self._tell_bridge(ModelAlive())
            case What.MODEL_CLOSED:
                self._tell_bridge(ModelClosed(EndCause.MODEL_LOST, str(value)[:120]))
            case What.CARRIER_CLOSED if isinstance(value, int):
                self._call.carrier_closed(value, "")

    def _tell_bridge(self, message: FromModel) -> None:
        if self.model.tell is None:
            self.stepper.settle()  # its socket opens when the stream starts
        if self.model.tell is not None:
            self.model.tell(message)

    def _count(self) -> None:
        self.messages += 1
        self._unhandled += 1
        # Some are handled at once, some together with the next ones.
        if self._unhandled >= MAX_UNHANDLED or self.stepper.random.random() < 0.4:
            self.stepper.settle()
            self._unhandled = 0
        if self.messages % CHECK_EVERY == 0:
            self.check_sizes()

    # ---- what must hold

    def check_sizes(self) -> None:
        """Nothing that the call remembers is larger than it may be."""
        self.stepper.settle()
        bounds.check(pykka.ActorRegistry.get_all())
        assert self.stepper.alarms <= MAX_ALARMS

    def conclude(self) -> CallSummary:
        """End the call, unless it is over, and audit it."""
        self.check_sizes()
        self._call.carrier_closed(1006, "")
        self.stepper.run(self.stepper.now() + MAX_END_S)
        assert not self.journal.crashes, self.journal.crashes[0]
        (summary,) = self._concluded
        assert pykka.ActorRegistry.get_all() == []
        assert self.carrier.closed
        assert json.loads(summary.to_json())["end_cause"] == summary.end_cause
        self._clerk.audit(summary, AGENT)
        self._audit_what_was_sent(summary)
        self._audit_log(summary)
        return summary

    def _audit_what_was_sent(self, summary: CallSummary) -> None:
        sent = self.carrier.sent
        assert summary.tx_frames == sent["media"]
        assert summary.playout.marks_sent == sent["mark"]
        assert summary.transmission.clears == sent["clear"]
        assert summary.session.appended_bytes == self.model.appended_bytes

    def _audit_log(self, summary: CallSummary) -> None:
        texts = self.journal.texts.copy()
        assert texts.pop("call ended") == 1
        assert texts.pop("call started", 0) <= 1
        assert texts.pop("call ending", 0) <= 1
        assert texts.pop("event of the call", 0) == summary.model_reconnects
        assert texts.pop("stuck", 0) == summary.watchdog.resets_asked
        assert texts.pop("watchdog answered", 0) <= summary.watchdog.resets_asked
        # What a tool does after the report, when the call is over, is logged only.
        late = texts.pop("host code failed", 0) - summary.context_errors
        assert 0 <= late <= MAX_PENDING
        noted = texts.pop("model event not understood", 0)
        assert noted <= MAX_KINDS_LOGGED, f"{noted} log records of what was not understood"
        assert not texts, f"log records nobody expected: {texts}"


def call(data: bytes) -> int:
    """A whole call; returns how many messages went in before it was over."""
    script = read(data)
    seed = script[0].value if script and script[0].what is What.SEED else 0
    assert isinstance(seed, int)
    with FuzzedCall(seed) as held:
        held.play(script)
        held.conclude()
        return held.handled
