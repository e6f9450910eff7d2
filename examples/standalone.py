"""A process that answers the phone and does nothing else: no web framework.

    pip install 'callengine[serve]'
    export OPENAI_API_KEY=... TWILIO_AUTH_TOKEN=... CALLENGINE_PUBLIC_URL=https://voice.example.com
    python examples/standalone.py

It is for applications without a web server, and for those whose server cannot hold calls (gevent,
eventlet, uWSGI, gunicorn's sync workers): run it beside them, and let the proxy in front send
/voice/ and /media-stream here. What both need to know they read from the same database.

CALLENGINE_PUBLIC_URL is where Twilio reaches that proxy. Let the number's voice webhook be that
with /voice/incoming behind it. `python -m callengine doctor` says what is missing. If
CALLENGINE_DATABASE_URL is set, calls are written down (`python -m callengine db upgrade` makes the
tables).
"""

import os
import signal
import threading

from callengine import Agent, CallEngine, CallSummary, Tool
from callengine.edges.standalone import StandaloneServer

DRAIN_S = 20.0  # whoever stops processes kills them after 30 s, unless told otherwise


# What the AI can do. It runs on a thread that carries no audio, so it may ask a database.
def free_slots(day: str) -> list[str]:
    return {"saturday": ["09:15"], "sunday": []}.get(day.lower(), ["09:15", "16:00"])


receptionist = Agent(
    instructions="You are the receptionist of Riverside Dental Practice. Be brief and friendly.",
    tools=(
        Tool(
            name="free_slots",
            description="Free appointments on a day of the week.",
            parameters={
                "type": "object",
                "properties": {"day": {"type": "string"}},
                "required": ["day"],
            },
            function=free_slots,
        ),
    ),
)


# What a call amounted to, once it is over.
def call_over(summary: CallSummary) -> None:
    print(f"{summary.call_sid}: {summary.end_cause}, {summary.duration_s:.1f} s", flush=True)


def main() -> None:
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    engine = CallEngine(agent=receptionist)  # the settings are the environment's
    port = int(os.environ.get("PORT", "8000"))
    with StandaloneServer(engine, host="127.0.0.1", port=port, on_call=call_over) as server:
        told_to_end.wait()
        server.drain(DRAIN_S)  # calls may finish; then the rest hears a goodbye


if __name__ == "__main__":
    main()
