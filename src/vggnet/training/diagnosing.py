"""`vggnet diagnose`: a net that was not trained yet, looked at on real images of the user."""

from rich.table import Table

from vggnet.console import counted, rich_console, say
from vggnet.errors import UserError
from vggnet.hardware import training_workers
from vggnet.images.augmentation import Augmentation, epoch_order
from vggnet.images.loading import TrainingLoader
from vggnet.images.normalization import normalize
from vggnet.network.diagnosis import Diagnosis, diagnose
from vggnet.options.training import DiagnoseOptions, TrainOptions
from vggnet.training.plan import policy_of, recipe_of, resolve
from vggnet.training.prepare_images import prepare_pictures
from vggnet.training.start_net import build_model


def diagnose_on_images(options: DiagnoseOptions) -> Diagnosis:
    """Build the net as `train` would, show it a few training crops, print the layers and the verdict."""
    if options.images < 2:
        raise UserError(f"--images {options.images}: at least 2 are needed, since what differs between images counts")
    training = resolve(
        TrainOptions(
            options.data,
            net=options.net,
            init=options.init,
            sigma=options.sigma,
            init_from=options.init_from,
            crop=options.crop,
            width=options.width,
            batch_norm=options.batch_norm,
            divide=options.divide,
            learning_rate=options.learning_rate,
            seed=options.seed,
        )
    )
    pictures = prepare_pictures(
        options.data,
        holdout=0.1,
        bad_images="skip",
        workers=training_workers(),
        reading=policy_of(training).reading,
    )
    model = build_model(training, pictures)
    assert training.crop is not None
    scale = recipe_of(training).train_scale
    augmentation = Augmentation(options.seed, scale, training.crop, pictures.statistics)
    chosen = epoch_order(options.seed, 0, len(pictures.train))[: options.images]
    with TrainingLoader(pictures.train, augmentation, workers=0) as loader:
        (batch,) = loader.batches(0, [chosen])
    images = normalize(batch.pixels, model.description.preprocessing, batch.shift)
    found = diagnose(model, images, batch.labels, options.learning_rate)
    show(found, f"net {options.net}, {options.init}, {counted(len(images), 'image')} of {pictures.data.name}")
    return found


def show(found: Diagnosis, title: str) -> None:
    """The layers as a table, and the verdict in words."""
    table = Table(title=title)
    for column in ("layer", "signal", "between images", "gradient", "first update / weight"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for layer in found.layers:
        figures = (layer.signal_rms, layer.variation_rms, layer.gradient_rms, layer.relative_update)
        table.add_row(layer.name, *(f"{figure:.2e}" for figure in figures))
    rich_console().print(table)
    say(f"loss {found.loss:.3f}. {found.words}")
