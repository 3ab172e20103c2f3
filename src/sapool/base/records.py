"""The nouns: small frozen records that every stage takes and returns, and that serialise to JSON.

Bytes are ints named ``*_bytes``; accuracies are fractions in [0, 1]; sizes are (rows, columns) in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from sapool.base.arena import ArenaSize, as_plain
from sapool.base.budget import Budget, Needs
from sapool.base.quoting import one_line, quote
from sapool.base.reading import build, parse_record

Size = tuple[int, int]
MOST_PIXELS = 65_536  # of a side: what no image and no map of this library reaches


@dataclass(frozen=True)
class DownsamplingSite:
    """One place, in execution order, where a network reduces H x W.

    Attributes:
        name: the block that shrinks the map, or the operator itself where it belongs to none.
        before: map size that enters, (rows, columns).
        after: map size that leaves.
        in_channels: channels that enter.
        out_channels: channels at the exit: what a pool put there has to take.
        operators: qualified names of the modules (or graph nodes) that shrink.
        exit: name of the graph node after which every path has the new size; a pool goes behind it.
        reduction: by how much: the stride of its operators.
    """

    name: str
    before: Size
    after: Size
    in_channels: int
    out_channels: int
    operators: tuple[str, ...]
    exit: str
    reduction: int


@dataclass(frozen=True)
class UnsupportedSite:
    """A place where the network shrinks a map in a way that can't be re-planned, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SitePlan:
    """What one site becomes: the convolution's stride, then a pool of ``pool_stride`` (1: none) at ``placement``."""

    site: str
    pool: str
    conv_stride: int
    pool_stride: int
    placement: str = "block"
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the strides; lists among the keywords become tuples, which JSON does not have.

        Raises:
            ValueError: a stride under 1, or larger than any map.
        """
        for name in ("conv_stride", "pool_stride"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= MOST_PIXELS:
                raise ValueError(
                    f"{name} of {quote(self.site)} must be a whole number, 1 to {MOST_PIXELS}, got {quote(value)}"
                )
        pairs = {key: tuple(value) for key, value in self.kwargs.items() if isinstance(value, list)}
        object.__setattr__(self, "kwargs", self.kwargs | pairs)

    @property
    def reduction(self) -> int:
        """By how much the site reduces the map in all."""
        return self.conv_stride * self.pool_stride


@dataclass(frozen=True)
class PoolingPlan:
    """Which pool goes where in one network at one input size (C, H, W)."""

    input_size: tuple[int, int, int]
    sites: tuple[SitePlan, ...]

    def __post_init__(self) -> None:
        """Check the size and the names.

        Raises:
            ValueError: a side under 1 or larger than any image, or a site named twice.
        """
        if not all(1 <= side <= MOST_PIXELS for side in self.input_size):
            raise ValueError(f"each of input_size must be 1 to {MOST_PIXELS}, got {quote(self.input_size)}")
        names = [site.site for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError(f"a site is named twice: {one_line(', '.join(names), 200)}")

    @property
    def strides(self) -> tuple[int, ...]:
        """Reduction of every site, in execution order."""
        return tuple(site.reduction for site in self.sites)

    def to_json(self) -> str:
        """Return the plan as JSON text; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> PoolingPlan:
        """Read a plan.

        Raises:
            ValueError: the text is not a plan; the message says which part.
        """
        try:
            return parse_record(cls, text)
        except ValueError as error:
            raise ValueError(f"not a pooling plan: {error}") from None


@dataclass(frozen=True)
class ArenaRecord:
    """What TensorFlow Lite Micro's recording allocator printed for one ``.tflite``, on the 64-bit wheel.

    Attributes:
        head_bytes: activations and scratch.
        tail_bytes: persistent data.
        total_bytes: head + tail: what is in use while the model runs.
        flash_bytes: size of the ``.tflite`` file.
        operators: operator names in the file, each once, sorted.
        interpreter: package and version that was measured with.
        setup_bytes: what the runtime needs of the head's room while it plans; more than the head itself only where
            there are many small tensors.
    """

    head_bytes: int
    tail_bytes: int
    total_bytes: int
    flash_bytes: int
    operators: tuple[str, ...]
    interpreter: str
    setup_bytes: int = 0

    @property
    def size(self) -> ArenaSize:
        """Head, tail and set-up alone."""
        return ArenaSize(self.head_bytes, self.tail_bytes, self.setup_bytes)

    @property
    def arena_bytes(self) -> int:
        """The least arena that runs the model, the figure that is held against a RAM budget."""
        return self.size.arena_bytes

    @property
    def needs(self) -> Needs:
        """What is held against a budget."""
        return Needs(ram_bytes=self.arena_bytes, flash_bytes=self.flash_bytes)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArenaRecord:
        """Build a record from what JSON made of one.

        Raises:
            ValueError: it is none; the message says which key.
        """
        return build(cls, data)

    def budget_share(self, ram_bytes: int, flash_bytes: int | None = None) -> float:
        """Return the larger of arena / RAM budget and file / flash budget: at most 1 where the model fits."""
        return Budget(ram_bytes, flash_bytes).largest_share(self)

    def fits(self, ram_bytes: int, flash_bytes: int | None = None) -> bool:
        """Whether the arena is within the RAM budget and the file within the flash budget; see :class:`Budget`."""
        return Budget(ram_bytes, flash_bytes).fits(self)


