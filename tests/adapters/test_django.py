"""Django: its urls by its own test client, and the whole of it under uvicorn, with a call."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import django
import pytest
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path

from callengine import CallEngine
from callengine.adapters.django import media_app, urls
from callengine.edges.http import MAX_BODY_BYTES
from callengine.testing import Wait, WaitUntilHeard
from tests.edges.hosted import WAIT_S, hosted, uvicorn_thread
from tests.edges.twilio_signed import CALL, FORM, PUBLIC_URL, settings, signed_headers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def django_itself() -> None:
    django_settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests",
        MIDDLEWARE=[
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
    )
    django.setup()


def use_urls(engine: CallEngine) -> None:
    urlconf: Any = types.ModuleType("urlconf")
    urlconf.urlpatterns = [
        path("voice/", include(urls(engine))),
        path("own/", lambda _request: HttpResponse("own")),
    ]
    django_settings.ROOT_URLCONF = urlconf


@pytest.fixture(name="client")
def client_of_a_fresh_engine() -> Iterator[Client]:
    with CallEngine(settings()) as engine:
        use_urls(engine)
        yield Client(enforce_csrf_checks=True, REMOTE_ADDR="203.0.113.7")


def post(client: Client, where: str, form: dict[str, str], signed: str = "") -> Any:  # noqa: ANN401
    headers = signed_headers(PUBLIC_URL + (signed or where), form)
    return client.post(where, urlencode(form), content_type=FORM, headers=headers)


def test_the_webhook_needs_a_signature_and_no_token_of_django(client: Client) -> None:
    reply = post(client, "/voice/incoming", CALL)
    assert (reply.status_code, reply["Content-Type"]) == (200, "text/xml; charset=utf-8")
    assert ElementTree.fromstring(reply.content)[0][0].attrib == {
        "url": "wss://voice.example.com/voice/media",
        "statusCallback": "https://voice.example.com/voice/status",
    }
    assert post(client, "/voice/incoming", CALL, signed="/voice/other").status_code == 403


def test_the_query_and_the_path_are_those_of_the_wire(client: Client) -> None:
    assert post(client, "/voice/incoming?shop=7&x=%20", CALL).status_code == 200


def test_status_health_and_readiness(client: Client) -> None:
    assert post(client, "/voice/status", {"StreamEvent": "stream-started"}).status_code == 204
    for name in ("health", "ready"):
        reply = client.get(f"/voice/{name}")
        assert (reply.status_code, reply.json()["active_calls"]) == (200, 0)
        assert reply["Cache-Control"] == "no-store"
        assert client.head(f"/voice/{name}").content == b""
        assert client.post(f"/voice/{name}").status_code == 405


def test_what_is_refused(client: Client) -> None:
    refusal = client.get("/voice/incoming")
    assert (refusal.status_code, refusal["Allow"]) == (405, "POST")
    assert post(client, "/voice/incoming", {"x": "y" * MAX_BODY_BYTES}).status_code == 413
    assert post(client, "/voice/incoming", {"From": "+1"}).status_code == 400
    assert client.get("/voice/media").status_code == 404


def application(engine: CallEngine) -> Any:  # noqa: ANN401
    use_urls(engine)
    return media_app(get_asgi_application(), engine)


@pytest.mark.realtime
def test_a_call_under_uvicorn_beside_the_hosts_own_views() -> None:
    with hosted(application) as host:
        with uvicorn_thread(host.app) as port:
            record = host.dial(port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.1))
            assert record.heard
            assert not record.violations
            assert host.get(port, "/own/") == (200, "own")
            assert host.upgrade_status(port, "/voice/media", {}) == 403
        assert not host.engine.ready, "the engine stops with the server"


@pytest.mark.realtime
def test_behind_a_proxy_that_takes_a_prefix_away() -> None:
    form = urlencode(CALL)
    headers = signed_headers(PUBLIC_URL + "/api/voice/incoming", CALL)
    with hosted(application) as host, uvicorn_thread(host.app, root_path="/api") as port:
        status, body = host.ask(port, "/voice/incoming", "POST", form, headers)
        assert status == 200
        assert 'url="wss://voice.example.com/api/voice/media"' in body
        signed = signed_headers("wss://voice.example.com/api/voice/media")
        assert host.upgrade_status(port, "/voice/media", signed) == 101
