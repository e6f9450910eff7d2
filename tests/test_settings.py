from __future__ import annotations

from dataclasses import fields

import pytest

from callengine.errors import LocalError, SettingsError
from callengine.settings import OPENAI_URL, Prices, Settings, TurnAway, WhenFull

LOOPBACK = ["ws://127.0.0.1:8765/v1/realtime", "ws://localhost/", "ws://[::1]:80/"]


def test_the_defaults_are_valid_and_reach_openai() -> None:
    settings = Settings()
    assert settings.model_address() == f"{OPENAI_URL}?model={settings.realtime_model}"


def test_every_field_can_be_set_in_the_environment() -> None:
    environ = {
        "CALLENGINE_REALTIME_URL": "ws://example.test/realtime",
        "CALLENGINE_REALTIME_MODEL": "m",
        "CALLENGINE_OPENAI_API_KEY": "k",
        "CALLENGINE_LEAD_MS": "200",
        "CALLENGINE_ONSET_FRAMES": "6",
        "CALLENGINE_ONSET_RMS": "700",
        "CALLENGINE_FALSE_TRIGGER_MS": "600",
        "CALLENGINE_HOST_THREADS": "3",
        "CALLENGINE_MAX_CALLS": "7",
        "CALLENGINE_WHEN_FULL": "say:All our lines are busy: call again.",
        "CALLENGINE_PUBLIC_URL": "https://voice.example.com",
        "CALLENGINE_TWILIO_AUTH_TOKEN": "t",
        "CALLENGINE_VALIDATE_SIGNATURES": "false",
        "CALLENGINE_TWILIO_API_URL": "https://api.dublin.ie1.twilio.com",
        "CALLENGINE_MAX_SOCKETS_PER_ADDRESS": "9",
        "CALLENGINE_MAX_CALL_S": "600",
        "CALLENGINE_MAX_CALL_TOKENS": "50000",
        "CALLENGINE_MAX_CALL_USD": "1.5",
        "CALLENGINE_PRICES": '{"audio_in": 32, "audio_out": 64, "text_in": 4, "text_out": 16}',
        "CALLENGINE_FALLBACK_AFTER_MS": "2000",
        "CALLENGINE_MODEL_RETRIES": "2",
        "CALLENGINE_DATABASE_URL": "sqlite:///calls.db",
        "CALLENGINE_SPILL_PATH": "/var/lib/calls.spill",
    }
    assert set(environ) == {f"CALLENGINE_{each.name.upper()}" for each in fields(Settings)}
    assert Settings.from_env(environ) == Settings(
        realtime_url="ws://example.test/realtime",
        realtime_model="m",
        openai_api_key="k",
        lead_ms=200,
        onset_frames=6,
        onset_rms=700,
        false_trigger_ms=600,
        host_threads=3,
        max_calls=7,
        when_full=WhenFull(TurnAway.SAY, "All our lines are busy: call again."),
        public_url="https://voice.example.com",
        twilio_auth_token="t",
        validate_signatures=False,
        twilio_api_url="https://api.dublin.ie1.twilio.com",
        max_sockets_per_address=9,
        max_call_s=600,
        max_call_tokens=50_000,
        max_call_usd=1.5,
        prices=Prices(audio_in=32, audio_out=64, text_in=4, text_out=16),
        fallback_after_ms=2000,
        model_retries=2,
        database_url="sqlite:///calls.db",
        spill_path="/var/lib/calls.spill",
    )


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("VALIDATE_SIGNATURES", "no", "true or false"),
        ("MAX_CALL_USD", "cheap", "a number"),
        ("MAX_CALL_USD", "2", "needs prices"),
        ("PRICES", "[]", "JSON such as"),
        ("PRICES", '{"audio_in": -1, "audio_out": 1, "text_in": 1, "text_out": 1}', "audio_in"),
        ("PUBLIC_URL", "http://voice.example.com", "https://"),
        ("PUBLIC_URL", "https://voice.example.com/?a=b", "no query"),
        ("MAX_CALL_TOKENS", "0", "between 1"),
        ("WHEN_FULL", "", "CALLENGINE_WHEN_FULL is ''; it must be busy, say:"),
        ("WHEN_FULL", "sorry", "CALLENGINE_WHEN_FULL is 'sorry'; it must be busy, say:"),
        ("WHEN_FULL", "busy:now", "when_full is busy:now; it must be busy, say:"),
        ("WHEN_FULL", "say: ", "when_full"),
        ("WHEN_FULL", "say:" + "x" * 1001, "when_full"),
        ("WHEN_FULL", "queue", "when_full"),
        ("WHEN_FULL", "queue:" + "x" * 65, "when_full"),
        ("WHEN_FULL", "dial:5550100", "a number like"),
        ("WHEN_FULL", "dial:+15550100;+15550101", "a number like"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_name(variable: str, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Settings.from_env({f"CALLENGINE_{variable}": text})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("busy", WhenFull()),
        ("say:Call\nlater.", WhenFull(TurnAway.SAY, "Call\nlater.")),
        ("queue: first come, first served ", WhenFull(TurnAway.QUEUE, "first come, first served")),
        ("dial:+15550100", WhenFull(TurnAway.DIAL, "+15550100")),
    ],
)
def test_what_the_next_caller_hears_has_four_forms(text: str, meant: WhenFull) -> None:
    assert Settings.from_env({"CALLENGINE_WHEN_FULL": text}).when_full == meant


