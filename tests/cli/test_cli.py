from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sapool import cli
from sapool.base.records import PoolingPlan
from sapool.export import FILE_PASSES, PASSES, export_int8, measure_arena
from tests.conftest import images, pooled_net


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sapool.cli", *arguments]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


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
        (["export", "sapool:tiny", "--weights", "text.tflite"], "text.tflite: not a safetensors file"),
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


def test_measure_prints_and_judges(exported: Path, tmp_path: Path) -> None:
    done = run("measure", str(exported), "--ram", "1MiB")
    assert done.returncode == 0
    assert "fits 1,048,576 bytes of RAM" in done.stdout
    assert run("measure", str(exported), "--ram", "1KiB").returncode == 3
    measured = json.loads(run("measure", str(exported), "--json").stdout)
    assert measured["total_bytes"] == measured["head_bytes"] + measured["tail_bytes"]


@pytest.mark.slow
def test_export_then_measure(tmp_path: Path) -> None:
    out = tmp_path / "tiny.tflite"
    done = run("export", "sapool:tiny", "--input-size", "32", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    assert held["arena"]["flash_bytes"] == out.stat().st_size == held["export"]["flash_bytes"]
    assert "untrained" in done.stderr
    assert json.loads(run("measure", str(out), "--json").stdout) == held["arena"]


@pytest.mark.slow
def test_fit_json_is_alone_on_stdout_and_nothing_fitting_is_3(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["fit", "--input-size", "32", "--ram", "2KiB", "--pools", "strided", "--epochs", "1", "--out", str(out)]
    done = run(*arguments, "--json")
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["best"], summary["closest"]) == (None, "strided")
    assert "does not fit" in done.stderr
    shown = run(*arguments)
    assert shown.returncode == 3
    assert "nothing fits 2,048 bytes of RAM and 1,048,576 of flash; closest: strided with strides" in shown.stdout
    conflict = run(*arguments, "--seed", "1")
    assert conflict.returncode == 2
    assert "seed is 0 there, 1 here" in conflict.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    arguments = ["fit", "--input-size", "24", "--ram", "64KiB", "--pools", "strided", "--epochs", "12", "--out", "out"]
    # A runner started in the background hands on an ignored SIGINT; a user's terminal does not.
    heed = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from sapool.cli import main; main()"
    )
    command, pipe = [sys.executable, "-c", heed, *arguments], subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stderr=pipe, stdout=pipe, text=True) as process:
        last = tmp_path / "out" / "strided" / "checkpoints" / "last.ckpt"
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
    assert "interrupted; the same command goes on where it stopped" in said
    assert "Traceback" not in said
    assert last.exists()
    assert not (tmp_path / "out" / "strided" / "record.json").exists()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best that fits" in done.stdout
    assert (tmp_path / "out" / "strided" / "model.h").exists()


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main()


def test_the_exit_codes_are_the_documented_ones() -> None:
    assert (cli.DONE, cli.MISTAKE, cli.NOTHING_FITS, cli.INTERRUPTED) == (0, 2, 3, 130)


def test_plan_shows_a_table_and_writes_the_plan(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    done = run("plan", "sapool:tiny", "--strides", "4,2,2,1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "blocks.2" in done.stdout
    assert "32x32" in done.stdout
    assert PoolingPlan.from_json(out.read_text()).strides == (4, 2, 2, 1)
    again = run("plan", "sapool:tiny", "--out", str(out))
    assert (again.returncode, "exists; choose another --out or say --force" in again.stderr) == (2, True)
    wrong = run("plan", "sapool:tiny", "--strides", "4,x")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "--strides must be whole numbers" in wrong.stderr


def test_profile_shows_arena_and_timeline_and_judges_a_board(exported: Path, tmp_path: Path) -> None:
    done = run("profile", str(exported), "--board", "nano33ble", "--every")
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in ("head (activations", "block in+out", "█", "nano33ble: fits"))
    told = json.loads(run("profile", str(exported), "--json", "--target", "cortex-m7").stdout)
    assert told["profile"]["head_bytes"] + told["profile"]["tail_bytes"] == told["profile"]["total_bytes"]
    assert told["verdict"]["target"] == "cortex-m7"
    too_large = run("profile", "sapool:tiny", "--input-size", "96", "--board", "arduino-uno")
    assert too_large.returncode in (2, 3)
    both = run("profile", str(exported), "--board", "nano33ble", "--target", "cortex-m4")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)


def test_plan_with_a_budget_searches(tmp_path: Path) -> None:
    out = tmp_path / "best.json"
    done = run(
        "plan", "sapool:tiny", "--input-size", "32", "--ram", "32KiB", "--pool", "avg,strided", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    assert "62 of 62 plans predicted" in done.stdout
    assert PoolingPlan.from_json(out.read_text()).input_size == (3, 32, 32)
    nothing = run("plan", "sapool:tiny", "--input-size", "32", "--ram", "1KiB", "--pool", "strided", "--json")
    assert nothing.returncode == 3
    assert json.loads(nothing.stdout)["candidates"][0]["fits"] is False
    both = run("plan", "sapool:tiny", "--ram", "32KiB", "--strides", "4,2,2,1")
    assert (both.returncode, "exclude each other" in both.stderr) == (2, True)


@pytest.mark.slow
def test_optimize_writes_a_leaner_file_with_the_same_bits(tmp_path: Path) -> None:
    net, path = pooled_net(patch_size=1), tmp_path / "net.tflite"
    export_int8(net, [images(8)], path, passes="none")
    done = run("optimize", str(path), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["after"]["total_bytes"] < told["before"]["total_bytes"]
    assert measure_arena(tmp_path / "net.lean.tflite").total_bytes == told["after"]["total_bytes"]
    again = run("optimize", str(path))
    assert (again.returncode, "net.lean.tflite exists" in again.stderr) == (2, True)


def test_boards_and_passes_are_listed() -> None:
    assert "nano33ble" in run("boards").stdout
    listed = run("export", "sapool:tiny", "--passes", "list").stdout
    assert all(name in listed for name in (*PASSES, *FILE_PASSES))
