"""Fixtures shared by the tests of the actors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pykka
import pytest

from tests.actors.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_actor_is_left() -> Iterator[None]:
    assert pykka.ActorRegistry.get_all() == [], "an earlier test left actors behind"
    yield
    left = pykka.ActorRegistry.get_all()
    for ref in left:
        ref.stop(block=False)
    pykka.ActorRegistry._actor_refs.clear()
    assert left == []


@pytest.fixture
def rig(_no_actor_is_left: None) -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()
