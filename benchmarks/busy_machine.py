"""Steps of training on an idle and on a busy machine, by how its threads wait: ``python benchmarks/busy_machine.py``.

OpenMP's threads spin while they wait for each other. On a machine that others use, too, the one that all wait for does
not run because the others spin. ``OMP_WAIT_POLICY=PASSIVE``, which the command line and ``make`` set, lets them sleep.

Every round trains in each way for some seconds, one after the other in an order that changes, and a ratio is of two
ways of one round: what else the machine does in the meantime, it does to all of them. The load is this script's own
processes, which do nothing but count; ``load_before`` says what else was running.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sapool.base.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "busy_machine.json"
WAYS: dict[str, dict[str, str]] = {
    "as it is": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
VARIABLES = {name for way in WAYS.values() for name in way}
COUNTER = "while True:\n    pass"


def train(seconds: float) -> int:
    """Return the steps of training ``sapool:tiny`` on 64 px, 64 images a step, that ``seconds`` hold."""
    import torch

    import sapool

    model = sapool.load_model("sapool:tiny", 10).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.rand(64, 3, 64, 64), torch.arange(64) % 10
    steps, start = -2, 0.0  # two to warm up
    while steps < 0 or time.perf_counter() < start + seconds:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        steps += 1
        if steps == 0:
            start = time.perf_counter()
    return steps


@contextmanager
def load(count: int) -> Iterator[None]:
    """Keep ``count`` processes busy."""
    counters = [subprocess.Popen([sys.executable, "-c", COUNTER]) for _ in range(count)]
    try:
        yield
    finally:
        for counter in counters:
            counter.kill()
            counter.wait()


def measure(way: str, seconds: float) -> int:
    """Train in a process of its own, in one of the ways."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, __file__, "--train", str(seconds)]
    return int(subprocess.check_output(command, env=environment | WAYS[way], text=True))


def rounds(count: int, seconds: float, busy: int) -> list[dict[str, int]]:
    """Return the steps of every way in each round."""
    found = []
    for number in range(count):
        names = list(WAYS)
        order = names[number % len(names) :] + names[: number % len(names)]
        with load(busy):
            steps = {way: measure(way, seconds) for way in order}
        found.append({way: steps[way] for way in names})
        print(f"{busy} processes beside it: {found[-1]}", flush=True)
    return found


def summary(found: list[dict[str, int]]) -> dict[str, float]:
    """Return, for each way, the median over the rounds of its steps to those of ``as it is``."""
    return {way: round(statistics.median(one[way] / max(1, one["as it is"]) for one in found), 2) for way in WAYS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--busy", type=int, default=11, help="processes beside it, on the busy machine")
    parser.add_argument("--train", type=float, help="only train for so many seconds, and print the steps")
    asked = parser.parse_args()
    if asked.train is not None:
        print(train(asked.train))
        return
    held: dict[str, object] = {"environment": describe_environment(), "seconds": asked.seconds}
    for name, busy in (("idle", 0), ("busy", asked.busy)):
        before = os.getloadavg()[0]
        found = rounds(asked.rounds, asked.seconds, busy)
        held[name] = {"processes": busy, "load_before": before, "rounds": found, "to as it is": summary(found)}
    held["cores"] = len(os.sched_getaffinity(0))
    RESULTS.write_text(json.dumps(held, indent=1) + "\n")
    print(RESULTS)


if __name__ == "__main__":
    main()
