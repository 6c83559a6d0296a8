"""What the torture tests share: processes that are started once and killed often."""

from collections.abc import Iterator

import pytest

from support.victims import Victims


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    with Victims() as started:
        yield started
