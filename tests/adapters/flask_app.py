"""An application as a host writes it, for gunicorn to load: `tests.adapters.flask_app:app`."""

from __future__ import annotations

import os
import threading

from flask import Flask

from callengine import CallEngine, Settings
from callengine.adapters.flask import FlaskVoice

app = Flask(__name__)
engine = CallEngine(Settings.from_env())
voice = FlaskVoice(app, engine)


@app.get("/")
def home() -> str:
    """Which process answers, and which of our threads are in it."""
    ours = [thread.name for thread in threading.enumerate() if "callengine" in thread.name]
    return f"{os.getpid()} {len(ours)}"
