"""Applications as hosts write them, for real servers to load; each tells the summaries of its calls
on its standard output. Settings are the environment's.

The agent may be interrupted in its greeting, and says its own goodbye.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from callengine import Agent, CallEngine, Settings

if TYPE_CHECKING:
    from flask import Flask

    from callengine import CallSummary

AGENT = Agent(greeting_protected=False)
DRAIN_S = float(os.environ.get("DRAIN_S", "20"))
TOLD = "summary "
"""Begins the line that has a summary."""

_telling = threading.Lock()


def tell(summary: CallSummary) -> None:
    with _telling:  # one line for each call
        sys.stdout.write(f"{TOLD}{json.dumps(summary.to_dict())}\n")
        sys.stdout.flush()


def bare() -> Any:  # noqa: ANN401 - ASGI
    from callengine.edges.asgi import VoiceApp

    return VoiceApp(CallEngine(), agent=AGENT, on_call=tell, drain_s=DRAIN_S)


def fastapi_app() -> Any:  # noqa: ANN401 - ASGI
    from fastapi import FastAPI

    from callengine.adapters.fastapi import lifespan, router

    engine = CallEngine()
    app = FastAPI(lifespan=lifespan(engine, drain_s=DRAIN_S))
    app.include_router(router(engine, agent=AGENT, on_call=tell), prefix="/voice")
    return app


def django_app() -> Any:  # noqa: ANN401 - ASGI
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.urls import include, path

    from callengine.adapters.django import media_app, urls

    engine = CallEngine()
    pages: Any = types.ModuleType("pages")
    pages.urlpatterns = [path("voice/", include(urls(engine)))]
    settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", ROOT_URLCONF=pages)
    django.setup()
    return media_app(get_asgi_application(), engine, agent=AGENT, on_call=tell, drain_s=DRAIN_S)


def flask_app() -> Flask:
    from flask import Flask

    from callengine.adapters.flask import FlaskVoice

    app = Flask("host")
    FlaskVoice(app, CallEngine(), agent=AGENT, on_call=tell)
    return app


def standalone(port: int) -> None:
    import signal

    from callengine.edges.standalone import StandaloneServer

    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    engine = CallEngine(Settings.from_env(), agent=AGENT)
    with StandaloneServer(engine, port=port, on_call=tell) as server:
        over.wait()
        server.drain(DRAIN_S)


if __name__ == "__main__":
    standalone(int(sys.argv[1]))
