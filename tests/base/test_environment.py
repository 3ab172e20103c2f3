from __future__ import annotations

import importlib.metadata

import pytest
import torch

from sapool.base import environment


def test_versions_are_those_of_the_packages() -> None:
    found = environment.describe_environment()
    for package in ("sapool", "torch", "timm", "tflite-micro"):
        assert found[package] == importlib.metadata.version(package)
    assert found["threads"] == str(torch.get_num_threads())
    assert found["commit"]


def test_what_is_not_installed_or_no_checkout_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setenv("PATH", "")  # no git
    found = environment.describe_environment()
    assert set(found) == {"python", "platform", "device", "threads", "commit"}
    assert found["commit"] == "unknown"
