"""A user's own network from a file or a module, and each mistake in one line."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from sapool.networks.own import OwnNetwork, is_own, load_own, parse_own

CODE = """
import torch
from torch import nn
from widths import WIDTH

class MyNet(nn.Module):
    def __init__(self, num_classes=10, width=WIDTH):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

class Needy(nn.Module):
    def __init__(self, depth, width, num_classes):
        super().__init__()

def of_channels(in_chans, num_classes):
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

def make_net(width=4):
    return MyNet(7, width)

def broken():
    return nn.Conv2d(3, 8, 3, groups=5)

def text():
    return "a text"

ready = make_net(2)
number = 3
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "widths.py").write_text("WIDTH = 6\n")
    (tmp_path / "my_net.py").write_text(CODE)
    return str(tmp_path / "my_net.py")


def test_names_are_read_without_running_anything() -> None:
    assert parse_own("a.b:Net(w=[1, -2], name='x')") == OwnNetwork("a.b", "Net", {"w": [1, -2], "name": "x"})
    assert [is_own(t) for t in ("n.py:A", "p.m:A", "d/n.py:A()", "timm:a", "sapool:tiny", "n.py")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("behind", "line"),
    [
        ("MyNet(open('x'))", "arguments must be named"),
        ("MyNet(width=open('x'))", "width must be a literal"),
        ("MyNet(**{})", "named once"),
        ("a.b", "no name of a class"),
        ("MyNet(", "no name of a class"),
        ("lambda: 0", "no name of a class"),
    ],
)
def test_only_literals(behind: str, line: str) -> None:
    with pytest.raises(ValueError, match=line.replace("(", r"\(")):
        parse_own(f"my_net.py:{behind}")


def test_a_class_a_function_and_a_network(home: str) -> None:
    image = torch.zeros(1, 3, 8, 8)
    assert load_own(f"{home}:MyNet", 5)(image).shape == (1, 5)
    assert load_own(f"{home}:MyNet(width=32)", 5).get_parameter("conv.weight").shape[0] == 32
    assert load_own(f"{home}:MyNet(num_classes=4)", 5)(image).shape == (1, 4)
    assert load_own(f"{home}:of_channels", 5, 2)(torch.zeros(1, 2, 8, 8)).shape == (1, 5)
    assert load_own(f"{home}:make_net", 5)(image).shape == (1, 7)
    one, other = load_own(f"{home}:ready", 5), load_own(f"{home}:ready", 5)
    assert one is not other
    assert one.training


def test_a_module(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(home).parent
    (folder / "pack_of_nets").mkdir()
    (folder / "pack_of_nets" / "__init__.py").write_text("")
    (folder / "pack_of_nets" / "nets.py").write_text(CODE)
    monkeypatch.chdir(folder)
    assert isinstance(load_own("pack_of_nets.nets:MyNet", 3), nn.Module)


@pytest.mark.parametrize(
    ("behind", "line"),
    [
        ("MyNett", "did you mean MyNet"),
        ("Nothing", "choose from MyNet, Needy, of_channels, make_net, broken, text, ready"),
        ("Needy", r"needs depth, width: write .*:Needy\(depth=..., width=...\)"),
        ("MyNet(wide=3)", "has no argument 'wide': did you mean width"),
        ("text", "must give a torch.nn.Module, got str"),
        ("number", "must be a class, a function or a network, got int"),
        ("broken", r"ValueError: .*groups.*\(line 26\)"),
        ("ready(width=1)", "takes no arguments"),
    ],
)
def test_mistakes(home: str, behind: str, line: str) -> None:
    with pytest.raises(ValueError, match=line) as caught:
        load_own(f"{home}:{behind}", 10)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_own(f"{tmp_path}/none.py:Net", 10)
    (tmp_path / "bad.py").write_text("def (:\n")
    with pytest.raises(ValueError, match=r"bad.py: SyntaxError: .*\(line 1\)"):
        load_own(f"{tmp_path}/bad.py:Net", 10)
    (tmp_path / "wants.py").write_text("import no_such_package\n")
    with pytest.raises(ValueError, match="no module 'no_such_package'"):
        load_own(f"{tmp_path}/wants.py:Net", 10)
    with pytest.raises(ValueError, match="no module"):
        load_own("no_such.package:Net", 10)
