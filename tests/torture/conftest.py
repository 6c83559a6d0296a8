"""The fixture that the torture tests share. It runs jobs in processes that can be killed while they work."""

from collections.abc import Iterator

import pytest

from support.victims import Victims


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    with Victims() as started:
        yield started
