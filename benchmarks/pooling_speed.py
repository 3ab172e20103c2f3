"""Time and memory of the self-attentive pool against its literal formula, side by side in one run.

The literal formula is ``literal.py``: every step at full resolution, attention by
``nn.MultiheadAttention`` as the authors call it (which keeps the L x L map). Rounds alternate between the forms, so
that a machine that slows down slows all of them; a ratio is the median of the rounds' ratios, its spread the middle
half.

    python benchmarks/pooling_speed.py            # this machine's CPU, one thread and all
    python benchmarks/pooling_speed.py --device cuda --dtype bfloat16 --compile

The floor, for reading the table: a pool reads x once, C H W numbers. Attention costs 2 L K E multiply-accumulates.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from literal import LiteralPool
from torch import Tensor, nn

from sapool.layers import SelfAttentivePool2d

RESULTS = Path(__file__).parent / "results"
BATCH = 4


def forms_full() -> dict[str, nn.Module]:
    """p = 1, 64 channels, s 2, 4 heads, normalised: the paper's form."""
    return {
        "literal": LiteralPool("nlp", 64, 64, 2, 1, 4, window_norm=True),
        "exact": SelfAttentivePool2d(64, 2, patch_size=1, num_heads=4, window_norm=True, max_keys=None),
        "256 keys": SelfAttentivePool2d(64, 2, patch_size=1, num_heads=4, window_norm=True),
    }


def forms_patched() -> dict[str, nn.Module]:
    """p = s = 4, 32 channels, 2 heads, un-normalised."""
    return {
        "literal": LiteralPool("nlp", 32, 32, 4, 4, 2, window_norm=False),
        "exact": SelfAttentivePool2d(32, 4, max_keys=None),
        "256 keys": SelfAttentivePool2d(32, 4),
        "separable, 256 keys": SelfAttentivePool2d(32, 4, embedding="separable"),
        "nn.MaxPool2d": nn.MaxPool2d(4),
        "nn.AvgPool2d": nn.AvgPool2d(4),
    }


class Timer:
    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype

    def once(self, run: Callable[[], object]) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def runs(self, pool: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
        """Return what is timed: the forward pass in eval mode, and forward with backward in train mode."""

        def forward() -> None:
            pool.eval()
            with torch.no_grad(), self.cast():
                pool(x)

        def both() -> None:
            pool.train()
            leaf = x.detach().requires_grad_()
            with self.cast():
                out = pool(leaf)
            out.sum().backward()

        return {"forward": forward, "forward + backward": both}

    def cast(self) -> torch.autocast:
        return torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32)


