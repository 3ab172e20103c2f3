"""The smallest fit that trains."""

from __future__ import annotations

from sapool.workflows.fit import FitConfig

QUICK = FitConfig(input_size=32, ram_bytes=40 * 1024, pools=("self_attentive", "strided"), epochs=1, batch_size=250)
