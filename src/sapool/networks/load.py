"""Networks by name: ``timm:NAME``, ``torchvision:NAME``, ``authors:ARCH``, ``sapool:tiny``, ``FILE.py:NAME``."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sapool.base.extras import require
from sapool.base.image_size import COLOURS, InputSize, parse_input_size
from sapool.base.ranges import MOST_CLASSES, check_range
from sapool.base.suggest import suggest
from sapool.networks import authors
from sapool.networks.own import is_own, load_own
from sapool.networks.tiny import TinyNet


def load_model(name: str, num_classes: int = 1000, *, pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """Build a network by name.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME`` (classification), ``authors:ARCHITECTURE`` (the networks of the
            paper's authors, as ``authors:resnet18-nlp-1222``: see docs/authors.md), ``sapool:tiny`` (and ``tiny_025``
            ... ``tiny_200``, of other widths), or one's own: ``FILE.py:NAME``, ``FILE.py:NAME(keyword=literal)``,
            ``package.module:NAME`` (a class, a function or a network; this runs the file).
        num_classes: outputs of its classifier.
        pretrained: fetch the library's trained weights (needs a network connection; the classifier is kept only if
            its size fits). ``sapool:tiny`` and ``authors:`` have none.

        in_channels: of the images it takes. Only ``timm:``, ``sapool:`` and one's own networks with an argument
            ``in_channels`` or ``in_chans`` can have others than their own.

    Returns:
        The network, in train mode.

    Raises:
        ValueError: an unknown name (with the nearest ones) or ``num_classes`` out of 1 to 32,768.
        ImportError: the library is not installed; the message names the extra.
    """
    check_range("num_classes", num_classes, 1, MOST_CLASSES)
    source, _, model = name.partition(":")
    if source not in _SOURCES and is_own(name):
        if pretrained:
            raise ValueError(f"{name} has no pretrained weights to fetch")
        return load_own(name, num_classes, in_channels)
    if source not in _SOURCES or not model:
        known = [*(f"{key}:NAME" for key in _SOURCES), "FILE.py:NAME", "package.module:NAME"]
        raise ValueError(f"unknown model {name!r}: write {' or '.join(known)}")
    return _SOURCES[source](model, num_classes, pretrained, in_channels)


def input_size_for(model: str, text: str, option: str = "--input-size") -> InputSize:
    """Read an image size that a user wrote; one without channels has those that the network takes.

    Args:
        model: the network's name; only one's own is built to see what it takes.
        text: ``64``, ``48x64`` or ``1x48x64``.
        option: whose value it is.

    Raises:
        ValueError: no size, or no such network.
    """
    size = parse_input_size(text, option)
    if not is_own(model) or text.count("x") == 2:
        return size
    first = next((m for m in load_own(model, 10).modules() if isinstance(m, nn.Conv2d)), None)
    return size if first is None else parse_input_size(text, option, first.in_channels)


def _from_sapool(model: str, num_classes: int, pretrained: bool, in_channels: int) -> nn.Module:
    if pretrained:
        raise ValueError(f"sapool:{model} has no pretrained weights")
    _check_known("sapool", model, list(_TINY_WIDTHS))
    return TinyNet(num_classes, in_channels, width=_TINY_WIDTHS[model])


def _from_timm(model: str, num_classes: int, pretrained: bool, in_channels: int) -> nn.Module:
    timm = require("timm", "train", "a timm model")
    _check_known("timm", model.partition(".")[0], timm.list_models())
    return timm.create_model(model, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)


def _from_torchvision(model: str, num_classes: int, pretrained: bool, in_channels: int) -> nn.Module:
    zoo = require("torchvision.models", "train", "a torchvision model")
    _check_known("torchvision", model, zoo.list_models(module=zoo))
    _check_colour(f"torchvision:{model}", in_channels)
    return zoo.get_model(model, weights="DEFAULT" if pretrained else None, num_classes=num_classes)


def _check_known(source: str, model: str, known: list[str]) -> None:
    if model not in known:
        full = f"{source}:{model}"
        raise ValueError(f"unknown model {full!r}: {suggest(full, [f'{source}:{name}' for name in known])}")


def _from_authors(model: str, num_classes: int, pretrained: bool, in_channels: int) -> nn.Module:
    if pretrained:
        raise ValueError(f"authors:{model} has no pretrained weights here: see sapool.from_authors for single layers")
    _check_colour(f"authors:{model}", in_channels)
    return authors.build(model, num_classes)


def _check_colour(name: str, in_channels: int) -> None:
    if in_channels != COLOURS:
        raise ValueError(f"{name} takes images of {COLOURS} channels, got an input size of {in_channels}")


# Named as timm names MobileNets of other widths.
_TINY_WIDTHS = {"tiny": 1.0, "tiny_025": 0.25, "tiny_050": 0.5, "tiny_075": 0.75, "tiny_150": 1.5, "tiny_200": 2.0}
_SOURCES: dict[str, Callable[[str, int, bool, int], nn.Module]] = {
    "timm": _from_timm,
    "torchvision": _from_torchvision,
    "sapool": _from_sapool,
    "authors": _from_authors,
}
