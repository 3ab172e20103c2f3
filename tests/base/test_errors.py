from __future__ import annotations

import importlib
import inspect
import pkgutil

import sapool
from sapool.base.errors import SapoolError


def own_errors() -> set[type[Exception]]:
    """Every exception class that a module of the library defines, warnings left out."""
    found: set[type[Exception]] = set()
    for module in pkgutil.walk_packages(sapool.__path__, "sapool."):
        if module.name.endswith(("__main__", "worker")):
            continue
        held = vars(importlib.import_module(module.name)).values()
        found |= {
            kind
            for kind in held
            if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == module.name
        }
    return {kind for kind in found if not issubclass(kind, Warning)}


def test_every_error_of_the_library_has_the_one_base_and_stays_what_it_was() -> None:
    errors = own_errors()
    assert len(errors) > 10
    for kind in errors - {SapoolError}:
        assert issubclass(kind, SapoolError), kind
        assert issubclass(kind, ValueError | RuntimeError), kind
