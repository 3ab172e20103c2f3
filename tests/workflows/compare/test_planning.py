from __future__ import annotations

from sapool.base.records import ArenaRecord, SilentReporter
from sapool.networks.load import load_model
from sapool.workflows.compare.config import CompareConfig, Variant
from sapool.workflows.compare.planning import plan_variant


def test_what_planning_needs_is_said_where_it_is_what_misses() -> None:
    """An arena of many small tensors: head and tail are within the budget, what lays them out is not."""
    tight = ArenaRecord(
        head_bytes=5_000,
        tail_bytes=10_000,
        total_bytes=15_000,
        flash_bytes=1,
        operators=(),
        interpreter="",
        setup_bytes=9_000,
    )
    model = load_model("sapool:tiny_025", 10)
    config = CompareConfig(input_size=32, ram_bytes=18_000, flash_bytes=None, strides=(2, 2, 2, 2))
    found = plan_variant(model, Variant("avg", "avg"), config, lambda *_: tight, SilentReporter())
    assert "needs 19,000 bytes (measured), 1,000 over" in found.reason
