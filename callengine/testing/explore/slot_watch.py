"""L4 and L5, kept from what crosses the lines to the model: who has the response slot.

It knows the messages of the machines and nothing of their states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from callengine.machines.conversation_terms import SendFunctionOutput
from callengine.machines.response_terms import Purpose, SendCancel, SendCreate
from callengine.messages import (
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    DeadlineReached,
    Interrupted,
    Owner,
    ResetGranted,
)
from callengine.testing.explore.broken import hold
from callengine.testing.explore.server import NOT_ACTIVE
from callengine.testing.explore.wishes import NO_WISHES, Wishes
from callengine.wire import realtime_events as wire

REQUEST_DEADLINE_S: Final = 5.0
CANCEL_DEADLINE_S: Final = 2.0
"""The law's own numbers; the machine has the same ones."""

MAX_STRIKES: Final = 2
"""So many failures of the model's may cost an answer, or the call. One may not."""

_SLACK_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Asked:
    """A create that was sent and not answered, as far as the client can know."""

    event_id: str
    at: float
    protected: bool
    overtaken: bool = False
    """The caller has spoken since."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancel that is pending."""

    response_id: str
    event_id: str
    at: float
    settled: bool = False
    """Something has happened that may end it."""


@dataclass(frozen=True, slots=True)
class SlotWatch:
    """The books of the model's side."""

    echoes: bool = False
    """The client has seen that the server tells which create a response answers."""
    active: str | None = None
    """The response that the client must think is active."""
    out: Asked | None = None
    cancel: Cancel | None = None
    wishes: Wishes = NO_WISHES
    owed: bool = False
    """The caller has no answer to what he said last, or one was cut that he should have."""
    needed: str | None = None
    """The response that is to be that answer."""
    strikes: int = 0

    # ---- what the bridge is told

    def bridge_hears(self, event: object, now: float, about: str | None) -> SlotWatch:
        """Note what arrives; `about` is the create that an answer of the server's is about."""
        match event:
            case wire.ResponseCreated():
                return self._created(event, about)
            case wire.ResponseDone():
                return self._done(event, about)
            case wire.ErrorReceived(code, caused_by=caused_by) if code == NOT_ACTIVE:
                return self._cancel_refused(caused_by)
            case wire.ErrorReceived(caused_by=caused_by):
                return self._create_refused(caused_by, about)
            case wire.InputCommitted():
                return replace(self, owed=True)
            case wire.SpeechStarted() if self.active is not None:
                return self._judged(self._put_off(), false_alarm=False)
            case Interrupted():
                return replace(self, out=self._overtaken(), wishes=self._put_off())
            case CallerSpoke():
                return self._judged(self._put_off(), false_alarm=False, out=self._overtaken())
            case BargeInConfirmed():
                return self._judged(self.wishes, false_alarm=False)
            case BargeInDismissed():
                return self._judged(self.wishes, false_alarm=True)
            case DeadlineReached():
                return self._late(now)
        return self

    @property
    def _out_id(self) -> str | None:
        return self.out.event_id if self.out else None

    def _created(self, created: wire.ResponseCreated, about: str | None) -> SlotWatch:
        name, out = created.response_id, self.out
        cancel = self.cancel and replace(self.cancel, settled=True)
        echoes = self.echoes or created.answers is not None
        watch = replace(self, active=name, cancel=cancel, echoes=echoes)
        if out is not None and (not echoes or created.answers == out.event_id):
            watch = replace(watch, out=None)
        if self.unwanted(about):
            return watch
        needed = self.owed or self.wishes.wait_for(about)
        return replace(watch, owed=False, needed=name if needed else None)

    def unwanted(self, create: str | None) -> bool:
        """The client knows that the caller has overtaken this create, which is out."""
        return self.out is not None and self.out.event_id == create and self.out.overtaken

    def _done(self, done: wire.ResponseDone, about: str | None) -> SlotWatch:
        name, failed = done.response_id, done.status == "failed"
        watch = self._settle(name)
        if done.status != "completed" and self.needed == name:
            watch = replace(watch, owed=True)
        if failed:
            watch = replace(watch, strikes=self.strikes + 1)
        if about is None:
            return watch
        wishes = self.wishes.again(about) if failed else self.wishes.over(about)
        return replace(watch, wishes=wishes)

    def _settle(self, response_id: str) -> SlotWatch:
        """No response of that name is active any more."""
        active = None if self.active == response_id else self.active
        cancel = self.cancel
        if cancel is not None and cancel.response_id == response_id:
            cancel = replace(cancel, settled=True)
        return replace(self, active=active, cancel=cancel)

    def _cancel_refused(self, caused_by: str | None) -> SlotWatch:
        cancel = self.cancel
        if cancel is None or caused_by not in {None, cancel.event_id}:
            return self
        return self._settle(cancel.response_id)

    def _create_refused(self, caused_by: str | None, about: str | None) -> SlotWatch:
        out = None if caused_by in {None, self._out_id} else self.out
        wishes = self.wishes.again(about) if about else self.wishes
        return replace(self, out=out, wishes=wishes)

    def _overtaken(self) -> Asked | None:
        out = self.out
        return out and replace(out, overtaken=out.overtaken or not out.protected)

    def _put_off(self) -> Wishes:
        return self.wishes.overtake(self._out_id)

    def _judged(self, wishes: Wishes, *, false_alarm: bool, out: Asked | None = None) -> SlotWatch:
        out = out or self.out
        taken_over = out is not None and out.overtaken and not false_alarm
        judged = wishes.judge(false_alarm=false_alarm)
        return replace(self, out=out, wishes=judged, owed=self.owed or taken_over)

    def _late(self, now: float) -> SlotWatch:
        watch, cancel, out = self, self.cancel, self.out
        if cancel is not None and now >= cancel.at + CANCEL_DEADLINE_S - _SLACK_S:
            watch = self._settle(cancel.response_id)
        if out is not None and now >= out.at + REQUEST_DEADLINE_S - _SLACK_S:
            watch = watch.excused()
        return watch

    def excused(self) -> SlotWatch:
        """The client gives up what it asked for, and asks again."""
        wishes = self.wishes.excuse(self._out_id)
        return replace(self, out=None, wishes=wishes, strikes=self.strikes + 1)

    # ---- what the bridge does

    def bridge_does(self, action: object, now: float, *, greeting: bool) -> SlotWatch:
        """Judge an action; `greeting`: it is about the protected greeting."""
        match action:
            case SendCreate():
                return self._create(action, now, protected=greeting)
            case SendCancel(event_id, response_id):
                hold("L4", f"{response_id} is not active", holds=response_id == self.active)
                hold("L4", f"{response_id} is cancelled twice", holds=self.cancel is None)
                hold("L9", "the protected greeting is cancelled", holds=not greeting)
                return replace(self, cancel=Cancel(response_id, event_id, now))
            case AudioComplete(response_id):
                return self._complete(response_id)
            case SendFunctionOutput():
                return replace(self, wishes=self.wishes.told())
            case ResetGranted(Owner.RESPONSE):
                return self.excused()
        return self

    def _create(self, create: SendCreate, now: float, *, protected: bool) -> SlotWatch:
        hold("L5", f"a create is sent while {self.active} is active", holds=self.active is None)
        hold("L5", "a create is sent while a cancel is pending", holds=self.cancel is None)
        hold("L5", "a create is sent while one is out", holds=self.out is None)
        about_results = create.wanted.purpose is Purpose.TOOL_RESULT
        wishes = self.wishes.ask(create.event_id) if about_results else self.wishes
        return replace(self, wishes=wishes, out=Asked(create.event_id, now, protected))

    def _complete(self, response_id: str) -> SlotWatch:
        if self.cancel is None or self.cancel.response_id != response_id:
            return self
        hold("L4", f"the cancel of {response_id} ended for no reason", holds=self.cancel.settled)
        return replace(self, cancel=None)

    # ---- what the server did

    def server_takes(self, create: SendCreate) -> SlotWatch:
        """A response to our create began, whether the client knows it or not."""
        if create.wanted.purpose is not Purpose.TOOL_RESULT:
            return self
        name = create.event_id
        return replace(self, wishes=self.wishes.take(name, may_double=self.unwanted(name)))

    # ---- time and rest

    def clock(self, now: float) -> None:
        """L4: a cancel is over by its deadline."""
        cancel = self.cancel
        in_time = cancel is None or now <= cancel.at + CANCEL_DEADLINE_S + _SLACK_S
        hold("L4", f"the cancel of {cancel and cancel.response_id} never ends", holds=in_time)

    def at_rest(self) -> None:
        """Nothing is under way and no deadline is pending: nothing may be left."""
        hold("L4", "stuck with a cancel pending", holds=self.cancel is None)
        hold("L5", "stuck with a create out", holds=self.out is None)
        given_up = self.strikes >= MAX_STRIKES
        hold("L5", "a tool's result was lost", holds=given_up or not self.wishes.lost)
        hold("L5", "the caller never gets an answer", holds=given_up or not self.owed)
