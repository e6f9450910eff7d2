"""The proof catches deliberate bugs, and names the law that each of them breaks."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.mutants import MUTANTS, Mutant, laws_broken_by, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Findings = dict[Mutant, Future[tuple[str, ...]]]


@pytest.fixture(scope="module")
def findings() -> Iterator[Findings]:
    """What the proof finds in each mutant, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as pool:
        yield {mutant: pool.submit(laws_broken_by, mutant) for mutant in MUTANTS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug.replace(" ", "-"))
def test_a_mutant_can_be_made(mutant: Mutant) -> None:
    source = source_of(mutant.module).read_text("utf-8")
    assert source.count(mutant.line) == 1, "the line occurs exactly once"
    compile(source.replace(mutant.line, mutant.instead), mutant.module, "exec")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug.replace(" ", "-"))
def test_a_mutant_breaks_the_law(mutant: Mutant, findings: Findings) -> None:
    broken = findings[mutant].result()
    assert mutant.law in {law.split()[0] for law in broken}, broken