def seconds(forms: dict[str, nn.Module], x: Tensor, timer: Timer, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of every round: {pass: {form: [...]}}; the forms take turns."""
    runs = {name: timer.runs(pool, x) for name, pool in forms.items()}
    found: dict[str, dict[str, list[float]]] = {}
    for kind in ("forward", "forward + backward"):
        for run in runs.values():
            run[kind]()  # warm up: compile, allocate
        times: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(rounds):
            for name, run in runs.items():
                times[name].append(timer.once(run[kind]))
        found[kind] = times
    return found


def ratio(of: list[float], to: list[float]) -> dict[str, float]:
    """Return median and quartiles of the rounds' ratios."""
    ratios = sorted(a / b for a, b in zip(of, to, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def compare(
    forms: dict[str, nn.Module], channels: int, side: int, timer: Timer, rounds: int, compiled: bool
) -> list[dict[str, object]]:
    x = torch.randn(BATCH, channels, side, side, device=timer.device)
    moved = {name: pool.to(timer.device) for name, pool in forms.items()}
    if compiled:
        moved = {name: torch.compile(pool, fullgraph=True) for name, pool in moved.items()}  # type: ignore[misc]
    rows: list[dict[str, object]] = []
    for kind, times in seconds(moved, x, timer, rounds).items():
        for name in forms:
            row: dict[str, object] = {
                "form": name,
                "pass": kind,
                "milliseconds": round(1000 * statistics.median(times[name]), 3),
            }
            row["literal / this"] = ratio(times["literal"], times[name])
            if "nn.MaxPool2d" in times:
                row["this / nn.MaxPool2d"] = ratio(times[name], times["nn.MaxPool2d"])
            rows.append(row)
            print("   ", row, flush=True)
    return rows


def scaling(timer: Timer, rounds: int) -> dict[str, object]:
    """Forward time a pixel of the form with 256 keys at 448 px against 56 px, p = 1."""
    pool = SelfAttentivePool2d(64, 2, patch_size=1, num_heads=4, window_norm=True).to(timer.device)
    runs = {}
    for side in (56, 448):
        x = torch.randn(BATCH, 64, side, side, device=timer.device)
        runs[side] = timer.runs(pool, x)["forward"]
        runs[side]()
    times: dict[int, list[float]] = {56: [], 448: []}
    for _ in range(rounds):
        # As many pixels each: 64 small batches, one large.
        times[56].append(sum(timer.once(runs[56]) for _ in range(64)))
        times[448].append(timer.once(runs[448]))
    found = {"time a pixel at 448 px / at 56 px": ratio(times[448], times[56])}
    print("   ", found, flush=True)
    return found


PEAK = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {root!r})
from pooling_speed import forms_full

def kib(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

torch.set_num_threads(1)
pool, x = forms_full()[{form!r}].train(), torch.randn({batch}, 64, {side}, {side}, requires_grad=True)
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
before = kib("VmRSS")
pool(x).sum().backward()
print((kib("VmHWM") - before) * 1024)
"""


def peak_bytes(form: str, side: int, batch: int) -> int:
    """Return how far one training step raises the peak memory of a fresh process: the median of five processes."""
    code = PEAK.format(root=str(Path(__file__).parent), form=form, side=side, batch=batch)
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return statistics.median(int(run.stdout) for run in runs)


def peak_table(device: str) -> dict[str, object]:
    """Peak memory of a training step at 112 px, p = 1, one image: L^2 is 157 million scores a head."""
    found: dict[str, object] = {}
    for form in ("literal", "exact", "256 keys"):
        if device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            pool = forms_full()[form].to(device).train()
            x = torch.randn(1, 64, 112, 112, device=device, requires_grad=True)
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            pool(x).sum().backward()
            found[form] = torch.cuda.max_memory_allocated() - before
        else:
            found[form] = peak_bytes(form, 112, 1)
    for form in ("exact", "256 keys"):
        found[f"literal / {form}"] = round(float(found["literal"]) / float(found[form]), 2)  # type: ignore[arg-type]
    print("   ", found, flush=True)
    return found


def bandwidth(timer: Timer) -> dict[str, object]:
    """Achieved bytes a second of the patched form (one read of x) against a measured copy on the same device."""
    x = torch.randn(64, 32, 112, 112, device=timer.device, dtype=timer.dtype)
    pool = SelfAttentivePool2d(32, 4, embedding="separable").to(timer.device)
    out = torch.empty_like(x)
    run = timer.runs(pool, x.float())["forward"]
    for _ in range(3):
        run()
        out.copy_(x)
    copy = statistics.median(timer.once(lambda: out.copy_(x)) for _ in range(20))
    pooled = statistics.median(timer.once(run) for _ in range(20))
    size = x.numel() * 4
    found: dict[str, object] = {
        "copy GB/s (read + write)": round(2 * x.numel() * x.element_size() / copy / 1e9, 1),
        "pool GB/s (one read of a float32 x)": round(size / pooled / 1e9, 1),
    }
    print("   ", found, flush=True)
    return found


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="compile every form")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    timer = Timer(args.device, getattr(torch, args.dtype))
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    all_threads = torch.get_num_threads()
    record: dict[str, object] = {
        "device": device_name(args.device),
        "dtype": args.dtype,
        "compiled": args.compile,
        "batch": BATCH,
        "rounds": args.rounds,
        "versions": versions,
    }
    for threads in [1, all_threads] if args.device == "cpu" and all_threads > 1 else [all_threads]:
        torch.set_num_threads(threads)
        label = f"{threads} thread{'s' * (threads > 1)}" if args.device == "cpu" else "gpu"
        print(label, "\n  p = 1, 64 channels, 56 px, s 2, 4 heads")
        full = compare(forms_full(), 64, 56, timer, args.rounds, args.compile)
        print("  p = 4, 32 channels, 112 px, s 4, 2 heads, un-normalised")
        patched = compare(forms_patched(), 32, 112, timer, 4 * args.rounds, args.compile)
        print("  scaling")
        record[label] = {"p1_c64_56px": full, "p4_c32_112px": patched, "scaling": scaling(timer, args.rounds)}
    torch.set_num_threads(all_threads)
    print("  peak memory of a training step, 112 px, p = 1, batch 1")
    record["peak_bytes_112px_p1_batch1"] = peak_table(args.device)
    if args.device == "cuda":
        record["bandwidth"] = bandwidth(timer)
    name = "_".join(["pooling_speed", args.device, args.dtype, *(["compiled"] if args.compile else [])])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
