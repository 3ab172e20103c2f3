from __future__ import annotations

import pytest

from sapool.report.tables import show_p


@pytest.mark.parametrize(("value", "said"), [(None, "-"), (0.04321, "0.043"), (0.001, "0.001"), (0.0009, "<0.001")])
def test_a_p_value_is_never_zero(value: float | None, said: str) -> None:
    assert show_p(value) == said
