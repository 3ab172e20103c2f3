from __future__ import annotations

from pathlib import Path

import pytest

from sapool.workflows.fit import fit
from tests.workflows.fit.quick import QUICK


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "out"
    fit(QUICK, folder)
    return folder
