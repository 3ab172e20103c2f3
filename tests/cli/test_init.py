from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sapool import cli
from sapool.base.errors import SapoolError
from tests.cli.commands import run


@pytest.mark.parametrize("command", [[], ["fit"], ["export"], ["measure"]])
def test_help_teaches(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert ("Start with: sapool fit" if not command else "Example: sapool") in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "--ram", "lots"], "not a size: 'lots'"),
        (["fit", "--pools", "avg,selfattentive"], "unknown pooling 'selfattentive': did you mean self_attentive?"),
        (["fit", "--model", "timm:mobilnetv2_035"], "did you mean timm:mobilenetv2"),
        (["fit", "--input-size", "8"], "at least 24 px"),
        (["fit", "--data", "cats"], "unknown data set 'cats'"),
        (["fit", "--epochs", "x"], "Invalid value for '--epochs'"),
        (["fit", "--bogus"], "No such option: --bogus"),
        (["fitt"], "No such command 'fitt'"),
        (["measure"], "Missing argument 'file'"),
        (["measure", "nothing.tflite"], "nothing.tflite: no such file"),
        (["measure", "."], ".: a folder, no file"),
        (["measure", "text.tflite"], "text.tflite: not a .tflite file"),
        (["export", "sapool:tiny", "--out", "text.tflite"], "text.tflite exists; choose another --out or say --force"),
        (["export", "sapool:tiny", "--out", "no/where.tflite"], "no: no such folder"),
        (["export", "sapool:tiny", "--plan", "plan.json"], "plan.json: no such file"),
        (["export", "sapool:tiny", "--plan", "text.tflite"], "text.tflite: not a pooling plan"),
        (["export", "sapool:tiny", "--out", "."], "--out . is a folder; name the file to write"),
        (["export", "sapool:tiny", "--out", "a.tflite", "--onnx", "./a.tflite"], "must name different files"),
        (["plan", "sapool:tiny", "--out", ".", "--force"], "--out . is a folder; name the file to write"),
        (
            ["prune", "sapool:tiny", "--ratio", "0.3", "--out", "."],
            ". is not empty; choose another --out or say --force",
        ),
        (["prune", "sapool:tiny", "--ratio", "0.3"], "prune --help)"),
        (["plan", "sapool:tiny", "--out", "/dev/null", "--force"], "--out /dev/null is a device"),
        (["export", "sapool:tiny", "--out", "/dev/null", "--force"], "--out /dev/null is a device"),
        (["train", "--out", "a\nb"], "--out must be a path of printable characters, got 'a\\nb'"),
        (["fit", "--out", "x" * 300], "--out must have names of at most 200 bytes"),
        (["detect", "train", "--out", "text.tflite"], "--out text.tflite is a file; name a folder"),
        (["detect", "compare", "--out", "x" * 300], "--out must have names of at most 200 bytes"),
        (["data", "make", "scattered-digits", "--out", "text.tflite"], "--out text.tflite is a file; name a folder"),
        (["export", "sapool:tiny", "--weights", "text.tflite"], "weights must be in a file of"),
        (["export", "sapool:tiny", "--passes", "magic"], "unknown pass 'magic'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("hello, world")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("sapool: ")
    assert [path.name for path in tmp_path.iterdir()] == ["text.tflite"]


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main()


def test_the_exit_codes_are_the_documented_ones() -> None:
    assert (cli.DONE, cli.MISTAKE, cli.NOTHING_FITS, cli.INTERRUPTED) == (0, 2, 3, 130)


class UnheardOfError(SapoolError, RuntimeError):
    """One of the library's errors that the command line has no word of."""


@pytest.mark.parametrize("error", [UnheardOfError, ValueError, OSError])
def test_the_librarys_errors_and_the_users_mistakes_are_one_line(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "app", raising(error("no such luck")))
    done = run("boards")
    assert (done.returncode, done.stderr) == (2, "sapool: no such luck\n")


@pytest.mark.parametrize("error", [RuntimeError, KeyError, AttributeError])
def test_a_defect_is_shown_whole(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", raising(error("no such luck")))
    with pytest.raises(error):
        run("boards")


def raising(error: Exception) -> Callable[..., None]:
    def app(**_: object) -> None:
        raise error

    return app
