"""The staged experiment of Sect. 3.1 as one command: the shallow net, the deeper ones from it, then other scales.

Each stage is a run of its own in the ladder's folder; a stage that is finished is not run again, one that was stopped
continues. So the whole can be stopped and continued at any point, by the same command.
"""

import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich import box
from rich.table import Table

from vggnet.console import counted, is_first_rank, rich_console, say
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.evaluation.metrics import Count, Errors
from vggnet.files import json_text, write_whole
from vggnet.hardware import choose_device
from vggnet.options.training import LadderOptions, TrainOptions
from vggnet.paper.configurations import PAPER_CROP_PX
from vggnet.paper.recipes import PAPER_EPOCHS, Recipe, fixed_scale, jittered_scale, larger_scale
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.classification import train_classifier
from vggnet.training.distributed import World, join_world
from vggnet.training.epoch_results import AfterEpoch
from vggnet.training.plan import architecture_of, choose_crop, recipe_of, resolve_training
from vggnet.training.runs import RunFolder

DESK_EPOCHS, DESK_BATCH, DESK_CPU_WIDTH = 20, 64, 0.25
# At desk size the jittered stage learns most at the full rate (docs/reproduction.md); the paper's is 1e-3.
DESK_LATER_RATE = 1e-2


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Stage:
    """One training of the ladder, and the stage it starts from."""

    options: TrainOptions
    source: str | None = None

    @property
    def out(self) -> Path:
        """The stage's run folder."""
        assert self.options.out is not None  # `stages_of` names it
        return self.options.out

    @property
    def name(self) -> str:
        return self.out.name


@dataclass(frozen=True)
class StageResult:
    """A finished stage, its progress, and its errors on val by protocol."""

    stage: Stage
    progress: TrainingProgress
    errors: dict[str, Errors]


def stages_of(options: LadderOptions) -> list[Stage]:
    """Return the preset's stages in order: S, then (paper) the larger S, then jittered S, each from the one before."""
    if len(set(options.nets)) < len(options.nets):
        raise UserError(f"`nets` {' '.join(options.nets)}: each net once")
    if options.shallow in options.nets:
        raise UserError(f"`nets` {' '.join(options.nets)}: {options.shallow} is the shallow net already")
    desk = options.preset == "desk"
    crop = options.crop
    if crop is None:
        train = open_data(options.data).train if desk else None
        crop = choose_crop(train) if train is not None else PAPER_CROP_PX
    on_gpu = choose_device(options.machine.device).type == "cuda"
    common = TrainOptions(
        options.data,
        resume=True,
        data_changed=options.data_changed,
        crop=crop,
        width=_given(options.width, DESK_CPU_WIDTH if desk and not on_gpu else 1.0),
        epochs=_given(options.epochs, DESK_EPOCHS if desk else PAPER_EPOCHS),
        batch=_given(options.batch, DESK_BATCH if desk else Recipe.batch),
        init=options.init or ("glorot" if desk else "gaussian"),
        batch_norm=options.batch_norm,
        mirror=options.mirror,
        orientation=options.orientation,
        pixel_range=options.pixel_range,
        seed=options.seed,
        check=options.check,
        leave_out=options.leave_out,
        machine=options.machine,
    )
    recipes = [fixed_scale(crop), jittered_scale(crop).replace(learning_rate=DESK_LATER_RATE)]
    if not desk:
        recipes = [fixed_scale(crop), larger_scale(crop), jittered_scale(crop)]
    stages = [_stage(common, options.out, options.shallow, recipes[0], None)]
    for net in options.nets:
        source = stages[0].name
        for recipe in recipes:
            stages.append(_stage(common, options.out, net, recipe, source))
            source = stages[-1].name
    for stage in stages:  # what a later stage would refuse is refused before the first one is trained
        architecture_of(stage.options, crop)
        recipe_of(stage.options, crop)
    return stages


def _given(value: Number | None, default: Number) -> Number:
    return default if value is None else value


def _stage(common: TrainOptions, folder: Path, net: str, recipe: Recipe, source: str | None) -> Stage:
    name = f"{net}-S{'-'.join(map(str, recipe.train_scale))}"
    changes = dataclasses.replace(
        common,
        net=net,
        out=folder / name,
        train_scale=recipe.train_scale,
        learning_rate=recipe.learning_rate,
        patience=recipe.patience,
        init_from=folder / source if source else None,
    )
    return Stage(changes, source)