def test_no_secret_is_in_the_repr() -> None:
    settings = Settings(
        openai_api_key="secret-1",
        twilio_auth_token="secret-2",
        database_url="postgresql+psycopg://u:secret-3@h/d",
    )
    assert "secret" not in repr(settings)


def test_the_token_of_twilio_may_have_its_well_known_name() -> None:
    assert Settings.from_env({"TWILIO_AUTH_TOKEN": "theirs"}).twilio_auth_token == "theirs"


def test_without_a_mapping_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLENGINE_LEAD_MS", "140")
    assert Settings.from_env().lead_ms == 140


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_what_is_given_goes_before_the_environment_and_none_is_not_given() -> None:
    environ = {"CALLENGINE_LEAD_MS": "200", "CALLENGINE_HOST_THREADS": "3"}
    settings = Settings.from_env(environ, lead_ms=300, host_threads=None)
    assert (settings.lead_ms, settings.host_threads) == (300, 3)


@pytest.mark.parametrize(
    ("environ", "given", "key"),
    [
        ({"OPENAI_API_KEY": "theirs"}, None, "theirs"),
        ({"OPENAI_API_KEY": "theirs", "CALLENGINE_OPENAI_API_KEY": "ours"}, None, "ours"),
        ({"OPENAI_API_KEY": "theirs", "CALLENGINE_OPENAI_API_KEY": "ours"}, "given", "given"),
        ({}, None, None),
    ],
)
def test_which_key_goes_first(environ: dict[str, str], given: str | None, key: str | None) -> None:
    assert Settings.from_env(environ, openai_api_key=given).openai_api_key == key


@pytest.mark.parametrize("text", ["", "many", "1.5", "0x10"])
def test_what_is_no_number_names_the_variable(text: str) -> None:
    with pytest.raises(SettingsError, match=r"CALLENGINE_LEAD_MS .*whole number"):
        Settings.from_env({"CALLENGINE_LEAD_MS": text})


RANGES = {
    "lead_ms": (0, 1000),
    "onset_frames": (1, 50),
    "onset_rms": (1, 32767),
    "false_trigger_ms": (100, 5000),
    "host_threads": (1, 1000),
    "max_calls": (1, 10_000),
    "max_sockets_per_address": (1, 10_000),
    "max_call_s": (1, 24 * 3600),
    "fallback_after_ms": (500, 10_000),
    "model_retries": (0, 3),
}


def test_every_number_has_a_range() -> None:
    assert set(RANGES) == {each.name for each in fields(Settings) if each.type == "int"}


@pytest.mark.parametrize("name", RANGES)
def test_a_number_out_of_range_names_the_setting_and_the_range(name: str) -> None:
    least, most = RANGES[name]
    for value in (least, most):
        assert getattr(Settings.from_env({}, **{name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(SettingsError, match=f"{name} is {value}.*{least} and {most}"):
            Settings.from_env({}, **{name: value})


@pytest.mark.parametrize("url", ["https://api.openai.com/v1/realtime", "api.openai.com", ""])
def test_the_models_url_is_a_websocket_url(url: str) -> None:
    with pytest.raises(SettingsError, match="realtime_url"):
        Settings(realtime_url=url)


def test_a_settings_error_is_the_callers_own_mistake() -> None:
    assert issubclass(SettingsError, LocalError)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://h/realtime", "ws://h/realtime?model=m%2F1"),
        ("ws://h/realtime?region=eu", "ws://h/realtime?region=eu&model=m%2F1"),
        ("ws://h/realtime?model=other", "ws://h/realtime?model=other"),
        ("ws://h/realtime?supermodel=x", "ws://h/realtime?supermodel=x&model=m%2F1"),
    ],
)
def test_the_address_names_the_model_once(url: str, address: str) -> None:
    assert Settings(realtime_url=url, realtime_model="m/1").model_address() == address


@pytest.mark.parametrize("key", [None, ""])
def test_a_model_elsewhere_needs_a_key(key: str | None) -> None:
    with pytest.raises(SettingsError, match=r"OPENAI_API_KEY.*CALLENGINE_REALTIME_URL"):
        Settings(openai_api_key=key).require_key()
    Settings(openai_api_key="k").require_key()


@pytest.mark.parametrize("url", LOOPBACK)
def test_a_model_on_loopback_needs_no_key(url: str) -> None:
    Settings(realtime_url=url).require_key()


@pytest.mark.parametrize("url", ["ws://127.0.0.1.example.test/", "wss://localhost.example.test/"])
def test_what_only_looks_like_loopback_needs_a_key(url: str) -> None:
    with pytest.raises(SettingsError, match="no key"):
        Settings(realtime_url=url).require_key()


def test_the_key_is_in_no_repr() -> None:
    assert "secret" not in repr(Settings(openai_api_key="secret"))
