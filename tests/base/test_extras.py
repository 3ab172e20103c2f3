from __future__ import annotations

import math

import pytest

from sapool.base.extras import explain_missing, require


def test_what_is_there_is_imported() -> None:
    assert require("math", "train", "counting") is math


def test_what_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(ImportError, match=r"^counting needs the package 'no_such_package': pip install 'sapool\[t\]'$"):
        require("no_such_package.part", "t", "counting")


@pytest.mark.parametrize("error", [ImportError("half of it"), ModuleNotFoundError("x", name="sapool.nothing")])
def test_other_errors_stay_as_they_are(error: ImportError) -> None:
    assert explain_missing(error, "counting", "t") is error
