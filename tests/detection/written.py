"""A COCO folder, changed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[dict[str, Any], Path], None]


def edit(folder: Path, change: Change) -> Path:
    path = folder / "annotations" / "instances_val.json"
    data = json.loads(path.read_text())
    change(data, folder)
    path.write_text(json.dumps(data))
    return path
