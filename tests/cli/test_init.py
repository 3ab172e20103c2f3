from __future__ import annotations

import time
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


BIG = "1" + "0" * 14


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--epochs", BIG], "epochs must be at most 100,000, got 100000000000000"),
        (["fit", "--epochs", BIG], "epochs must be at most 100,000"),
        (["compare", "--epochs", BIG], "epochs must be at most 100,000"),
        (["detect", "train", "--epochs", BIG], "epochs must be at most 100,000"),
        (["train", "--batch-size", BIG], "batch_size must be at most 65,536"),
        (["train", "--patience", BIG], "patience must be at most 100,000"),
        (["train", "--workers", BIG], "workers must be at most 256"),
        (["train", "--train-images", BIG], "train_images must be at most 1,000,000,000"),
        (["train", "--fragments", BIG], "fragments must be at most 10,000"),
        (["train", "--seed", BIG], "seed must be 0 to 2**31 - 1"),
        (["train", "--input-size", "1000000"], "each 1 to 4,096, got '1000000'"),
        (["fit", "--input-size", "1000000"], "each 1 to 4,096, got '1000000'"),
        (["detect", "train", "--input-size", "1000000"], "input_size must be at most 4,096"),
        (
            ["data", "make", "scattered-digits", "--out", "made", "--input-size", BIG],
            "--input-size must be at most 4,096",
        ),
        (["data", "make", "scattered-digits", "--out", "made", "--images", BIG], "--images must be at most 1,000,000"),
        (["compare", "--seeds", BIG], "seeds must be at most 1,000"),
        (["detect", "compare", "--seeds", BIG], "seeds must be at most 1,000"),
        (["prune", "sapool:tiny", "--ratio", "0.5", "--out", "o", "--num-classes", BIG], "num_classes must be at most"),
        (["export", "sapool:tiny", "--num-classes", "300000"], "num_classes must be at most 32,768"),
        (["prune", "sapool:tiny", "--ratio", "0.5", "--out", "o", "--round-to", BIG], "round_to must be at most 4,096"),
        (["fit", "--ram", "1" + "0" * 80], "not a size"),
        (["plan", "sapool:tiny", "--macs", "1" + "0" * 80], "not a count"),
        (["compare", "--variant", "x=avg,kernel_size=" + "[" * 3000], "is no value: nested deeper than 60 levels"),
        (["compare", "--variant", "x=avg,kernel_size=big"], "kernel_size must be a number or true or false, got 'big'"),
        (["train", "--data", ""], "data '' names nothing"),
        (["train", "--data", " "], "data ' ' names nothing"),
        (["data", "check", ""], "data '' names nothing"),
        (["plan", "sapool:tiny", "--strides", "9" * 5000], "--strides must be whole numbers"),
        (["measure", "text.tflite", "--time", "1e99"], "text.tflite: not a .tflite file"),
    ],
)
def test_absurd_options_are_one_line_at_once(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("hello, world")
    start = time.perf_counter()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr) < 1000
    assert "Traceback" not in done.stderr
    assert time.perf_counter() - start < 20  # most of it imports, on a busy machine
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
