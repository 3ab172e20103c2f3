"""How good a quantised model is on data: accuracy, confusion matrix, and what int8 costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from sapool.base.chance import is_guessing, wilson_interval
from sapool.base.records import Reporter, SilentReporter
from sapool.export import measure_latency, run_images
from sapool.tflite import read_graph
from sapool.tflite.file import TfliteError
from sapool.training import DataSplits, gather, load_data
from sapool.training.data import Images
from sapool.workflows.folder import MODEL
from sapool.workflows.opened import open_run

Split = Literal["test", "val", "train"]
_AT_ONCE = 500


@dataclass(frozen=True)
class Evaluation:
    """What a model answers on a split.

    Attributes:
        model: its file.
        data: the data set.
        split: ``test``, ``val`` or ``train``.
        engine: what ran it: ``litert`` or ``tflm``.
        classes: their names.
        confusion: how many images of class i (row) were answered with class j (column).
        float_accuracy: of the float network on the same images, or None without one.
        agreement: share of images on which int8 and float answer alike, or None.
        milliseconds: time of one inference on LiteRT on this machine, median.
    """

    model: str
    data: str
    split: str
    engine: str
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    float_accuracy: float | None
    agreement: float | None
    milliseconds: float

    @property
    def images(self) -> int:
        """How many images were shown."""
        return sum(map(sum, self.confusion))

    @property
    def right(self) -> int:
        """How many were answered rightly."""
        return sum(row[place] for place, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of images answered rightly."""
        return self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval (Wilson)."""
        return wilson_interval(self.right, self.images)

    @property
    def guessing(self) -> bool:
        """Whether always naming the largest class may be as good."""
        return is_guessing(self.right, self.images, max(map(sum, self.confusion)))

    def recalls(self) -> tuple[float | None, ...]:
        """Return for each class the share of its images that were found; None without an image."""
        return tuple(row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion))

    def precisions(self) -> tuple[float | None, ...]:
        """Return for each class the share of its answers that were right; None where it was never answered."""
        columns = [sum(row[i] for row in self.confusion) for i in range(len(self.classes))]
        return tuple(self.confusion[i][i] / count if count else None for i, count in enumerate(columns))


def evaluate_model(
    model: str | Path,
    data: DataSplits | str,
    *,
    split: Split = "test",
    engine: Literal["litert", "tflm"] = "litert",
    network: nn.Module | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    images: int | None = None,
    reporter: Reporter | None = None,
) -> Evaluation:
    """Show a split's images to a ``.tflite`` classifier and count its answers.

    Args:
        model: a ``.tflite`` with one image (1, H, W, C) in and one score a class out.
        data: splits, or a data set's name, which is loaded at the model's own input size.
        split: ``test``, ``val`` or ``train`` (one epoch, not augmented).
        engine: ``litert`` (reference kernels) or ``tflm``, TensorFlow Lite Micro, which is slower.
        network: the float network that it was made of, to compare with; in eval mode.
        mean: of the images, where ``data`` is a name: what the network was trained with.
        std: as ``mean``.
        images: so many, evenly spaced; None: all.
        reporter: is told the progress.

    Raises:
        TfliteError: no ``.tflite``, or no classifier of images.
        ValueError: the data has another number of classes than the model has outputs, or a value out of its range.
        InterpreterError: the interpreter refuses the file.

    Example:
        >>> evaluate_model("model.tflite", "scattered-digits").accuracy  # doctest: +SKIP
        0.97
    """
    size, outputs = _form_of(model)
    if isinstance(data, str):
        means, deviations = (None if values is None else tuple(values) for values in (mean, std))
        data = load_data(data, size, mean=means, std=deviations)
    if data.num_classes != outputs:
        raise ValueError(f"{model} has {outputs} outputs, {data.name} has {data.num_classes} classes")
    chosen, told = _chosen(data, split, images), reporter or SilentReporter()
    labels, answers, floats = [], [], []
    told.start(f"running {Path(model).name} on {engine}", -(-len(chosen) // _AT_ONCE))
    for batch, right in _batches(chosen):
        labels += right.tolist()
        answers += run_images(model, batch, engine).reshape(len(batch), -1).argmax(1).tolist()
        if network is not None:
            floats += _answers(network, batch)
        told.advance()
    told.finish()
    confusion = np.zeros((outputs, outputs), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    return Evaluation(
        model=str(model),
        data=data.name,
        split=split,
        engine=engine,
        classes=data.classes or tuple(str(label) for label in range(outputs)),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        float_accuracy=_share_alike(floats, labels),
        agreement=_share_alike(floats, answers),
        milliseconds=measure_latency(model),
    )


def _share_alike(some: Sequence[int], others: Sequence[int]) -> float | None:
    return sum(a == b for a, b in zip(some, others, strict=True)) / len(others) if some else None


def evaluate_run(folder: str | Path, data: str | None = None, **options: Any) -> Evaluation:
    """Do what :func:`evaluate_model` does for the int8 model of a folder of results, against its float network.

    Args:
        folder: of ``fit``, ``compare``, or one run inside it.
        data: a data set's name, in place of what the run was trained on.
        **options: ``split``, ``engine``, ``images`` and ``reporter`` of :func:`evaluate_model`.

    Raises:
        ValueError: nothing finished in the folder, or no ``model.tflite``; and what :func:`evaluate_model` raises.
    """
    run = open_run(folder)
    run = run.runs[0] if run.runs else run
    model = run.folder / MODEL
    if not model.is_file():
        raise ValueError(f"{run.folder} holds no {MODEL}: write one with sapool export {run.folder} --out {MODEL}")
    recipe = run.recipe()
    splits = run.data() if data is None else load_data(data, run.input_size, mean=recipe.mean, std=recipe.std)
    return evaluate_model(model, splits, network=run.network(), **options)


def _form_of(model: str | Path) -> tuple[tuple[int, int, int], int]:
    """Return the images' (C, H, W) and the number of outputs of a classifier.

    Raises:
        TfliteError: it is none.
    """
    graph = read_graph(model)
    shapes = [graph.tensors[place].shape for place in (*graph.inputs, *graph.outputs)]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or len(shapes[0]) != 4 or shapes[0][0] != 1:
        raise TfliteError(
            f"{model}: eval is for classifiers of one image: one input (1, H, W, C) and one output, got "
            f"{', '.join(map(str, shapes[: len(graph.inputs)]))} -> {', '.join(map(str, shapes[len(graph.inputs) :]))}"
        )
    _, height, width, channels = shapes[0]
    return (channels, height, width), int(np.prod(shapes[1]))


def _chosen(data: DataSplits, split: Split, images: int | None) -> Subset[tuple[Tensor, int]]:
    if images is not None and images < 1:
        raise ValueError(f"images must be at least 1, got {images}")
    source: Images = getattr(data.train, "plain", data.train) if split == "train" else getattr(data, split)
    total = data.images_per_epoch if split == "train" else len(source)  # type: ignore[arg-type]
    count = total if images is None else min(images, total)
    return Subset(source, [place * total // count for place in range(count)])


def _batches(chosen: Subset[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(chosen), _AT_ONCE):
        yield gather(Subset(chosen, range(start, min(start + _AT_ONCE, len(chosen)))))


def _answers(network: nn.Module, images: Tensor) -> list[int]:
    with torch.inference_mode():
        return [int(answer) for answer in network(images).argmax(1)]
