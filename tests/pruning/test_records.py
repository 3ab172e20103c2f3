from __future__ import annotations

import pytest

from sapool.pruning.records import Cost, LayerChange, PruneRecord

RECORD = PruneRecord(
    target="ram_bytes", value=20_000, importance="magnitude", settings={"round_to": 8, "exclude": ["stem"]},
    input_size=(3, 32, 32), before=Cost(100, 9, 3, 2, 5, "stem"), after=Cost(50),
    layers=(LayerChange("stem.0", "Conv2d", 3, 3, 16, 8, None, (0, 1, 2, 3, 5, 7, 8, 9)),),
)  # fmt: skip


def test_a_record_survives_json() -> None:
    assert PruneRecord.from_json(RECORD.to_json()) == RECORD


@pytest.mark.parametrize("text", ["{", "[]", "{}", RECORD.to_json().replace('"layers"', '"layer"')])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a pruning record"):
        PruneRecord.from_json(text)
