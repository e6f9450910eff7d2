"""What a watch raises when a law does not hold."""

from __future__ import annotations


class Broken(Exception):  # noqa: N818 - it is a finding, not a fault of the exploration
    """A law was broken by the move just made."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"{law}: {message}")
        self.law = law
        self.message = message


def hold(law: str, message: str, *, holds: bool) -> None:
    """Raise `Broken` unless it holds."""
    if not holds:
        raise Broken(law, message)
