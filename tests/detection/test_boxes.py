from __future__ import annotations

from sapool.detection import make_target
from sapool.detection.boxes import without_crowds


def test_crowds_are_left_out_with_all_that_belongs_to_them() -> None:
    target = make_target([(0, 0, 2, 2), (1, 1, 4, 5), (2, 2, 3, 3)], [1, 2, 3], 7, [0, 1, 0])
    kept = without_crowds(target)
    assert kept["boxes"].tolist() == [[0, 0, 2, 2], [2, 2, 3, 3]]
    assert kept["labels"].tolist() == [1, 3]
    assert kept["area"].tolist() == [4, 1]
    assert int(kept["image_id"]) == 7
