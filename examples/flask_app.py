"""A Flask application that answers the phone.

    pip install 'callengine[flask]'
    export OPENAI_API_KEY=... TWILIO_AUTH_TOKEN=... CALLENGINE_PUBLIC_URL=https://voice.example.com
    python examples/flask_app.py

CALLENGINE_PUBLIC_URL is where Twilio reaches this server: a tunnel's address will do to try it out.
Let the number's voice webhook be that with /voice/incoming behind it, and call. `python -m
callengine doctor` says what is missing. If CALLENGINE_DATABASE_URL is set, calls are written down
(`python -m callengine db upgrade` makes the tables).

In production every call holds a thread: --threads is CALLENGINE_MAX_CALLS and a few more.

    gunicorn -k gthread --threads 104 --graceful-timeout 3600 --chdir examples flask_app:app
"""

import os

from flask import Flask

from callengine import Agent, CallEngine, CallSummary, Tool
from callengine.adapters.flask import FlaskVoice

app = Flask(__name__)


# What the AI can do. It runs on a thread that carries no audio, so it may ask a database; it has
# no application context: for Flask-SQLAlchemy say `with app.app_context():`.
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


# The settings are the environment's. Nothing is started before the first call, so that gunicorn may
# fork. Below /voice are incoming (the webhook), media, status, health and ready.
FlaskVoice(app, CallEngine(), agent=receptionist, on_call=call_over)


@app.get("/")
def home() -> str:
    return "your own pages are here"


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8000")))
