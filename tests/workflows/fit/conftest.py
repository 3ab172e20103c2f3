from __future__ import annotations

from pathlib import Path

import pytest

from sapool.workflows.fit import fit
from tests import shared
from tests.workflows.fit.quick import QUICK


@pytest.fixture(scope="session")
def finished() -> Path:
    """The folder of a fit that is done; a test that writes to it takes a copy."""
    return shared.made_once("fit", lambda folder: fit(QUICK, folder))
