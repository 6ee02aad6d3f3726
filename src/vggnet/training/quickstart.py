"""Train net A, then net D from it, on a data set that needs no download, and predict three images."""

from pathlib import Path

import numpy as np

from vggnet.console import say
from vggnet.data.opening import open_data
from vggnet.evaluation.predict import predict
from vggnet.files import json_text, write_whole
from vggnet.options.evaluation import PredictOptions
from vggnet.options.training import QuickstartOptions, TrainOptions
from vggnet.paper.recipes import fixed_scale
from vggnet.training.epoch_results import AfterEpoch
from vggnet.training.ladder import Stage, run_ladder, show, to_dicts

CROP_PX = 64
SHOWN = 3


def stages_of(options: QuickstartOptions) -> list[Stage]:
    """Return the two stages: net A, and net D from A, at the same S."""

    def stage(net: str, source: str | None) -> Stage:
        training = TrainOptions(
            "scenes",
            net=net,
            out=options.out / net,
            resume=True,
            init_from=options.out / source if source else None,
            crop=CROP_PX,
            train_scale=fixed_scale(CROP_PX).train_scale,
            width=0.25,
            mirror=False,  # a mirrored digit is another one, or none
            epochs=10,
            batch=32,
            learning_rate=4e-3,  # with so small a batch 1e-2 kills the units of a narrow net
            patience=3,
            machine=options.machine,
        )
        return Stage(training, source)

    return [stage("A", None), stage("D", "A")]


def quickstart(options: QuickstartOptions, after_epoch: AfterEpoch | None = None) -> None:
    """`vggnet quickstart`."""
    say(
        "scenes: handwritten digits on photographs. Net A (11 layers) first, then net D (16 layers) from it (Sect. 3.1)"
    )
    results = run_ladder(stages_of(options), after_epoch)
    write_whole(options.out / "quickstart.json", json_text(to_dicts(results)))
    show(results)
    deepest = options.out / "D"
    paths = example_images()
    say("\nthree predictions of net D:")
    for each in predict(PredictOptions((str(deepest),), top=3), deepest, paths):
        say(f"  {each.path}: " + ", ".join(f"{guess.title} {100 * guess.posterior:.1f} %" for guess in each.classes))
    say("\nnext: train on your own images, in a folder with one folder for each class, or test these nets further")
    say("  vggnet train FOLDER --net D --out runs/mine")
    say(f"  vggnet evaluate {deepest} scenes --views center dense crops")


def example_images() -> list[Path]:
    """Return validation images of different classes."""
    val = open_data("scenes").val
    assert val is not None
    return [Path(val.path(int(index))) for index in np.linspace(0, len(val) - 1, SHOWN + 2).astype(int)[1:-1]]
