from __future__ import annotations

import subprocess
import sys


def test_the_room_needs_no_torch() -> None:
    code = "import sys, sapool.report, sapool.report.tables, sapool.report.figures; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
