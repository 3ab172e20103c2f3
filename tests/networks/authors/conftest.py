from __future__ import annotations

from typing import Any

import pytest

from sapool.networks.authors import blocks
from tests.networks.authors.building import Recorder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(blocks, "authors_pool", lambda *args, **kwargs: Recorder(made, *args, **kwargs))
    return made
