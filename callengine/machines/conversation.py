"""The model's side of a call: what RealtimeBridge decides.

It joins the session, the response slot, the tools and the record of what was not heard. It is told
what happened to playout; it never asks.

Who may interrupt during a protected greeting is one question with one answer in two places: our
playout guards it here, and the server is told not to cancel by itself until the caller has heard
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callengine.machines import interruption
from callengine.machines import response_terms as slot
from callengine.machines.conversation_terms import (
    Action,
    ConversationCounts,
    Event,
    Resume,
    SendFunctionOutput,
    SendTurn,
    Since,
)
from callengine.machines.deadlines import earliest
from callengine.machines.interruption import Interruption
from callengine.machines.presence import Presence
from callengine.machines.response import ResponseSlot
from callengine.machines.response import State as SlotState
from callengine.machines.response_terms import Purpose, SendCancel, SendCreate, Wanted
from callengine.machines.session import Session, State
from callengine.machines.tools import ToolCalls
from callengine.machines.unheard import SendTruncate, Unheard
from callengine.messages import (
    AgentSaid,
    AnswerOwed,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallEnding,
    CallerFrame,
    CallerSaid,
    CallerSpoke,
    DeadlineReached,
    EndCause,
    HeardItem,
    Interrupted,
    ItemHeard,
    ModelAlive,
    ModelClosed,
    ModelConnected,
    ModelHeardSpeech,
    Owner,
    PlayAudio,
    Refusal,
    ResetRefused,
    ResetRequest,
    ResponseHeard,
    ToolCalled,
    ToolReturned,
)
from callengine.wire import realtime_events as wire

if TYPE_CHECKING:
    from callengine.wire.realtime_client import SessionConfig

ANSWER_GRACE_S: Final = 1.5
"""The server answers a caller's turn by itself. If it has not begun by then (its own create fails
while another response is under way), the answer is asked for: it is owed."""

UNHEARD_GRACE_S: Final = 1.5
"""What only our detector took for speech has stopped an answer. If the model has not heard the
caller by then, it was noise, and the answer is asked for: it was owed all the time. Early enough
to be heard, as a rule, before the fallback would be."""

FATAL_CODES: Final = frozenset(
    {
        "invalid_api_key",
        "insufficient_quota",
        "account_deactivated",
        "billing_hard_limit_reached",
        "beta_api_shape_disabled",
    }
)
"""Errors after which the session will never answer again."""

MAX_TURN_S: Final = 15.0
"""While the model hears the caller no response is asked for; so much longer at the most, in case
the end of the turn is never told. An answer is owed then, unless the caller is heard to go on."""

MAX_ERROR_CODES: Final = 32

MAX_OUT_OF_BAND: Final = 32
"""Responses outside the conversation at once. Beyond, the oldest is taken for an unknown one."""

CLOSED: Final = State.CLOSED


class Conversation:
    """The inbound half of the model and the outbound half of the caller."""

    def __init__(
        self,
        config: SessionConfig,
        *,
        greeting: str | None,
        greeting_protected: bool,
        now: float,
        resume: Resume | None = None,
        before: Conversation | None = None,
    ) -> None:
        since: Since = before.since if before is not None else Since()
        self.counts = ConversationCounts()
        self.slot = ResponseSlot(version=since.slot_version)
        self.tools = ToolCalls()
        self.presence = Presence(version=since.presence_version)
        self.session = Session(
            config, interrupt_response=not (greeting and greeting_protected), now=now
        )
        self._greeting = greeting
        self._protected = greeting_protected
        self._greeting_id: str | None = None
        self._has_spoken = False
        self._unheard = Unheard()
        self._resume = resume
        self._owed = bool(greeting) or (resume is not None and resume.instructions is not None)
        self._behind: str | None = None
        self._cut_calls: tuple[wire.FunctionCall, ...] = ()
        self._generation = since.generation
        self._interruption = Interruption()
        self._results_told = False
        self._fruitful: set[str] = set()
        self._out_of_band: dict[str, None] = {}
        self._answer_due_at: float | None = None
        self._caller_is_heard = False

    # ---- questions

    @property
    def since(self) -> Since:
        """What the session after this one counts on from."""
        return Since(self._generation, self.slot.version, self.presence.version)

    @property
    def left_unheard(self) -> list[ItemHeard]:
        """Items that nobody has told the fate of; 0 ms of them count as heard."""
        return self._unheard.left()

    @property
    def is_live(self) -> bool:
        """The model hears the caller."""
        return self.session.state is State.LIVE

    @property
    def owes(self) -> bool:
        """The caller waits for something to be said, or for the rest of it, or is speaking."""
        return self._owed or self.slot.busy or self._answer_due_at is not None

    @property
    def _greets(self) -> bool:
        """The greeting is asked for or under way; not so if it waits behind another response."""
        is_other = self.slot.under_way is not None and self.slot.purpose is not Purpose.GREETING
        return self.slot.wants(Purpose.GREETING) and not is_other

    @property
    def greeting_unheard(self) -> bool:
        """There is one, and nothing was played yet: in mid-conversation nobody is greeted."""
        return bool(self._greeting) and not self._has_spoken

    # ---- the machine

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; returns what is to be done, in this order."""
        if self.session.state is CLOSED:
            return _refused(event)
        owed_before = self._owed
        actions = self._take(event, now)
        actions += self._ask_about_results(now)
        actions += self._ask_for_owed_answer(now)
        if self._owed and not owed_before:
            actions.append(AnswerOwed(behind=self._behind))
        actions += self._unheard.take_told()
        if not self.session.server_interrupts and self._greeting_over():
            actions += self.session.let_server_interrupt()
        return actions

    def next_deadline(self) -> float | None:
        """When something is due next."""
        if self.session.state is CLOSED:
            return None
        return earliest(
            self.session.next_deadline(),
            self.slot.next_deadline(),
            self.tools.next_deadline(),
            self.presence.next_deadline(),
            None if self.slot.busy else self._answer_due_at,
        )

    def close(self) -> None:
        """The call is over: nothing more counts."""
        self.session.close()

    def _take(self, event: Event, now: float) -> list[Action]:
        match event:
            case wire.AudioDelta():  # first, as most events are one
                return [*self.presence.spoke(now), *self._audio(event, now)]
            case wire.TranscriptDelta():  # or one of these
                return [*self.presence.spoke(now), *self._server_event(event, now)]
            case CallerFrame(payload):
                return [*self.session.caller_audio(payload)]
            case ModelAlive():
                return [*self.presence.pong(now)]
            case ModelConnected() | ModelClosed() | wire.SessionUpdated():
                return self._session_event(event, now)
            case Interrupted() | CallerSpoke() | BargeInConfirmed() | BargeInDismissed():
                return self._playout_event(event, now)
            case ResponseHeard(response_id):
                return self._truncated(self._unheard.heard(response_id))
            case ToolReturned():
                return self._tool_returned(event)
            case ResetRequest():
                return self._reset(event, now)
            case DeadlineReached():
                return self._expire(event, now)
            case _:
                return [*self.presence.spoke(now), *self._server_event(event, now)]

    def _server_event(self, event: wire.ServerEvent, now: float) -> list[Action]:
        match event:
            case wire.FunctionCall() | wire.TranscriptDelta() | wire.TranscriptDone() if (
                event.response_id in self._out_of_band
            ):
                pass
            case wire.TranscriptDelta():
                return self._slot(slot.Moved(), now)
            case wire.AudioDone(_, item_id, content_index):
                self._unheard.complete((item_id, content_index))
            case wire.ResponseCreated():
                return self._created(event, now)
            case wire.ResponseDone():
                return self._done(event, now)
            case wire.SpeechStarted():
                return self._speech_started(now)
            case wire.SpeechStopped():
                self._speech_stopped(now)
            case wire.InputCommitted():
                self._speech_stopped(now)
                self._owe()
                self._answer_due_at = now + ANSWER_GRACE_S
            case wire.FunctionCall():
                return self._tool_called(event, now)
            case wire.ErrorReceived():
                return self._error(event, now)
            case wire.Noted(kind) if kind.startswith("response."):
                return self._slot(slot.Moved(), now)
            case wire.InputTranscript(item_id, transcript):
                return [CallerSaid(item_id, transcript)]
            case wire.TranscriptDone(_, item_id, _, transcript):
                return [AgentSaid(item_id, transcript)]
            case wire.Unknown():
                self.counts.unknown_events += 1
            case wire.Malformed():
                self.counts.malformed_events += 1
        return []

    # ---- session

    def _session_event(
        self, event: ModelConnected | ModelClosed | wire.SessionUpdated, now: float
    ) -> list[Action]:
        was_live = self.session.state is State.LIVE
        actions: list[Action] = [*self.presence.spoke(now)]
        handshake = self.session.handle(event, now)
        if self.is_live and not was_live:
            actions += self._open(now)
        return [*actions, *handshake]

    def _open(self, now: float) -> list[Action]:
        """The first that a live session is told."""
        actions: list[Action] = []
        if self._resume is not None:
            actions += [SendTurn(f"turn-{n}", turn) for n, turn in enumerate(self._resume.turns, 1)]
            if self._resume.instructions is not None:
                wanted = Wanted(Purpose.ANSWER, self._resume.instructions)
                actions += self._slot(slot.CreateWanted(wanted), now)
        if self._greeting:
            wanted = Wanted(Purpose.GREETING, self._greeting)
            actions += self._slot(slot.CreateWanted(wanted), now)
        return actions

    def _greeting_over(self) -> bool:
        """The greeting was heard to its end, or will never be."""
        return not self.slot.wants(Purpose.GREETING) and not (
            self._greeting_id is not None and self._unheard.holds(self._greeting_id)
        )

    # ---- responses

    def _slot(self, event: slot.Event, now: float) -> list[Action]:
        actions: list[Action] = []
        for action in self.slot.handle(event, now):
            match action:
                case slot.Finished(response_id):
                    actions += self._finished(response_id, now)
                case slot.Outdated(wanted):
                    if self._is_back(event):
                        actions += self._slot(slot.CreateWanted(wanted), now)
                    else:
                        self._interruption.called_off(wanted)
                case slot.GaveUp():
                    actions += self._gave_up(action)
                case SendCreate(_, wanted) if wanted.purpose is Purpose.TOOL_RESULT:
                    self._results_told = False  # it is about all that were told so far
                    actions.append(action)
                case _:
                    actions.append(action)
        return actions

    def _is_back(self, event: slot.Event) -> bool:
        """What the interruption called off is wanted again, and only now is it told."""
        over = self._interruption.state is interruption.State.DISMISSED
        return over and not isinstance(event, slot.CancelWanted)

    def _created(self, event: wire.ResponseCreated, now: float) -> list[Action]:
        if event.out_of_band:
            self._set_apart(event.response_id)
            return []
        actions = self._slot(slot.Created(event.response_id, event.answers), now)
        if not self.slot.accepts(event.response_id):
            return actions
        if self.slot.purpose is Purpose.GREETING:
            self._greeting_id = event.response_id
        else:
            self._answer_due_at = None
        return actions

    def _set_apart(self, response_id: str) -> None:
        if len(self._out_of_band) >= MAX_OUT_OF_BAND:
            del self._out_of_band[next(iter(self._out_of_band))]
        self._out_of_band[response_id] = None

    def _audio(self, event: wire.AudioDelta, now: float) -> list[Action]:
        size = len(event.audio)
        self.counts.audio_deltas += 1
        self.counts.audio_bytes += size
        if not size:
            return []
        if event.response_id in self._out_of_band:
            self.counts.dropped_out_of_band_bytes += size
            return []
        if self.slot.accepts(event.response_id):
            play = self._play(event, self._generation)
            self._owed = self._owed and event.response_id == self._behind
            return [play, *self._slot(slot.AudioCame(event.response_id), now)]
        if self.slot.cancels(event.response_id):
            return self._audio_after_cancel(event)
        self.counts.dropped_unknown_bytes += size
        self._drop(event, self._generation)
        return []

    def _play(self, event: wire.AudioDelta, generation: int) -> PlayAudio:
        self._has_spoken = True
        protected = self._protected and event.response_id == self._greeting_id
        key, size = (event.item_id, event.content_index), len(event.audio)
        self._unheard.received(key, event.response_id, size, generation, protected=protected)
        self._fruitful.add(event.response_id)
        return PlayAudio(event.response_id, *key, event.audio, generation, protected)

    def _drop(self, event: wire.AudioDelta, generation: int) -> None:
        key = (event.item_id, event.content_index)
        self._unheard.dropped(key, event.response_id, len(event.audio), generation)

    def _audio_after_cancel(self, event: wire.AudioDelta) -> list[Action]:
        """It belongs to what the interruption cut: kept as long as that may be played after all.

        Not so if it was cancelled as it began: then the whole of it is asked for again.
        """
        cut = self._generation - 1
        settled = self._interruption.state is interruption.State.SETTLED
        if not settled and self.slot.cuts:
            play = self._play(event, cut)
            if self._interruption.state is interruption.State.DISMISSED:
                self._unheard.resumed(self._generation)
            return [play]
        self._drop(event, cut)
        self.counts.dropped_cancelled_bytes += len(event.audio)
        return []

    def _done(self, event: wire.ResponseDone, now: float) -> list[Action]:
        if event.usage is not None:
            self.counts.input_tokens += event.usage.input_tokens
            self.counts.output_tokens += event.usage.output_tokens
        if event.response_id in self._out_of_band:
            del self._out_of_band[event.response_id]
            return []
        actions: list[Action] = []
        if event.status != "cancelled":
            for call in event.function_calls:
                actions += self._tool_called(call, now)
        fruitless = (
            event.status != "cancelled"
            and not event.function_calls
            and event.response_id not in self._fruitful
        )
        was_cut = self.slot.cuts and self.slot.cancels(event.response_id)
        if event.status == "completed" and was_cut:
            self._cut_calls = event.function_calls
            self._interruption.completed()
            self.slot.forget_rest()
        if event.status == "failed":
            self.counts.failed_responses += 1
        elif fruitless and self.slot.accepts(event.response_id):
            self.counts.silent_responses += 1
        actions += self._slot(slot.Done(event.response_id, failed=fruitless), now)
        if self._interruption.state is interruption.State.DISMISSED:
            actions += self._make_cut_calls(now)
        return [*actions, *self._never_played()]

    def _finished(self, response_id: str, now: float) -> list[Action]:
        """No more audio of this response counts."""
        self._fruitful.discard(response_id)
        if self._answer_due_at is not None:
            self._answer_due_at = max(self._answer_due_at, now + ANSWER_GRACE_S)
        actions: list[Action] = [AudioComplete(response_id)]
        return [*actions, *self._never_played()]

    def _never_played(self) -> list[Action]:
        """What no verdict is waited for."""
        is_open = self._interruption.state is interruption.State.OPEN
        return [] if is_open else self._truncates(())

    def _ask_for_owed_answer(self, now: float) -> list[Action]:
        due_at = self._answer_due_at
        if due_at is None or now < due_at or self.slot.busy:
            return []
        self._answer_due_at = None
        self._owe()
        self._caller_is_heard = False  # or the end of his turn would have been told
        self.counts.answers_asked_for += 1
        return self._slot(slot.CreateWanted(Wanted(Purpose.ANSWER)), now)

    def _gave_up(self, given_up: slot.GaveUp) -> list[Action]:
        """Without a greeting, or half a sentence, a call can be held; without an answer not."""
        purpose = given_up.wanted.purpose
        if given_up.jammed:
            told = "the model takes no response.create: an earlier response never ended"
            return [CallEnding(EndCause.MODEL_FAILED, told)]
        if purpose in {Purpose.GREETING, Purpose.CONTINUATION}:
            return []
        return [CallEnding(EndCause.MODEL_FAILED, f"the model gave no {purpose}")]

    # ---- the caller's voice

    def _speech_started(self, now: float) -> list[Action]:
        """The server stops the response under way by itself, unless the greeting is protected."""
        self._caller_is_heard = True
        self._owed = False  # not while he speaks
        self._owe_answer(now)
        self.slot.hold(now + MAX_TURN_S)
        stopped = self._cancel(now) if self.slot.state is SlotState.GENERATING else []
        return [ModelHeardSpeech(), *stopped]

    def _speech_stopped(self, now: float) -> None:
        """What the caller said wants an answer, even if its commit is never told."""
        if self._caller_is_heard:
            self._owe()
            self._answer_due_at = now + ANSWER_GRACE_S
        self._caller_is_heard = False
        self.slot.hold(now)

    def _playout_event(
        self, event: Interrupted | CallerSpoke | BargeInConfirmed | BargeInDismissed, now: float
    ) -> list[Action]:
        match event:
            case Interrupted(barge_in, generation):
                self._generation, self._cut_calls = generation, ()
                self._interruption.begin()
                return self._cancel(now, barge_in)
            case CallerSpoke(generation):
                self._generation = generation
                self._interruption.begin()
                actions = self._cancel(now)
                if self._caller_is_heard or self._interruption.put_something_off:
                    self._owe_answer(now)
                self._doubt_if_unheard(now)
                self._interruption.settle()
                return [*actions, *self._truncates(())]
            case BargeInConfirmed(generation, heard):
                self._cut_calls = ()
                actions = self._overtaken(generation, now)
                self._interruption.settle()
                self._owe_answer(now)
                self._doubt_if_unheard(now)
                return [*actions, *self._truncates(heard)]
            case BargeInDismissed():
                self._unheard.resumed(self._generation)
                actions = self._truncates(())
                for wanted in self._interruption.dismiss():
                    actions += self._slot(slot.CreateWanted(wanted), now)
                return [*actions, *self._make_cut_calls(now)]

    def _overtaken(self, generation: int, now: float) -> list[Action]:
        """A response that began while nobody was sure has not been played: it is outdated too."""
        if generation == self._generation:
            return []
        self._generation = generation
        return self._cancel(now)

    def _cancel(self, now: float, barge_in: int | None = None) -> list[Action]:
        if self._protected and self._greets:
            return []
        actions = self._slot(slot.CancelWanted(barge_in), now)
        if any(isinstance(action, SendCancel) for action in actions):
            self._interruption.cut()
        return actions

    def _owe(self) -> None:
        """From now on the caller waits; what is under way began before, and is not what for."""
        self._owed, self._behind = True, self.slot.under_way

    def _owe_answer(self, now: float) -> None:
        """The caller spoke: unless his turn ends in the ordinary way he is answered by then.

        A session that is not live hears him later, and answers him then.
        """
        if not self.is_live:
            return
        if self._caller_is_heard:
            self._answer_due_at = now + MAX_TURN_S
        else:
            self._owe()
            self._answer_due_at = now + UNHEARD_GRACE_S

    def _doubt_if_unheard(self, now: float) -> None:
        """The model should have heard this, if it was speech."""
        if self.session.state is State.LIVE and not self._caller_is_heard:
            self.presence.doubt(now + UNHEARD_GRACE_S)

    def _truncates(self, heard: tuple[HeardItem, ...]) -> list[Action]:
        return self._truncated(self._unheard.truncate(self._generation, heard))

    def _truncated(self, truncates: list[SendTruncate]) -> list[Action]:
        self.counts.truncates_sent += len(truncates)
        return [*truncates]

    # ---- tools

    def _tool_called(self, call: wire.FunctionCall, now: float) -> list[Action]:
        if self.slot.cancels(call.response_id):
            return []  # an interrupted call is announced too, with half its arguments
        if self.slot.accepts(call.response_id):
            self._fruitful.add(call.response_id)
        match self.tools.called(call, now):
            case ToolCalled() as run:
                self._owe()
                return [run]
            case ToolReturned() as refused:
                return self._tell_result(refused)
        return []

    def _make_cut_calls(self, now: float) -> list[Action]:
        """Calls of a response that was complete before its cancel came: played on, it is as if
        nobody had interrupted it."""
        calls, self._cut_calls = self._cut_calls, ()
        return [action for call in calls for action in self._tool_called(call, now)]

    def _tool_returned(self, result: ToolReturned) -> list[Action]:
        return self._tell_result(result) if self.tools.returned(result) else []

    def _tell_result(self, result: ToolReturned) -> list[Action]:
        self._results_told = True
        return [SendFunctionOutput(result.call_id, result.output)]

    def _ask_about_results(self, now: float) -> list[Action]:
        """One response for all results: a response under way may still call another tool."""
        if not self._results_told or self.tools.pending or self.slot.busy:
            return []
        self._results_told = False
        return self._slot(slot.CreateWanted(Wanted(Purpose.TOOL_RESULT)), now)

    # ---- errors, deadlines, watchdog

    def _error(self, event: wire.ErrorReceived, now: float) -> list[Action]:
        code = event.code or event.error_type or "unnamed"
        known = code in self.counts.errors or len(self.counts.errors) < MAX_ERROR_CODES
        self.counts.errors[code if known else "other"] += 1
        if event.code in FATAL_CODES:
            return [CallEnding(EndCause.MODEL_REFUSED, f"the model refused: {event.code}")]
        if event.code == "session_expired":
            return [CallEnding(EndCause.SESSION_EXPIRED, "the model's session reached its limit")]
        if self.session.state is not State.LIVE:
            return [*self.session.handle(event, now)]
        match event.code:
            case "response_cancel_not_active":
                return self._cancel_refused(event, now)
            case "conversation_already_has_active_response":
                return self._slot(slot.CreateRefused(event.caused_by), now)
        return [
            *self.session.handle(event, now),
            *self._slot(slot.CreateFailed(event.caused_by), now),
        ]

    def _cancel_refused(self, event: wire.ErrorReceived, now: float) -> list[Action]:
        was_cut = self.slot.cuts
        actions = self._slot(slot.CancelRefused(event.caused_by), now)
        if was_cut and not self.slot.cuts:
            self._interruption.completed()
        return actions

    def _expire(self, event: DeadlineReached, now: float) -> list[Action]:
        actions: list[Action] = [*self.session.handle(event, now)]
        unanswered = self.slot.unanswered
        actions += self._slot(event, now)
        if self.slot.unanswered > unanswered:
            self.presence.doubt(now)
        for result in self.tools.expire(now):
            actions += self._tell_result(result)
        actions += self.presence.expire(now)
        self.counts.probes_sent = self.presence.probes_sent
        return actions

    def _reset(self, request: ResetRequest, now: float) -> list[Action]:
        if request.owner is Owner.RESPONSE:
            return self._slot(request, now)
        return [*self.presence.reset(request)]


def _refused(event: Event) -> list[Action]:
    """Over is not stuck; whoever asks is answered."""
    if isinstance(event, ResetRequest):
        return [ResetRefused(event.owner, event.reason, Refusal.NOT_STUCK)]
    return []
