"""What is in a record, and what never is."""

from __future__ import annotations

import ast
import logging
import re
import subprocess
import sys
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger

import callengine
from callengine.logs import TRACE_CALLS, CallLog, QuietLog, to_stdlib, trace_of

if TYPE_CHECKING:
    from loguru import Message

PACKAGE = Path(callengine.__file__).parent
NUMBER = "+15551234567"
MASKED = "+1555***67"
FORGED = "x\n2026-01-01 ERROR all is lost\x1b[2J"
ESCAPED = "x\\n2026-01-01 ERROR all is lost\\x1b[2J"

Write = Callable[..., None]


@pytest.fixture
def records() -> Iterator[list[Message]]:
    written: list[Message] = []
    sink = logger.add(written.append, level=0, format="{level} {message} {extra}", catch=False)
    logger.enable("tests")
    yield written
    logger.remove(sink)


def extra(records: list[Message]) -> dict[str, Any]:
    (message,) = records
    values: dict[str, Any] = message.record["extra"]
    return values


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_record_names_its_level_its_call_and_who_wrote_it(
    records: list[Message], level: str
) -> None:
    log = CallLog()
    write: Write = getattr(QuietLog(log.logger), level)
    write("before the start")
    log.name("CA1")
    log.name("CA2")
    write("after it", frames=3)
    first, second = (message.record for message in records)
    assert (first["level"].name, first["extra"]) == (level.upper(), {"call_sid": "-"})
    assert (second["message"], second["extra"]) == ("after it", {"call_sid": "CA1", "frames": 3})
    assert (second["function"], second["file"].name) == (
        "test_a_record_names_its_level_its_call_and_who_wrote_it",
        "test_logs.py",
    )


def test_what_only_informs_can_be_left_out(records: list[Message]) -> None:
    asked: list[bool] = []
    log = QuietLog(CallLog(lambda: asked.append(True) or len(asked) == 1).logger)
    for write in (log.info, log.warning, log.error, log.info):
        write("something")
    assert [message.record["level"].name for message in records] == ["WARNING", "ERROR", "INFO"]
    assert len(asked) == 2, "what is a warning is always written"


def test_numbers_are_masked_in_texts_and_in_values(records: list[Message]) -> None:
    QuietLog(logger).info(f"call from {NUMBER}", detail=f"to {NUMBER}", caller="5551234567", to="")
    (message,) = records
    assert message.record["message"] == f"call from {MASKED}"
    assert extra(records) == {"detail": f"to {MASKED}", "caller": "5551***67", "to": ""}


def test_what_a_peer_wrote_begins_no_line_and_steers_no_terminal(records: list[Message]) -> None:
    log = CallLog()
    log.name(FORGED)
    QuietLog(log.logger).info(FORGED, reason=FORGED, cause=ValueError(FORGED), codes=[FORGED])
    (message,) = records
    assert message.record["message"] == ESCAPED
    values = extra(records)
    assert (values["call_sid"], values["reason"], values["cause"]) == (ESCAPED,) * 3
    assert message.count("\n") == 1
    assert "\x1b" not in message


def test_braces_of_a_peer_are_not_filled_in(records: list[Message]) -> None:
    QuietLog(logger).info("closed", reason="{reason.__class__} {0} {")
    assert extra(records) == {"reason": "{reason.__class__} {0} {"}


def test_numbers_and_nothing_stay_what_they_are(records: list[Message]) -> None:
    values = {"frames": 3, "lead": 0.1, "full": True, "budget": None}
    QuietLog(logger).info("numbers", **values)
    assert extra(records) == values
    assert type(extra(records)["full"]) is bool


def test_what_the_host_has_bound_is_scrubbed_if_it_is_text(records: list[Message]) -> None:
    request = object()
    QuietLog(logger.bind(path="/x\n", request=request)).info("a request")
    assert extra(records) == {"path": "/x\\n", "request": request}


def test_a_sink_that_fails_and_a_value_that_cannot_be_told_fail_nobody() -> None:
    class Mute:
        def __str__(self) -> str:
            raise ZeroDivisionError

    def fail(_: object) -> None:
        raise KeyboardInterrupt

    logger.enable("tests")
    sink = logger.add(fail, catch=False)
    QuietLog(logger).error("lost")
    logger.remove(sink)
    QuietLog(logger).error("lost", value=Mute())


def ping(depth: int) -> None:
    if not depth:
        raise LookupError(NUMBER)
    pong(depth - 1)


