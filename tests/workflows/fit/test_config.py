from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sapool.workflows.fit import FitConfig
from tests.workflows.fit.quick import QUICK


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pools": ()}, "at least one pooling, each once, got none"),
        ({"pools": ("avg", "avg")}, "each once, got avg, avg"),
        ({"pools": ("avgg",)}, r"unknown pooling 'avgg': did you mean avg\?"),
        ({"ram_bytes": 0}, "at least 1 byte"),
        ({"input_size": 0}, r"input_size must be an int or \(channels, height, width\)"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"input_sizes": (48, 32)}, r"not input_size \(32\), got 48, 32"),
        ({"input_sizes": (0,)}, r"input_size must be an int or \(channels, height, width\)"),
        ({"prune": 3}, r"0 to the number of poolings \(2\), got 3"),
    ],
)
def test_bad_configurations_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(QUICK, **changes)


def test_the_default_folder_is_named_after_data_model_and_budget() -> None:
    assert str(QUICK.default_folder()) == "runs/scattered-digits_sapool-tiny_32px_40KiB"
    assert FitConfig(ram_bytes=1000).default_folder().name.endswith("_1000B")
    assert str(FitConfig(data="cifar10:/data/cifar").default_folder()).startswith(
        "runs/cifar10--data-cifar_sapool-tiny"
    )
