from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sapool.base.records import SilentReporter, record_to_json
from sapool.networks.load import load_model
from sapool.pruning import prune_channels
from sapool.pruning import tuning as tuning_module
from sapool.pruning.tuning import Tuned, TuneRecord, prune_and_tune, tuning_recipe
from sapool.training import DataSplits, TrainConfig, load_data, train


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data("scattered-digits", 24, epochs=2, train_images=128, eval_images=40)


def tune(folder: Path, data: DataSplits, **changes: object) -> Tuned:
    torch.manual_seed(0)
    model = load_model("sapool:tiny_025", 10).eval()
    recipe = TrainConfig(epochs=2, batch_size=32)
    asked: dict[str, object] = {"recipe": recipe, "ratio": 0.5, "round_to": 2, "passes": "none", "iterative_steps": 2}
    return prune_and_tune(model, 24, data, folder, **(asked | changes))  # type: ignore[arg-type]


class KilledError(Exception):
    pass


@pytest.mark.slow
def test_a_killed_tuning_goes_on_and_ends_as_an_unbroken_one(
    tmp_path: Path, data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tune(tmp_path / "whole", data, teacher=True)
    calls: list[str] = []

    def dies_in_the_second(*args: object, name: str, **kwargs: object) -> object:
        calls.append(name)
        if len(calls) == 2:
            raise KilledError
        return train(*args, name=name, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(tuning_module, "train", dies_in_the_second)
        with pytest.raises(KilledError):
            tune(tmp_path / "cut", data, teacher=True)
        again = tune(tmp_path / "cut", data, teacher=True)
    assert calls == ["fine-tuning 1 of 2", "fine-tuning 2 of 2", "fine-tuning 2 of 2"]
    for name, value in whole.pruned.model.state_dict().items():
        assert torch.equal(value, again.pruned.model.state_dict()[name]), name
    assert again.record.val_accuracy == whole.record.val_accuracy
    assert [step.parameters for step in again.record.steps] == [step.parameters for step in whole.record.steps]


@pytest.mark.slow
def test_the_record_says_what_each_step_did(tmp_path: Path, data: DataSplits) -> None:
    tuned = tune(tmp_path, data)
    first, second = tuned.record.steps
    assert first.parameters > second.parameters == sum(p.numel() for p in tuned.pruned.model.parameters())
    assert tuned.record.val_accuracy == second.tuned_val_accuracy
    assert TuneRecord.from_json(record_to_json(tuned.record)) == tuned.record
    assert (tmp_path / "step1" / "tuning.json").is_file()
    with pytest.raises(ValueError, match="not a record of fine-tuning"):
        TuneRecord.from_json(json.dumps({"steps": [{}]}))


def test_without_a_recipe_it_is_prune_channels(tmp_path: Path, data: DataSplits) -> None:
    tuned = tune(tmp_path, data, recipe=None, iterative_steps=1)
    torch.manual_seed(0)
    model = load_model("sapool:tiny_025", 10).eval()
    pruned = prune_channels(model, 24, ratio=0.5, round_to=2, passes="none")
    for name, value in pruned.model.state_dict().items():
        assert torch.equal(value, tuned.pruned.model.state_dict()[name]), name
    assert tuned.record.steps[0].tuned_val_accuracy is None
    assert tuned.record.recipe is None


def test_taylor_looks_at_the_training_split(tmp_path: Path, data: DataSplits) -> None:
    tuned = tune(tmp_path, data, recipe=None, iterative_steps=1, importance="taylor")
    assert tuned.pruned.record.importance == "taylor"


def test_a_teacher_needs_fine_tuning(tmp_path: Path, data: DataSplits) -> None:
    with pytest.raises(ValueError, match="teacher needs fine-tuning"):
        tune(tmp_path, data, recipe=None, teacher=True, reporter=SilentReporter())
    assert not list(tmp_path.iterdir())


def test_the_recipe_of_a_fine_tuning_keeps_the_shares() -> None:
    recipe = TrainConfig(epochs=40, learning_rate=0.02, schedule="cosine", warmup_epochs=4)
    tuned = tuning_recipe(recipe, 10)
    assert (tuned.epochs, tuned.warmup_epochs) == (10, 1)
    assert tuned.learning_rate == pytest.approx(0.002)
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        tuning_recipe(recipe, 0)
