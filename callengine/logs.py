"""Logging, loguru's way for libraries: silent until the host enables it, and no handler added."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Logger, Record

logger.disable("callengine")


class CallLog:
    """The log of one call: its records carry the call's sid from when the carrier has told it.

    Context variables would do that too, but they do not reach other threads.
    """

    def __init__(self) -> None:
        self.call_sid = "-"
        self.logger: Logger = logger.patch(self._stamp)

    def name(self, call_sid: str) -> None:
        """Records carry this from now on; the first one counts."""
        if self.call_sid == "-":
            self.call_sid = call_sid

    def _stamp(self, record: Record) -> None:
        record["extra"]["call_sid"] = self.call_sid


class QuietLog:
    """A log for those who must go on: if the host's sink fails, a record is lost, and no more."""

    def __init__(self, log: Logger) -> None:
        self._log = log.opt(depth=2)  # a record names who wrote it, not this module

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
            self._log.log(level, text, **values)


def trace_of(error: BaseException) -> dict[str, str]:
    """What a record says of an error: its type, and where it was raised, line by line.

    Its text and the variables around it may hold what the caller said, and stay out.
    """
    return {
        "error": type(error).__name__,
        "stack": "".join(traceback.format_tb(error.__traceback__)),
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
