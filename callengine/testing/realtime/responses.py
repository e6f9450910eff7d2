"""The responses of one connection: who may have one, which reply it gets, who may cancel it.

Owns the slot of the default conversation (one response at a time); out-of-band responses run beside
it. Refuses to know what a response says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callengine.testing.realtime.audio import format_of
from callengine.testing.realtime.faults import FailResponse, StallAudio, Unstoppable
from callengine.testing.realtime.generation import Generation, Phase
from callengine.testing.realtime.line import faults_of, response_id
from callengine.testing.realtime.order import Order
from callengine.testing.realtime.plan import Delivery, cut, lay_out, outputs_of, stall
from callengine.testing.realtime.record import (
    CancelOutcome,
    CancelRecord,
    ResponseRecord,
)
from callengine.testing.realtime.rules import Refusal
from callengine.testing.realtime.script import Replies, Reply, ReplyRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from callengine.testing.realtime.stage import Stage


class Responses:
    """Creates and cancels responses."""

    def __init__(self, stage: Stage, replies: Replies, rng: Random) -> None:
        self._stage = stage
        self._replies = replies
        self._rng = rng
        self._active: Generation | None = None
        self._out_of_band: dict[str, Generation] = {}
        self.on_done: Callable[[Generation, float], None] = lambda _, __: None

    def create(
        self, response: dict[str, Any], now: float, *, automatic: bool = False
    ) -> ResponseRecord:
        """Begin a response. Raises `Refusal` while the default conversation has one."""
        out_of_band = response.get("conversation") == "none"
        if self._active is not None and not out_of_band:
            raise Refusal(
                "conversation_already_has_active_response",
                "Conversation already has an active response in progress: "
                f"{self._active.record.id}. Wait until the response is finished before creating "
                "a new one.",
            )
        number = len(self._stage.record.responses) + 1
        reply = self._choose(ReplyRequest(number, automatic, response))
        made = ResponseRecord(
            response_id(self._stage.ids_from + number),
            number,
            automatic,
            out_of_band,
            now,
            response.get("metadata"),
        )
        self._stage.record.responses.append(made)
        order = self._order(reply, made, response)
        generation = Generation(made, order, self._stage, self._done)
        if out_of_band:
            self._out_of_band[made.id] = generation
        else:
            self._active = generation
        generation.start(now)
        return made

    def cancel(self, wanted_id: str | None, now: float) -> None:
        """Cancel a response, by default the one of the conversation. Raises `Refusal`."""
        target = self._active
        if wanted_id is not None and (target is None or target.record.id != wanted_id):
            target = self._out_of_band.get(wanted_id)
        if target is not None and self._is_unstoppable(target):
            self._note_cancel(wanted_id, now, CancelOutcome.IGNORED)
            return
        can = target is not None and target.phase is Phase.GENERATING
        if target is not None and can and not self._stage.behaviour.cancel_races_completion:
            self._note_cancel(wanted_id, now, CancelOutcome.CANCELLED)
            target.cancel("client_cancelled", now)
            return
        if target is not None and can:
            target.complete_at_once(now)
        self._note_cancel(wanted_id, now, CancelOutcome.NOT_ACTIVE)
        raise Refusal("response_cancel_not_active", "Cancellation failed: no active response found")

    def interrupt(self, now: float) -> None:
        """The caller speaks: cancel the response of the default conversation, if one runs."""
        active = self._active
        if active is None or active.phase is not Phase.GENERATING:
            return
        if not self._is_unstoppable(active):
            active.cancel("turn_detected", now)

    def _is_unstoppable(self, generation: Generation) -> bool:
        faults = faults_of(Unstoppable, self._stage.faults)
        return any(fault.response_number == generation.record.number for fault in faults)

    def _choose(self, request: ReplyRequest) -> Reply:
        if callable(self._replies):
            reply = self._replies(request)
        else:
            reply = self._replies[(request.number - 1) % len(self._replies)]
        for fault in faults_of(FailResponse, self._stage.faults):
            if fault.response_number == request.number:
                reply = cut(reply, fault)
        return reply

    def _order(self, reply: Reply, made: ResponseRecord, response: dict[str, Any]) -> Order:
        session = self._stage.session
        output = response.get("audio", {}).get("output", {})
        audio_format = format_of(output["format"]) if "format" in output else session.output_format
        modalities = response.get("output_modalities", session.output_modalities())
        delivery = Delivery(self._stage.behaviour, audio_format, self._rng)
        steps = lay_out(reply, delivery, with_audio=modalities == ["audio"])
        stalls = [
            fault
            for fault in faults_of(StallAudio, self._stage.faults)
            if fault.response_number == made.number
        ]
        return Order(
            outputs_of(reply),
            stall(steps, stalls, audio_format),
            reply.ending,
            audio_format,
            output.get("voice", session.voice),
            modalities,
            response.get("max_output_tokens", session.max_output_tokens()),
        )

    def _note_cancel(self, wanted_id: str | None, now: float, outcome: CancelOutcome) -> None:
        self._stage.record.cancels.append(CancelRecord(wanted_id, now, outcome))

    def _done(self, generation: Generation, now: float) -> None:
        if generation is self._active:
            self._active = None
            self.on_done(generation, now)
        else:
            del self._out_of_band[generation.record.id]
