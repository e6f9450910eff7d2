"""Logging, loguru's way for libraries: silent until the host enables it, and no handler added.

Every record of callengine goes through `QuietLog`, which makes it fit to be read: what peers wrote
can begin no line of its own, and no telephone number is in it. See `security/masking.py`.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Final

from loguru import logger

from callengine.security.masking import masked, scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger, Message, Record

logger.disable("callengine")

NUMBERS: Final = frozenset({"caller", "called", "from", "to", "number"})
"""Values of these names are masked whatever they look like: `5551234567`, `sip:ann@example.com`."""

TRACE_CALLS: Final = 20
"""Of the calls that led to an error, the last so many are told."""


class CallLog:
    """The log of one call: its records carry the call's sid from when the carrier has told it.

    Context variables would do that too, but they do not reach other threads. While `sheds_info`
    says so, records of level INFO are not written.
    """

    def __init__(self, sheds_info: Callable[[], bool] = lambda: False) -> None:
        self._sheds_info = sheds_info
        self.call_sid = "-"
        self.logger: Logger = logger.patch(self._stamp)

    def name(self, call_sid: str) -> None:
        """Records carry this from now on; the first one counts."""
        if self.call_sid == "-":
            self.call_sid = call_sid

    def _stamp(self, record: Record) -> None:
        if record["level"].name == "INFO" and self._sheds_info():
            raise RecordShed
        record["extra"]["call_sid"] = self.call_sid


class RecordShed(Exception):  # noqa: N818 - named like the event it reports
    """What a patch of loguru's raises so that a record is not written; `QuietLog` bears it."""


class QuietLog:
    """A log for those who must go on: if the host's sink fails, a record is lost, and no more.

    Values are texts and numbers; of anything else its `str` is written.
    """

    def __init__(self, log: Logger) -> None:
        # A record names who wrote it, not this module. It is scrubbed behind all other patches.
        self._log = log.opt(depth=2).patch(_scrub)

    def info(self, text: str, **values: object) -> None:
        """Write a record of level INFO."""
        self._write("INFO", text, values)

    def warning(self, text: str, **values: object) -> None:
        """Write a record of level WARNING."""
        self._write("WARNING", text, values)

    def error(self, text: str, **values: object) -> None:
        """Write a record of level ERROR."""
        self._write("ERROR", text, values)

    def _write(self, level: str, text: str, values: dict[str, object]) -> None:
        with contextlib.suppress(BaseException):
            self._log.log(level, text, **{name: _plain(each) for name, each in values.items()})


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _scrub(record: Record) -> None:
    """Last before the sinks: the text, and every value that is a text, whoever put it there."""
    record["message"] = scrubbed(record["message"])
    extra = record["extra"]
    for name, value in extra.items():
        if isinstance(value, str):
            extra[name] = scrubbed(masked(value) if name in NUMBERS and value else value)


def trace_of(error: BaseException) -> dict[str, str]:
    """What a record says of an error: its type, and where it was raised, line by line.

    Its text and the variables around it may hold what the caller said, and stay out.
    """
    return {
        "error": type(error).__name__,
        "stack": "".join(traceback.format_tb(error.__traceback__, limit=-TRACE_CALLS)),
    }


def configure_logging(level: str = "INFO") -> None:
    """Write callengine's records to stderr: for programs, not for libraries.

    Variables are not shown in tracebacks, because they hold keys and what callers said.
    """
    logger.remove()
    line = "{time:HH:mm:ss.SSS} {level: <7} {extra[call_sid]: <12.12} {message} {extra}"
    logger.configure(extra={"call_sid": "-"})
    logger.add(sys.stderr, level=level, format=line, diagnose=False, backtrace=False)
    logger.enable("callengine")


def to_stdlib(level: str = "DEBUG") -> int:
    """Hand callengine's records to `logging.getLogger("callengine")`: for hosts that use `logging`.

    The values are behind the text, and by themselves in the record's `callengine`. loguru's preset
    handler, which writes all to stderr, is removed. Returns loguru's number of the new one. Not
    for hosts that hand the records of `logging` to loguru: theirs would go round in circles.
    """
    with contextlib.suppress(ValueError):
        logger.remove(0)
    logger.enable("callengine")
    return logger.add(_hand_over, level=level, filter="callengine", format="", diagnose=False)


def _hand_over(message: Message) -> None:
    told, log = message.record, logging.getLogger("callengine")
    if log.isEnabledFor(told["level"].no):
        values = dict(told["extra"])
        text = " ".join([told["message"], *(f"{name}={each}" for name, each in values.items())])
        origin = told["file"].path, told["line"], text, (), None, told["function"]
        extra = {"callengine": values}
        log.handle(log.makeRecord(log.name, told["level"].no, *origin, extra=extra))
