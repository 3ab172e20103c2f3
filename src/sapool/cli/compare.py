"""``sapool compare``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.base.quoting import quote
from sapool.base.reading import ReadingError, parse_json
from sapool.cli.console import (
    DONE,
    NOTHING_FITS,
    AsJson,
    BoardName,
    Flash,
    InputSide,
    Ram,
    Terminal,
    budget_from,
    check_folder,
    names_in,
    print_table,
    resumable,
    say,
)

if TYPE_CHECKING:
    from sapool.training import TrainConfig
    from sapool.workflows.compare import CompareConfig, Comparison

_STUDIES = ("imagenet-mobilenetv2",)
# All that these leave open; another option must not be swallowed by them.
_AGAINST_TAKES = ("against", "results", "as_json")
_STUDY_TAKES = (
    "study", "data", "models", "patterns", "pools", "input_size", "seeds", "recipe", "epochs", "batch_size",
    "learning_rate", "placement", "out", "storage",
)  # fmt: skip


def compare(
    context: typer.Context,
    pools: Annotated[
        str | None,
        typer.Option(help="Poolings, comma-separated; avg is always added. (default: self_attentive,max,avg)"),
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="label=pooling,keyword=value,...: a layer with other settings; repeatable.")
    ] = None,
    model: Annotated[str, typer.Option(help="Network: sapool:tiny, timm:NAME, torchvision:NAME.")] = "sapool:tiny",
    data: Annotated[str, typer.Option(help="Data: NAME, NAME:DIR or DIR.")] = "scattered-digits",
    input_size: InputSide = 64,
    sizes: Annotated[str, typer.Option(help="Further input sizes that a plan may choose, comma-separated.")] = "",
    ram: Ram = None,
    flash: Flash = None,
    board: BoardName = None,
    seeds: Annotated[int, typer.Option(help="How many; under 3 is no evidence.")] = 1,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name or YAML file, for every pooling (a study: authors-imagenet).")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training split (default: 20, or the recipe's).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a training step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    placement: Annotated[str, typer.Option(help="Where pools stand, for every pooling.")] = "block",
    sites: Annotated[str, typer.Option(help="The only sites that may hold pools, comma-separated names.")] = "",
    strides: Annotated[str | None, typer.Option(help="Fixed strides, one a site, instead of a search.")] = None,
    stride_choices: Annotated[
        str | None, typer.Option(help="The only strides to search, separated by semicolons: 2,2,2,2;4,2,2,1.")
    ] = None,
    tables: Annotated[str, typer.Option(help="budget, equal, or both with a comma between.")] = "budget,equal",
    train_images: Annotated[int | None, typer.Option(help="Use so many training images.")] = None,
    eval_images: Annotated[int | None, typer.Option(help="Validate and test on so many images.")] = None,
    fragments: Annotated[int | None, typer.Option(help="Clutter of the scattered data sets.")] = None,
    candidates: Annotated[
        int, typer.Option(help="Plans of each pooling to train on the first seed; validation chooses.")
    ] = 1,
    storage: Annotated[
        str | None, typer.Option(help="Database that workers share (default: sqlite in --out): postgresql://...")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default: under runs/.")] = None,
    against: Annotated[str | None, typer.Option(help="authors: the authors' STL10 results beside --results.")] = None,
    results: Annotated[
        list[Path] | None, typer.Option(help="With --against: folders of sapool compare on STL10; repeatable.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="imagenet-mobilenetv2: the paper's headline experiment.")] = None,
    models: Annotated[str, typer.Option(help="With --study: networks, comma-separated (default: five widths).")] = "",
    patterns: Annotated[
        str, typer.Option(help="With --study: the authors' stride digits.")
    ] = "1222121,2222121,4222121",
    as_json: AsJson = False,
) -> None:
    """Compare poolings under one measured budget: same sites, placement and recipe, several seeds, every run kept.

    The same command again, at once or later, here or on another machine with the same --storage, shares the work; a
    killed worker's run is taken up by the others. More seeds, pools or variants later only add runs. Exit codes: 0
    something fits, 2 a mistake in the call, 3 nothing fits.

    Without --ram, --flash or --board: 64KiB and 1MiB.

    Example: sapool compare --pools self_attentive,lip,max --ram 64KiB --seeds 5

    Example: sapool compare --variant "gained=self_attentive,gain=4,window_norm=true"

    Example: sapool compare --against authors
    """
    given = [name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]
    _check_belongs(given)
    check_folder(out)
    if against is not None:
        _show_authors(against, results or [], as_json)
        return
    budget = budget_from(ram, flash, board, default_ram="64KiB", default_flash="1MiB")
    recipe_asked = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    trained_by = _recipe(recipe or ("authors-imagenet" if study else None), recipe_asked)
    if study is not None:
        whole: dict[str, Any] = {
            "models": names_in(models),
            "strides": names_in(patterns),
            "pools": names_in(pools or ""),
        }
        # The study has its own input size and number of seeds.
        whole |= {k: v for k, v in {"input_size": input_size, "seeds": seeds}.items() if k in given}
        asked = {**{k: v for k, v in whole.items() if v}, "recipe": trained_by, "placement": placement}
        _run_study(study, data if "data" in given else None, asked, out, storage)
        return
    from sapool.cli.plan_table import parse_strides
    from sapool.workflows.compare import CompareConfig

    fixed = parse_strides(strides)
    choices = [parse_strides(text) for text in (stride_choices or "").split(";") if text.strip()]
    config = CompareConfig(
        model=model,
        data=data,
        input_size=input_size,
        input_sizes=tuple(_whole_numbers("--sizes", sizes)),
        pools=names_in(pools) if pools is not None else ("self_attentive", "max", "avg"),
        variants=_variants(variant or []),
        ram_bytes=budget.ram_bytes,
        flash_bytes=budget.flash_bytes,
        seeds=seeds,
        recipe=trained_by,
        placement=placement,
        sites=names_in(sites) or None,
        strides=None if fixed is None else tuple(fixed),
        stride_choices=tuple(tuple(choice) for choice in choices if choice) or None,
        tables=names_in(tables),
        train_images=train_images,
        eval_images=eval_images,
        fragments=fragments,
        plan_candidates=candidates,
    )
    _compare(config, out, storage, as_json)


def _check_belongs(given: Sequence[str]) -> None:
    """Refuse options that would change nothing.

    Raises:
        ValueError: one that needs, or that excludes, another.
    """
    needs = {"results": "against"} | dict.fromkeys(("models", "patterns"), "study")
    for name in given:
        if name in needs and needs[name] not in given:
            raise ValueError(f"--{name} goes with --{needs[name]} only")
    for way, takes in (("against", _AGAINST_TAKES), ("study", _STUDY_TAKES)):
        for name in given if way in given else ():
            if name not in takes:
                option = {"as_json": "json"}.get(name, name).replace("_", "-")
                raise ValueError(f"--{way} leaves --{option} no choice: leave it out")


def _variants(texts: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for label, what in map(parse_variant, texts):
        if label in found:
            raise ValueError(f"--variant gives the label {label!r} twice: rename one")
        found[label] = what
    return found


def parse_variant(text: str) -> tuple[str, tuple[str, dict[str, Any]]]:
    """Return (label, (pooling, keywords)) of ``label=pooling,keyword=value,...``.

    Raises:
        ValueError: the text has another form.
    """
    first, *rest = [part.strip() for part in text.split(",")]
    label, _, pool = first.partition("=")
    pairs = [part.partition("=") for part in rest]
    if not label or not pool or not all(name and value for name, _, value in pairs):
        raise ValueError(f"--variant must be label=pooling,keyword=value,..., got {text!r}")
    return label, (pool, {name.strip(): _value(value.strip()) for name, _, value in pairs})


def _value(text: str) -> Any:
    """Return a number, true, false or none as what it is; anything else is a text."""
    known = {"true": True, "false": False, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    try:
        return parse_json(text)
    except ReadingError as error:
        if text[0] in "[{":  # the beginning of a list, and not its end
            raise ValueError(f"--variant: {quote(text, 40)} is no value: {error}") from None
        return text


def _whole_numbers(option: str, text: str) -> list[int]:
    try:
        return [int(name) for name in names_in(text)]
    except ValueError:
        raise ValueError(f"{option} must be whole numbers, comma-separated, got {text!r}") from None


def _recipe(name: str | None, asked: dict[str, Any]) -> TrainConfig:
    from sapool.training import TrainConfig, read_recipe
    from sapool.workflows.compare.config import DEFAULT_EPOCHS

    given = {key: value for key, value in asked.items() if value is not None}
    return TrainConfig(**{"epochs": DEFAULT_EPOCHS, **given}) if name is None else read_recipe(name, **given)


def _compare(config: CompareConfig, out: Path | None, storage: str | None, as_json: bool) -> None:
    from sapool.workflows.compare import compare as run

    with resumable():
        found = run(config, out, storage=storage, reporter=Terminal())
    if as_json:
        sys.stdout.write(found.to_json() + "\n")
    else:
        _show(found)
    raise typer.Exit(DONE if found.anything_fits else NOTHING_FITS)


def _show(found: Comparison) -> None:
    from sapool.report.tables import HEADINGS, LEFT, TITLES, cells, explanation, remarks

    for name, rows in found.tables.items():
        _print(TITLES[name], HEADINGS, [cells(row) for row in rows], LEFT)
        for remark in remarks(rows):
            say(remark)
    for line in explanation(found):
        say(line)
    sys.stdout.write(f"records, compare.json and table.md: {found.folder}\n")


def _print(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> None:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    for row in rows:
        table.add_row(*row)
    print_table(table)


def _show_authors(against: str, folders: Sequence[Path], as_json: bool) -> None:
    from sapool.base.suggest import suggest
    from sapool.workflows.compare.authors import CAVEATS, HEADINGS, authors_results, beside_authors

    if against != "authors":
        raise ValueError(f"unknown results {against!r} for --against: {suggest(against, ['authors'])}")
    rows = beside_authors(folders)
    if as_json:
        held = {"headings": HEADINGS, "rows": rows, "caveats": CAVEATS, "runs": [asdict(r) for r in authors_results()]}
        sys.stdout.write(json.dumps(held, indent=2) + "\n")
        return
    _print("STL10: accuracy on test", HEADINGS, rows, ("whose", "network", "pooling", "strides"))
    for caveat in CAVEATS:
        say(caveat)


def _run_study(name: str, data: str | None, asked: dict[str, Any], out: Path | None, storage: str | None) -> None:
    from sapool.base.suggest import suggest
    from sapool.workflows.compare.imagenet import iso_memory_page, run_study, study_configs

    if name not in _STUDIES:
        raise ValueError(f"unknown study {name!r}: {suggest(name, _STUDIES)}")
    if data is None:
        raise ValueError(f"--study needs --data: the folder of an ImageNet-style data set for {name}")
    configs = study_configs(data, **asked)
    folder = out or Path("runs") / name
    with resumable():
        found = run_study(configs, folder, storage=storage, reporter=Terminal())
    sys.stdout.write(iso_memory_page(found))
    say(f"tables and records: {folder}")
    raise typer.Exit(DONE if any(entry.anything_fits for entry in found.values()) else NOTHING_FITS)
