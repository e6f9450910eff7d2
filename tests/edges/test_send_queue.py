"""The queue against a model of it: one plain list, in which everything says what it is."""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.edges.send_queue import SendQueue

MAX_MEDIA = 3


class Kind(Enum):
    AHEAD = "ahead"
    MEDIA = "media"
    OTHER = "other"


Entry: TypeAlias = tuple[Kind, str]


class Model:
    """All that waits, in the order in which it will leave."""

    def __init__(self) -> None:
        self.waiting: list[Entry] = []

    def count(self, kind: Kind) -> int:
        return sum(each is kind for each, _ in self.waiting)

    def put_ahead(self, message: str) -> None:
        self.waiting.insert(self.count(Kind.AHEAD), (Kind.AHEAD, message))

    def put_first(self, message: str) -> tuple[int, int]:
        dropped = self.count(Kind.MEDIA), self.count(Kind.OTHER)
        ahead = [each for each in self.waiting if each[0] is Kind.AHEAD]
        self.waiting = [*ahead, (Kind.OTHER, message)]
        return dropped


@given(st.lists(st.sampled_from(["media", "media", "other", "ahead", "first", "take", "clear"])))
def test_whatever_is_left_leaves_as_it_should(steps: list[str]) -> None:
    queue, model, numbers = SendQueue(MAX_MEDIA), Model(), count()
    for step in steps:
        message = f"{step} {next(numbers)}"
        match step:
            case "media":
                taken = model.count(Kind.MEDIA) < MAX_MEDIA
                assert queue.put_media(message) is taken
                if taken:
                    model.waiting.append((Kind.MEDIA, message))
            case "other":
                queue.put(message)
                model.waiting.append((Kind.OTHER, message))
            case "ahead":
                queue.put_ahead(message)
                model.put_ahead(message)
            case "first":
                assert queue.put_first(message) == model.put_first(message)
            case "take" if model.waiting:
                assert queue.take() == model.waiting.pop(0)[1]
            case "clear":
                queue.clear()
                model.waiting.clear()
        assert bool(queue) is bool(model.waiting)
    assert [queue.take() for _ in model.waiting] == [message for _, message in model.waiting]
    assert not queue


def test_nothing_can_be_taken_of_an_empty_queue() -> None:
    queue = SendQueue(MAX_MEDIA)
    with pytest.raises(IndexError):
        queue.take()
    queue.put_media("audio")
    queue.clear()
    with pytest.raises(IndexError):
        queue.take()