@dataclass(frozen=True)
class ExportRecord:
    """How a network became a ``.tflite``.

    Attributes:
        path: the file.
        flash_bytes: its size.
        macs: multiply-accumulates of one inference, counted on the file's own operators.
        passes: rewrites that were applied, in order.
        float_error: largest absolute difference between the network's outputs and those of its rewritten form.
        int8_snr_db: power of the float outputs over that of the int8 error, on calibration images, in decibels;
            None where one of the two is zero.
    """

    path: str
    flash_bytes: int
    macs: int
    passes: tuple[str, ...]
    float_error: float
    int8_snr_db: float | None


@dataclass(frozen=True)
class TrainRecord:
    """Outcome of one training run: the epoch is chosen on validation, the test split is used once.

    Attributes:
        epochs: that the recipe asks for.
        best_epoch: the epoch whose weights were kept, counted from 1.
        val_accuracy: of these weights.
        test_accuracy: the same on the test split.
        train_seconds: of all epochs, validation included; time lost by a kill is not.
        stopped_epoch: the last epoch trained: under ``epochs`` where patience ran out (0: an older record).
        images_per_second: training images over the time of the training steps alone, on all processes together.
        skipped: damaged images that were left out, over all splits.
    """

    epochs: int
    best_epoch: int
    val_accuracy: float
    test_accuracy: float
    train_seconds: float
    stopped_epoch: int = 0
    images_per_second: float = 0.0
    skipped: int = 0


@dataclass(frozen=True)
class RunRecord:
    """One pooling of one ``fit`` or ``compare``: what was planned, trained, exported and measured.

    Attributes:
        pool: the pooling.
        strides: reduction of every site under the plan.
        plan: the plan.
        fits: whether arena and file are within the budgets and TFLM computes what LiteRT computes.
        head_bytes: activations and scratch in TFLM's arena.
        tail_bytes: persistent data in it.
        total_bytes: head + tail.
        flash_bytes: the file: what is held against the flash budget.
        macs: multiply-accumulates of one inference.
        parameters: trained numbers of the float network.
        float_val_accuracy: of the float network on validation; None where nothing was trained.
        float_test_accuracy: the same on the test split.
        int8_val_accuracy: of the ``.tflite`` on validation: what chooses the best.
        int8_test_accuracy: the same on the test split.
        parity_steps: largest difference between TFLM's and LiteRT's int8 outputs, in steps, on test images.
        parity_images: how many images that was measured on.
        best_epoch: chosen on validation.
        train_seconds: time spent training.
        tried: the ladder's rungs in order: strides and arena in bytes, on random weights.
        export: how the file was made.
        arena: what was measured.
        config: the whole configuration of the ``fit`` or of the comparison's run.
        environment: versions, device, commit.
        latency_ms: median time of one inference on LiteRT, one thread, on ``latency_device``, in milliseconds.
        latency_device: the processor that was timed.
    """

    pool: str
    strides: tuple[int, ...]
    plan: PoolingPlan
    fits: bool
    head_bytes: int
    tail_bytes: int
    total_bytes: int
    flash_bytes: int
    parameters: int
    tried: tuple[dict[str, Any], ...]
    arena: ArenaRecord
    config: dict[str, Any]
    environment: dict[str, str]
    macs: int | None = None
    float_val_accuracy: float | None = None
    float_test_accuracy: float | None = None
    int8_val_accuracy: float | None = None
    int8_test_accuracy: float | None = None
    parity_steps: int | None = None
    parity_images: int = 0
    best_epoch: int | None = None
    train_seconds: float | None = None
    export: ExportRecord | None = None
    latency_ms: float | None = None
    latency_device: str = ""

    @property
    def arena_bytes(self) -> int:
        """The least arena that runs the model: what is held against the RAM budget."""
        return self.arena.arena_bytes

    @property
    def needs(self) -> Needs:
        """What is held against a budget."""
        return replace(self.arena.needs, macs=self.macs)

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read a record that :func:`record_to_json` wrote.

        Raises:
            ValueError: the text is no such record.
        """
        try:
            return parse_record(cls, text)
        except ValueError as error:
            raise ValueError(f"not a run's record: {error}") from None


class Reporter(Protocol):
    """How a stage tells its caller what it is doing; the command line draws it, a library user may ignore it."""

    def stage(self, text: str) -> None:
        """Announce one finished or starting step in a line."""

    def start(self, name: str, total: int) -> None:
        """Open a progress bar of ``total`` steps."""

    def advance(self, text: str = "") -> None:
        """Move the open bar by one step; ``text`` stands beside it."""

    def finish(self) -> None:
        """Close the open bar."""


class SilentReporter:
    """A :class:`Reporter` that says nothing."""

    def stage(self, text: str) -> None:
        """Ignore the text."""

    def start(self, name: str, total: int) -> None:
        """Ignore the bar."""

    def advance(self, text: str = "") -> None:
        """Ignore the step."""

    def finish(self) -> None:
        """Ignore the end."""


def record_to_json(record: Any) -> str:
    """Return any record as indented JSON text, the sums of its arenas beside their parts."""
    return json.dumps(as_plain(record), indent=2)
