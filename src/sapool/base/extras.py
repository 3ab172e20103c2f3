"""Importing what an extra provides."""

from __future__ import annotations

import importlib
from typing import Any


def explain_missing(error: ImportError, what: str, extra: str) -> ImportError:
    """Return an ImportError that names the package ``what`` needs and the extra that brings it.

    An error that says so already, or that is about something else than a missing package, comes back as it is.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name or error.name.startswith("sapool"):
        return error
    package = error.name.split(".")[0]
    return ImportError(f"{what} needs the package {package!r}: pip install 'sapool[{extra}]'", name=error.name)


def require(module: str, extra: str, purpose: str) -> Any:
    """Import ``module``.

    Raises:
        ImportError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise explain_missing(error, purpose, extra) from error
