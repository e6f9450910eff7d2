"""A telephone call without a telephone: a simulated caller, the engine, a simulated model.

    python examples/local_call.py

All three talk over real WebSockets on this machine. The caller lets the agent speak, interrupts
it, and hangs up; then everybody says what they saw.
"""

from callengine import Agent, CallEngine, CallSummary, Settings
from callengine.edges.standalone import StandaloneServer
from callengine.testing import BargeIn, SimulatedCaller, SimulatedRealtime, WaitUntilQuiet, said
from callengine.testing.sockets import PeerServer, run_client
from callengine.testing.speech import clip

# What the model answers with, one reply after the other, and what the caller does.
REPLIES = [said("agent_greeting"), said("agent_reply_1"), said("agent_reply_3")]
SCRIPT = [
    BargeIn(clip("caller_barge_in_1"), after_heard_s=1.5),
    WaitUntilQuiet(quiet_s=0.7, timeout_s=20),
]


def main() -> None:
    caller = SimulatedCaller(SCRIPT)
    summaries: list[CallSummary] = []

    # 1. A model. In production this is the OpenAI Realtime API, and nothing else changes.
    with PeerServer(lambda: SimulatedRealtime(REPLIES)) as model:
        # 2. The engine, and who answers the phone. This greeting may be interrupted.
        agent = Agent(instructions="You are a dentist's receptionist.", greeting_protected=False)
        engine = CallEngine(Settings(realtime_url=model.url), agent=agent)

        # 3. A server for the carrier's media. In your application this is your own WebSocket
        #    route: wrap its socket in an Edge and call engine.serve(edge).
        with StandaloneServer(engine, on_call=summaries.append) as server:
            # 4. A caller. In production this is Twilio.
            run_client(caller, server.media_url, deadline_s=60)

    summary = summaries[0]
    interruption = caller.record.said[0]
    silence_ms = 1000 * (caller.record.silence_after(interruption.onset_at) or 0.0)
    print(f"the call lasted {summary.duration_s:.1f} s and ended because {summary.end_cause}")
    print(f"{summary.tx_frames} frames were sent, {summary.tx_late_frames} of them late")
    print(f"{summary.barge_in_events} interruption; the AI was silent {silence_ms:.0f} ms later")
    for entry in summary.barge_ins:
        if entry.barge_in is not None:
            heard_ms = sum(item.heard_ms for item in entry.heard)
            print(f"the caller had heard {heard_ms} ms of the reply, and the model was told so")


if __name__ == "__main__":
    main()
