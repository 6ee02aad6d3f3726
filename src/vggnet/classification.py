"""Training a classifier: images, net, recipe and loop put together, and what is said before and after."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from vggnet.console import say
from vggnet.contract import Preprocessing
from vggnet.errors import UserError
from vggnet.evaluation.metrics import Count, Errors, count_errors
from vggnet.evaluation.scoring import score
from vggnet.evaluation.views import View
from vggnet.files import write_whole
from vggnet.images.augmentation import epoch_order
from vggnet.images.datasets import Split
from vggnet.images.loading import CropLoader
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model
from vggnet.options.training import TrainOptions
from vggnet.paper.recipes import Recipe
from vggnet.pictures import Pictures, prepare_pictures
from vggnet.sessions import (
    as_started,
    choose_decoder,
    in_turn,
    on_device,
    run_loop,
    saved_options,
    settle,
    take_run,
    training_loader,
    use_threads,
    write_start,
)
from vggnet.startup import announce, architecture_of, build_model, default_out, recipe_of, resolve
from vggnet.training.distributed import World, join_world
from vggnet.training.loop import Inputs, Loop
from vggnet.training.runs import RunFolder, check_same_options


@dataclass
class ClassificationTask:
    """Multinomial logistic regression (Sect. 3.1) on one split, judged by the centre crop of another."""

    train: Split
    judged: Split
    loader: CropLoader
    preprocessing: Preprocessing
    recipe: Recipe
    seed: int
    world: World
    precision: str
    workers: int
    skip_bad: bool

    @property
    def images(self) -> int:
        return len(self.train)

    def order(self, epoch: int) -> np.ndarray:
        return epoch_order(self.seed, epoch, len(self.train))

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        device = self.world.device
        read = self.loader.batches(epoch, batches)
        for batch, images in on_device(read, self.preprocessing, device, self.skip_bad):
            yield Inputs(images, batch.labels.to(device, non_blocking=True))

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

    def judge(self, model: VGG) -> dict[str, float]:
        counts = self.errors(model, self.judged, [View("center", self.recipe.judged_scale)])
        (count, loss) = next(iter(counts.values()))
        return {"error": 100 * count.top1.rate, "loss": loss}

    def errors(self, model: VGG, split: Split, views: list[View]) -> dict[View, tuple[Errors, float]]:
        """Wrong answers and mean loss by view, over all ranks, every image counted once."""
        assert split.labels is not None
        share = self.world.share(np.arange(len(split)))
        scores = score(
            model,
            split,
            views,
            device=self.world.device,
            precision=self.precision,  # type: ignore[arg-type]
            workers=self.workers,
            bad_images="skip" if self.skip_bad else "stop",
            indices=share,
        )
        counts = {}
        for view, posteriors in scores.posteriors.items():
            labels = split.labels[scores.indices]
            own = count_errors(posteriors, labels)
            right = posteriors[np.arange(len(labels)), labels]
            loss = float(-np.log(np.maximum(right, 1e-12)).sum())
            top5_wrong = own.top5.wrong if own.top5 else 0
            sums = self.world.total([own.top1.images, own.top1.wrong, top5_wrong, loss])
            images, top1_wrong, top5_wrong = (round(value) for value in sums[:3])
            top5 = Count(top5_wrong, images) if own.top5 else None
            counts[view] = (Errors(Count(top1_wrong, images), top5), sums[3] / max(images, 1))
        return counts


@dataclass(frozen=True)
class TrainResult:
    """A finished training: where it lies, and its error on val by protocol (empty where there is no labelled val)."""

    run: Path
    errors: dict[str, Errors]
    epochs: int
    wall_s: float


def train_classifier(options: TrainOptions) -> TrainResult:
    """`vggnet train`: from options to a finished run."""
    with join_world(options.device) as world, ExitStack() as stack:
        options = settled(options)
        assert options.out is not None
        run = take_run(options.out, options.resume, world, stack)
        pictures = in_turn(world, lambda: _prepare(options))
        return _train(options, world, run, pictures)


def settled(options: TrainOptions) -> TrainOptions:
    """The options with nothing left open. UserError for what cannot be, or is not as the run to continue has it.

    So a net or a crop that does not exist is known before anything is read.
    """
    if options.resume:
        options = as_started(options, options.out or default_out(options))
    options = resolve(options)
    assert options.out is not None
    run = RunFolder(options.out)
    if options.resume and run.config is not None:
        check_same_options(run, saved_options(options))
    architecture_of(options, 1)
    recipe_of(options)
    return options


def _prepare(options: TrainOptions) -> Pictures:
    pictures = prepare_pictures(
        options.data,
        holdout=options.holdout,
        seed=options.seed,
        bad_images=options.bad_images,
        workers=options.workers or 0,
    )
    if len(pictures.data.classes) < 2:
        raise UserError(
            f"{options.data}: one class only, {pictures.data.classes[0]!r}: there is nothing to tell it from. Give the "
            "folder that holds a folder for each class"
        )
    return pictures


def _train(options: TrainOptions, world: World, run: RunFolder, pictures: Pictures) -> TrainResult:
    assert options.crop is not None
    recipe = recipe_of(options)
    resuming = options.resume and run.state.exists()
    use_threads(options.threads, run, world)
    model = _start_model(options, pictures, run if resuming else None).to(world.device).to_fast_layout()
    run.check_space(model.architecture.parameters)
    settings = settle(
        model,
        run,
        world,
        seed=options.seed,
        batch=min(recipe.batch, len(pictures.train)),
        micro_batch=options.micro_batch,
        precision=options.precision,
        save_every_s=options.save_every,
        step=options.step,
    )
    workers = options.workers or 0
    decoder = choose_decoder(options.decoder, pictures.train, run, world, workers)
    with training_loader(
        pictures.train,
        pictures.statistics,
        recipe,
        world,
        decoder=decoder,
        crop=options.crop,
        seed=options.seed,
        workers=workers,
    ) as loader:
        task = ClassificationTask(
            pictures.train,
            pictures.judge,
            loader,
            model.description.preprocessing,
            recipe,
            options.seed,
            world,
            settings.precision,
            workers,
            options.bad_images == "skip",
        )
        loop = Loop(model, recipe, task, run, world, settings)
        if world.is_first and not resuming:  # not before the loop has taken its settings: what it refuses is no run
            preprocessing = dataclasses.asdict(model.description.preprocessing)
            write_start(options, run, settings, decoder, preprocessing=preprocessing)
        progress = run_loop(loop, resuming, lambda: announce(model, pictures, world, loop))
        errors = _report(model, task, pictures, run)
    return TrainResult(run.path, errors, progress.epoch, progress.wall_s)


def _start_model(options: TrainOptions, pictures: Pictures, resumed: RunFolder | None) -> VGG:
    """The net as it starts; of a continued run, one that is to be filled with its state."""
    if resumed is None:
        return build_model(options, pictures)
    # weights come from the saved state; the source of a staged start may be gone
    kept = (resumed.config or {}).get("preprocessing")
    preprocessing = Preprocessing(tuple(kept["mean"]), tuple(kept["deviation"])) if kept else None
    return build_model(dataclasses.replace(options, init_from=None, new_head=False), pictures, preprocessing)


def _report(model: VGG, task: ClassificationTask, pictures: Pictures, run: RunFolder) -> dict[str, Errors]:
    """The best epoch's error on val, said with its protocol, and written into the run."""
    if pictures.val is None or pictures.val.labels is None:
        say("no labelled val images: nothing to report an error on")
        return {}
    task.world.wait()
    best = load_model(run.best, device=task.world.device).to_fast_layout()
    scale = task.recipe.judged_scale
    counts = task.errors(best, pictures.val, [View("center", scale), View("dense", scale)])
    said = {view.kind: count for view, (count, _) in counts.items()}
    for kind, count in said.items():
        how = {"center": f"centre crop, Q={scale}", "dense": f"dense with mirror, Q={scale}"}[kind]
        say(f"val top-1 error, {how}: {count.top1.describe()}")
    if task.world.is_first:
        text = {kind: {"scale": scale, **dataclasses.asdict(count)} for kind, count in said.items()}
        write_whole(run.path / "val.json", json.dumps(text, indent=2) + "\n")
    return {str(kind): count for kind, count in said.items()}