def pong(depth: int) -> None:
    ping(depth)


def test_a_trace_says_where_and_not_what(records: list[Message]) -> None:
    with pytest.raises(LookupError) as raised:
        ping(300)
    trace = trace_of(raised.value)
    assert trace["error"] == "LookupError"
    assert trace["stack"].count("  File ") == TRACE_CALLS
    assert "raise LookupError(NUMBER)" in trace["stack"], "the innermost call is the last"
    assert NUMBER not in trace["stack"]
    QuietLog(logger).error("failed", **trace)
    stack = extra(records)["stack"]
    assert "\n" not in stack
    assert stack.endswith("raise LookupError(NUMBER)\\n")


def test_nobody_in_the_package_writes_past_the_scrubbing() -> None:
    """Only `logs` calls loguru's methods; others hand its logger to `QuietLog`, maybe bound.

    A host's own logger, `app.logger`, is the host's.
    """
    writing = {"log", "trace", "debug", "info", "success", "warning", "error", "critical"}
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "logs.py" and "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in writing | {"exception", "catch"}
        and re.fullmatch(r"(.*log\.)?logger|logging", ast.unparse(node.value))
    ]
    assert wrong == []


@pytest.mark.realtime
def test_scrubbing_costs_microseconds(records: list[Message]) -> None:
    """A record of the usual kind; there are some ten in a call, none per frame."""
    from callengine.logs import _scrub

    QuietLog(logger).info(
        "call ended", call_sid="CA" + "1" * 32, end_cause="caller_hung_up", duration_s=12.5,
        detail="the carrier's socket closed with 1006", tx_frames=1000, caller=NUMBER,
    )  # fmt: skip
    record = records[0].record

    def scrub() -> None:
        record["extra"]["caller"] = NUMBER
        record["extra"]["detail"] = f"it closed with 1006 {NUMBER}\n"
        _scrub(record)

    rounds = 2_000
    took_s = min(timeit.repeat(scrub, number=rounds, repeat=5)) / rounds
    assert extra(records)["detail"] == f"it closed with 1006 {MASKED}\\n"
    assert took_s < 20e-6


# ---- to_stdlib


@pytest.fixture
def standard() -> Iterator[list[logging.LogRecord]]:
    """What arrives at a host's handler."""
    got: list[logging.LogRecord] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            got.append(record)

    log, handler = logging.getLogger("callengine"), Note()
    log.addHandler(handler)
    log.setLevel("INFO")
    sink = to_stdlib()
    yield got
    logger.remove(sink)
    logger.disable("callengine")
    log.setLevel("NOTSET")
    log.removeHandler(handler)


def write_as(name: str, code: str) -> None:
    """Run code as if it were in a module of that name: loguru looks at the caller's `__name__`."""
    exec(code, {"__name__": name, "QuietLog": QuietLog, "logger": logger, "NUMBER": NUMBER})


def test_a_host_on_logging_gets_our_records(standard: list[logging.LogRecord]) -> None:
    write_as("callengine.engine", "QuietLog(logger).warning('100% stuck', owner='model', n=3)")
    (record,) = standard
    assert (record.name, record.levelname) == ("callengine", "WARNING")
    assert record.getMessage() == "100% stuck owner=model n=3"
    assert record.callengine == {"owner": "model", "n": 3}  # type: ignore[attr-defined]
    assert record.filename == "<string>"


def test_it_gets_them_scrubbed_and_at_its_own_level(standard: list[logging.LogRecord]) -> None:
    logging.getLogger("callengine").setLevel("ERROR")
    write_as("callengine.x", "QuietLog(logger).warning('quiet')")
    write_as("callengine.x", "QuietLog(logger).error('loud', caller=NUMBER, reason='a\\nb')")
    (record,) = standard
    assert record.getMessage() == f"loud caller={MASKED} reason=a\\nb"


def test_it_gets_no_records_of_others(standard: list[logging.LogRecord]) -> None:
    for name in ("host", "callengine_of_another", "tests"):
        write_as(name, "logger.error('not ours')")
    assert standard == []


def test_it_gets_everything_once() -> None:
    program = (
        "import logging, callengine.logs as logs; from loguru import logger;"
        "logging.basicConfig(format='%(levelname)s:%(name)s:%(message)s');"
        "logs.to_stdlib();"
        "exec('logs.QuietLog(logger).error(\"once\", n=1)',"
        " {'__name__': 'callengine.x', 'logs': logs, 'logger': logger})"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stderr == "ERROR:callengine:once n=1\n"
