"""A user's own network: ``FILE.py:CALLABLE``, ``package.module:CALLABLE``, with literal keywords if it needs some."""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from sapool.base.image_size import COLOURS
from sapool.base.suggest import suggest

_CLASSES, _CHANNELS = "num_classes", ("in_channels", "in_chans")


@dataclass(frozen=True)
class OwnNetwork:
    """Where a user's network is: the part before the colon, the name behind it, and its keywords.

    Attributes:
        home: ``my_net.py`` or ``package.module``.
        name: of a class, a function that returns a network, or a network itself.
        keywords: literal values that it is called with.
    """

    home: str
    name: str
    keywords: dict[str, Any]


def is_own(text: str) -> bool:
    """Whether a model's name has the form of a user's own network: ``FILE.py:NAME`` or ``package.module:NAME``."""
    home, _, name = text.partition(":")
    return bool(name) and (home.endswith(".py") or "." in home or "/" in home)


def parse_own(text: str) -> OwnNetwork:
    """Read ``my_net.py:MyNet(width=32)``; nothing is executed.

    Raises:
        ValueError: no name, or keywords that are no literals.

    >>> parse_own("my_net.py:MyNet(width=32)")
    OwnNetwork(home='my_net.py', name='MyNet', keywords={'width': 32})
    """
    home, _, wanted = text.partition(":")
    rule = f"write {home}:NAME or {home}:NAME(keyword=literal)"
    try:
        parsed = ast.parse(wanted.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"model {text!r}: {wanted!r} is no name of a class or function: {rule}") from None
    if isinstance(parsed, ast.Name):
        return OwnNetwork(home, parsed.id, {})
    if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
        raise ValueError(f"model {text!r}: {wanted!r} is no name of a class or function: {rule}")
    if parsed.args:
        raise ValueError(f"model {text!r}: arguments must be named: {rule}")
    keywords = {}
    for keyword in parsed.keywords:
        if keyword.arg is None or keyword.arg in keywords:
            raise ValueError(f"model {text!r}: each argument must be named once: {rule}")
        try:
            keywords[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            said = ast.unparse(keyword.value)
            raise ValueError(
                f"model {text!r}: {keyword.arg} must be a literal (a number, a text, a list), got {said}"
            ) from None
    return OwnNetwork(home, parsed.func.id, keywords)


def load_own(text: str, num_classes: int, in_channels: int = COLOURS) -> nn.Module:
    """Build a user's own network; this runs the user's file.

    Args:
        text: ``FILE.py:NAME``, ``FILE.py:NAME(keyword=literal)`` or the same with ``package.module``. The name is a
            class, a function that returns a network, or a network itself.
        num_classes: handed in as ``num_classes`` where the class or function takes that and it is not given.

        in_channels: handed in as ``in_channels`` or ``in_chans`` likewise.

    Returns:
        The network, in train mode.

    Raises:
        ValueError: no such file, module or name; arguments that are missing or unknown; what was built is no
            network; or an error inside the user's code, whose line is named.
    """
    own = parse_own(text)
    module = _import(own.home)
    found = getattr(module, own.name, None)
    if found is None:
        raise ValueError(f"{own.home} has no {own.name!r}: {suggest(own.name, _candidates(module))}")
    if isinstance(found, nn.Module):
        if own.keywords:
            raise ValueError(f"{own.home}:{own.name} is a network already and takes no arguments")
        return copy.deepcopy(found).train()
    if not callable(found):
        raise ValueError(f"{own.home}:{own.name} must be a class, a function or a network, got {type(found).__name__}")
    network = _call(own, found, _arguments(own, found, num_classes, in_channels))
    if not isinstance(network, nn.Module):
        raise ValueError(f"{own.home}:{own.name} must give a torch.nn.Module, got {type(network).__name__}")
    return network.train()


def _import(home: str) -> ModuleType:
    """Import a file or module; its own folder (or the current one) can be imported from, as when it is run."""
    if not home.endswith(".py"):
        folder = str(Path.cwd())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return _guarded(home, lambda: importlib.import_module(home))
    path = Path(home)
    if not path.is_file():
        raise ValueError(f"{home}: {'a folder, no file' if path.is_dir() else 'no such file'}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{home}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    # Known by its name while it runs, as dataclasses and pickles want it; a library's own module is not pushed aside.
    sys.modules.setdefault(name, module)
    _guarded(home, lambda: loader.exec_module(module))
    return module


def _guarded(home: str, run: Callable[[], Any]) -> Any:
    """Run a user's code; whatever it raises becomes one line with the place."""
    try:
        return run()
    except ModuleNotFoundError as error:
        raise ValueError(f"{home}: there is no module {error.name!r} to import") from None
    except Exception as error:
        raise ValueError(f"{home}: {type(error).__name__}: {_first_line(error)}{_place(error, home)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]


def _place(error: Exception, home: str) -> str:
    """Return `` (line 12)`` of the user's file, the deepest of the traceback."""
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})" if error.lineno else ""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == Path(home).name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""


def _candidates(module: ModuleType) -> list[str]:
    """Return the names in a module that may be meant: its own classes of networks, its functions, its networks."""
    names = []
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        network = isinstance(value, type) and issubclass(value, nn.Module)
        if not name.startswith("_") and (
            isinstance(value, nn.Module) or (own and (network or inspect.isfunction(value)))
        ):
            names.append(name)
    return names


def _arguments(own: OwnNetwork, function: Callable[..., Any], num_classes: int, in_channels: int) -> dict[str, Any]:
    keywords = dict(own.keywords)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return keywords
    named = {n: p for n, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name, value in ((_CLASSES, num_classes), *((name, in_channels) for name in _CHANNELS)):
        if name in named:
            keywords.setdefault(name, value)
    if unknown := [name for name in keywords if name not in named and not takes_any]:
        raise ValueError(f"{own.home}:{own.name} has no argument {unknown[0]!r}: {suggest(unknown[0], list(named))}")
    missing = [name for name, p in named.items() if p.default is p.empty and name not in keywords]
    if missing:
        example = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(f"{own.home}:{own.name} needs {', '.join(missing)}: write {own.home}:{own.name}({example})")
    return keywords


def _call(own: OwnNetwork, function: Callable[..., Any], keywords: dict[str, Any]) -> Any:
    return _guarded(own.home, lambda: function(**keywords))
