from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from sapool.training import RECIPES, TrainConfig, read_recipe
from sapool.training.data import AUGMENTATIONS


def test_every_recipe_reads_and_names_known_augmentations() -> None:
    assert set(RECIPES) == {"default", "modern", "authors-stl10", "authors-cifar", "authors-imagenet"}
    for name in RECIPES:
        assert set(read_recipe(name).augment) <= set(AUGMENTATIONS)


def test_the_default_file_is_the_default() -> None:
    assert read_recipe("default") == TrainConfig()


def test_the_modern_one_is_strong() -> None:
    modern = read_recipe("modern")
    assert (modern.schedule, modern.label_smoothing, modern.decay_norms) == ("cosine", 0.1, False)
    assert all((modern.warmup_epochs, modern.ema_decay, modern.mixup_alpha, modern.cutmix_alpha, modern.augment))


def test_the_authors_stl10_recipe_is_what_their_logs_say() -> None:
    recipe = read_recipe("authors-stl10")
    falls = [round(milestone * recipe.epochs) for milestone in recipe.milestones]
    rates = [recipe.learning_rate * recipe.step_factor**i for i in range(4)]
    assert (recipe.batch_size, recipe.weight_decay, recipe.momentum) == (8, 0, 0.9)
    assert falls == [180, 240, 270]
    assert rates == pytest.approx([1e-2, 2e-3, 4e-4, 8e-5])


def test_overrides_replace_and_none_does_not() -> None:
    recipe = read_recipe("modern", epochs=10, batch_size=None, augment=("flip",))
    assert (recipe.epochs, recipe.batch_size, recipe.augment) == (10, 128, ("flip",))
    assert recipe.warmup_epochs == pytest.approx(0.5)  # 5 of 100
    assert read_recipe("modern", epochs=10, warmup_epochs=2).warmup_epochs == 2


def test_a_file_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "epochs: 7\nlearning_rate: 1e-3\nschedule: step\nmilestones: [0.5]\nmean: [0, 0, 0]\nstd: [1, 1, 1]\n"
    )
    recipe = read_recipe(path)
    changed = {"epochs": 7, "learning_rate": 0.001, "schedule": "step", "milestones": (0.5,)}
    assert asdict(recipe) == asdict(TrainConfig(**changed, mean=(0, 0, 0), std=(1, 1, 1)))  # type: ignore[arg-type]
    path.write_text("")
    assert read_recipe(path) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch: 3", r"mine\.yaml: unknown key 'epoch': did you mean epochs\?"),
        ("epochs: many", r"mine\.yaml: epochs must be a whole number, got 'many'"),
        ("epochs: true", r"mine\.yaml: epochs must be a whole number, got True"),
        ("learning_rate: fast", r"mine\.yaml: learning_rate must be a number, got 'fast'"),
        ("nesterov: 1", r"mine\.yaml: nesterov must be true or false, got 1"),
        ("augment: flip", r"mine\.yaml: augment must be a list, got 'flip'"),
        ("augment: [flip, 3]", r"mine\.yaml: augment\[1\] must be a text, got 3"),
        ("schedule: cosin", r"mine\.yaml: unknown schedule 'cosin': did you mean cosine\?"),
        ("epochs: 0", r"mine\.yaml: epochs must be at least 1"),
        ("[1, 2]", r"mine\.yaml: it must be 'key: value' lines, this is a list"),
        ("learning_rate: .inf", r"mine\.yaml: learning_rate must be a finite number, got inf"),
        (f"epochs: {'9' * 400}", r"mine\.yaml: epochs must be a number of at most 64 bits, got a whole number of"),
        (f"epochs: {'9' * 5000}", r"mine\.yaml: .*4300 digits"),
        (f"epochs: {'[' * 2000}{']' * 2000}", r"mine\.yaml: nested deeper than 60 levels"),
        ("a: &a [1, 1]\nb: *a", r"mine\.yaml: aliases \(\*name\) can't be used here: write the value again"),
        ("epochs: 1\n" + "#" * 70_000, r"mine\.yaml: 70,010 bytes, a file of its kind has at most 65,536"),
        ("a: [", r"mine\.yaml: not YAML"),
        ("epochs: 3\nseed: 1\nepochs: 4", r"mine\.yaml: 'epochs' is there twice: remove one"),
        ("!!python/object/apply:os.system ['true']", r"mine\.yaml: not YAML"),
    ],
)
def test_mistakes_in_a_file_are_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_unknown_recipes_get_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'moden': did you mean modern\?"):
        read_recipe("moden")
    with pytest.raises(ValueError, match=r"none\.yaml: no such file"):
        read_recipe("none.yaml")
