"""Train, quantise and measure the headline's networks: ``python benchmarks/headline/run.py [--seeds 1] [NAME ...]``.

Without names all of them, one after the other; a run that was cut off goes on, one in ``records/`` is never done again.
Two workers can share the work by naming different networks. One run takes about a quarter of an hour on one core.
``page.py`` writes the page.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import definitions
import torch
from deploying import deploy

from sapool.base.budget import Budget
from sapool.base.environment import describe_environment
from sapool.base.files import write_bytes_atomically, write_text_atomically
from sapool.base.records import record_to_json
from sapool.base.reporter import LineReporter
from sapool.export import check_parity
from sapool.training import DataSplits, TrainConfig, gather, load_data
from sapool.workflows.running import PARITY_IMAGES, Task, int8_accuracy, train_once, write_record

HERE, RUNS = Path(__file__).parent, Path("runs") / "headline"
RECORDS = HERE / "records"
OURS = "self_attentive"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(definitions.NETWORKS)}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for seed in range(asked.seeds):
        for name in asked.names or definitions.NETWORKS:
            run(name, seed)


def slug(name: str, seed: int) -> str:
    return f"{name.replace(' ', '-')}-seed{seed}"


def load(recipe: TrainConfig) -> DataSplits:
    return load_data(
        definitions.DATA,
        definitions.SIZE,
        epochs=recipe.epochs,
        seed=recipe.seed,
        train_images=definitions.TRAIN_IMAGES,
        eval_images=definitions.EVAL_IMAGES,
        fragments=definitions.FRAGMENTS,
    )


def run(name: str, seed: int) -> None:
    held = RECORDS / f"{slug(name, seed)}.json"
    if held.is_file():
        print(f"{name}, seed {seed}: in {held}")
        return
    network, recipe = definitions.NETWORKS[name], replace(definitions.RECIPE, seed=seed)
    model, plan = network.build(seed)
    folder, data = RUNS / slug(name, seed), load(recipe)
    task = Task(
        name=f"{name}, seed {seed}",
        plan=plan,
        recipe=recipe,
        budget=Budget(definitions.RAM_BYTES, definitions.FILE_BYTES),
        config=json.loads(json.dumps(described(name) | {"recipe": asdict(recipe)})),
        environment=describe_environment(),
        pool=network.pool,
    )
    trained = train_once(task, model.train(), data, folder, LineReporter())
    file = folder / "model.tflite"
    deployed = deploy(model, list(data.calibration()), file)
    parity = check_parity(file, gather(data.test, PARITY_IMAGES)[0])
    measured = {
        "fits": task.budget.fits(deployed.arena),
        "arena": deployed.arena,
        "export": deployed.export,
        "macs": deployed.export.macs,
        "float_val_accuracy": trained.val_accuracy,
        "float_test_accuracy": trained.test_accuracy,
        "best_epoch": trained.best_epoch,
        "train_seconds": trained.train_seconds,
        "int8_val_accuracy": int8_accuracy(file, data.val),
        "int8_test_accuracy": int8_accuracy(file, data.test),
        "parity_steps": parity.max_steps,
        "parity_images": parity.images,
    }
    record = write_record(task, model, measured, folder)
    whole = {"name": name, "seed": seed, "head_without_image_bytes": deployed.head_without_image_bytes}
    text = json.dumps(whole | json.loads(record_to_json(record)), indent=1) + "\n"
    if name == OURS and seed == 0 and record.flash_bytes < definitions.FILE_BYTES:
        write_bytes_atomically(HERE / f"{OURS}.tflite", file.read_bytes())
    write_text_atomically(held, text)
    print(f"{name}, seed {seed}: {deployed.head_without_image_bytes:,} bytes of head without the image; {held}")


def described(name: str) -> dict[str, Any]:
    """Return what decides a run, but for its seed."""
    sizes = {"train_images": definitions.TRAIN_IMAGES, "eval_images": definitions.EVAL_IMAGES}
    data = {"data": definitions.DATA, "input_size": definitions.SIZE, "fragments": definitions.FRAGMENTS}
    pruned = [[list(names), ratio] for names, ratio in definitions.NETWORKS[name].pruned.items()]
    network = asdict(replace(definitions.NETWORKS[name], pruned={})) | {"pruned": pruned}
    return {"model": definitions.MODEL, **data, **sizes, "network": network}


if __name__ == "__main__":
    main()