def run_ladder(stages: list[Stage], after_epoch: AfterEpoch | None = None) -> list[StageResult]:
    """Run what is not finished yet, in order."""
    with join_world(stages[0].options.machine.device) as world:
        return _run_in(stages, world, after_epoch)


def _run_in(stages: list[Stage], world: World, after_epoch: AfterEpoch | None) -> list[StageResult]:
    results = []
    for number, stage in enumerate(stages, start=1):
        origin = f" from {stage.source}" if stage.source else ""
        result = world.from_first(partial(finished, stage))
        say(f"\n[{number}/{len(stages)}] {stage.name}{origin}" + (": finished before" if result else ""))
        if result is not None:
            world.from_first(partial(resolve_training, stage.options))
        else:
            train_classifier(stage.options, after_epoch)
            result = world.from_first(partial(finished, stage))
            assert result is not None
        results.append(result)
    return results


def finished(stage: Stage) -> StageResult | None:
    """Return the stage's result; None where its run is not complete, or its report was made with other views."""
    run = RunFolder(stage.out)
    progress = run.progress if run.best.exists() else None
    if progress is None or not progress.finished or not run.report.exists():
        return None
    counts = {}
    try:
        report = json.loads(run.report.read_text(encoding="utf-8"))
        # a report without "mirror" is of an earlier version, which showed mirrored views to every net
        if "dense" in report and report["dense"].get("mirror", True) != stage.options.mirror:
            return None
        for kind, fields in report.items():
            top5 = Count(**fields["top5"]) if fields["top5"] else None
            counts[kind] = Errors(Count(**fields["top1"]), top5)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{run.report}: damaged ({error}); remove it, and it is measured anew") from error
    return StageResult(stage, progress, counts)


def epochs_to_reach(progress: TrainingProgress, error: float) -> int | None:
    """Return the first epoch whose held-out error is no more than `error` percent; None where there is none."""
    return next((int(row["epoch"]) for row in progress.rows if row["error"] <= error), None)


def show(results: list[StageResult]) -> None:
    """Print the table of results, one line a stage."""
    first = results[0]
    first_name = first.stage.name
    images = max((errors.top1.images for result in results for errors in result.errors.values()), default=0)
    title = f"top-1 error in % on {counted(images, 'val image')}, with 95 % intervals"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("stage", "from", "centre crop", "dense", f"to {first_name}"):
        table.add_column(column, overflow="fold")
    for result in results:
        reached = epochs_to_reach(result.progress, first.progress.best["error"])
        table.add_row(
            result.stage.name,
            result.stage.source or "-",
            *(result.errors[kind].top1.cell() if kind in result.errors else "-" for kind in ("center", "dense")),
            f"{'never' if reached is None else reached} of {result.progress.epoch}",
        )
    say()
    rich_console().print(table)
    without = [result.stage.name for result in results if not result.stage.options.mirror]
    if without:
        names = "all stages" if len(without) == len(results) else ", ".join(without)
        say(f"dense without mirrored images: {names}, because trained without mirrored crops")
    say(f"to {first_name}: the first epoch with a held-out error no higher than the lowest of {first_name}")


def to_dicts(results: list[StageResult]) -> list[dict[str, Any]]:
    """Return the table's rows as JSON values; errors are in percent."""
    rows = []
    for result in results:
        options = result.stage.options
        rows.append(
            {
                "stage": result.stage.name,
                "net": options.net,
                "train_scale": list(options.train_scale),
                "mirror": options.mirror,
                "from": result.stage.source,
                "epochs": result.progress.epoch,
                "best_epoch": result.progress.best["epoch"],
                "held_out_error": result.progress.best["error"],
                "wall_s": round(result.progress.wall_s, 1),
                "epochs_to_first_stage_error": epochs_to_reach(result.progress, results[0].progress.best["error"]),
                "val": {
                    kind: {
                        "top1_error": 100 * errors.top1.rate,
                        "top5_error": 100 * errors.top5.rate if errors.top5 else None,
                        "interval": [100 * bound for bound in errors.top1.interval],
                        "images": errors.top1.images,
                    }
                    for kind, errors in result.errors.items()
                },
            }
        )
    return rows


def ladder(options: LadderOptions, after_epoch: AfterEpoch | None = None) -> list[StageResult]:
    """`vggnet ladder`."""
    stages = stages_of(options)
    say(f"ladder: {' -> '.join(stage.name for stage in stages)}; into {options.out}")
    results = run_ladder(stages, after_epoch)
    if is_first_rank():
        write_whole(options.out / "ladder.json", json_text(to_dicts(results)))
    show(results)
    return results
