"""A FastAPI application that answers two phone numbers, each with an agent of its own.

    pip install 'callengine[fastapi]' 'uvicorn[standard]'
    export OPENAI_API_KEY=... TWILIO_AUTH_TOKEN=... CALLENGINE_PUBLIC_URL=https://voice.example.com
    python examples/fastapi_app.py

CALLENGINE_PUBLIC_URL is where Twilio reaches this server: a tunnel's address will do to try it out.
Let both numbers' voice webhooks be that with /voice/incoming behind it, and call. `python -m
callengine doctor` says what is missing. If CALLENGINE_DATABASE_URL is set, calls are written down
(`python -m callengine db upgrade` makes the tables).

In production (docs/deploy.md) Twilio's small messages are all that is let in:

    uvicorn fastapi_app:app --app-dir examples --ws-max-size 65536
"""

import os

import uvicorn
from fastapi import FastAPI

from callengine import Agent, CallEngine, CallSummary, StreamStarted, Tool
from callengine.adapters.fastapi import lifespan, router


# What the AI can do. It runs on a thread that carries no audio and is not the event loop's: it may
# block, and may ask a database.
def free_slots(day: str) -> list[str]:
    return {"saturday": ["09:15"], "sunday": []}.get(day.lower(), ["09:15", "16:00"])


appointments = Tool(
    name="free_slots",
    description="Free appointments on a day of the week.",
    parameters={
        "type": "object",
        "properties": {"day": {"type": "string"}},
        "required": ["day"],
    },
    function=free_slots,
)
dentist = Agent(
    instructions="You are the receptionist of Riverside Dental Practice. Be brief and friendly.",
    tools=(appointments,),
)
garage = Agent(
    instructions="You answer the phone of Hill Garage. Take down the plate and what is broken.",
    voice="cedar",
)
AGENTS = {"+15550199": dentist, "+15550188": garage}


# Who answers: looked up when the call is there. This too may block.
def by_called_number(started: StreamStarted) -> Agent:
    return AGENTS.get(started.called, dentist)


# What a call amounted to, once it is over.
def call_over(summary: CallSummary) -> None:
    print(f"{summary.call_sid}: {summary.end_cause}, {summary.duration_s:.1f} s", flush=True)


# The settings are the environment's. The lifespan lets calls finish when the server is told to end.
engine = CallEngine()
app = FastAPI(lifespan=lifespan(engine))
# Below /voice are incoming (the webhook), media, status, health and ready.
app.include_router(router(engine, agent=by_called_number, on_call=call_over), prefix="/voice")


@app.get("/")
def home() -> str:
    return "your own pages are here"


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), ws_max_size=65536)
