"""`vggnet quantize`: calibrate int8 on the user's images, and measure what it costs in accuracy.

The model that is written has the same weights, and `activation_limits` in its description, by which int8 inference
rounds (`backends.cpu_int8`). So one folder serves fp32, bf16 and int8.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.backends.calibration import measuring
from vggnet.console import counted, progress, say
from vggnet.data.learnt import copy_learnt
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError
from vggnet.evaluation.computing import CPU, Computing
from vggnet.evaluation.matching import (
    match_labels,
    open_entrants,
    open_split,
    refuse_without_classes,
)
from vggnet.evaluation.metrics import Count, PairedTest, compare, ranks
from vggnet.evaluation.policy import Shown, input_notes
from vggnet.evaluation.protocols import Entrant, default_scale
from vggnet.evaluation.scoring import score
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.hardware import choose_inference_precision, choose_precision, scoring_workers
from vggnet.network.pretrained import check_free, save_pretrained
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model
from vggnet.options.choices import Precision
from vggnet.options.quantization import QuantizeOptions


@dataclass(frozen=True)
class QuantizeResult:
    """The folder of the model; its wrong val images before and in int8, and the test whether the two differ.

    The last three are None where there are no labelled val images.
    """

    folder: Path
    before: Count | None
    after: Count | None
    difference: PairedTest | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; errors are in percent, and None where nothing could be judged."""
        return {
            "folder": str(self.folder),
            "before": self.before.to_dict() if self.before is not None else None,
            "int8": self.after.to_dict() if self.after is not None else None,
            "p_value": self.difference.p_value if self.difference is not None else None,
        }


def quantize_on_images(options: QuantizeOptions) -> QuantizeResult:
    """Measure ranges, write the model, and print its error on labelled val images if any. Raises UserError."""
    if options.images < 1:
        raise UserError(f"`images` {options.images}: at least one image is needed")
    check_free(options.out)  # before anything is measured
    choose_inference_precision("int8", CPU)
    model = load_model(options.model)
    if model.architecture.convolutions_only:
        refuse_without_classes(options.model, model.description)
    scale = default_scale(model.description) if options.test_scale is None else options.test_scale
    opened = open_split(options.data)
    judged = _judged(options, model, opened)  # before any image is read, since labels may not fit the model
    source = opened if isinstance(opened, Split) else opened.train or opened.val
    if source is None or not len(source):
        raise UserError(f"{options.data}: there are no images to measure on")
    workers = scoring_workers(options.workers, CPU)
    limits = _measure(model, source, scale, options, workers)
    model.description = replace(model.description, activation_limits=limits)
    save_pretrained(model, options.out)
    copy_learnt(options.model, options.out)
    say(f"written to {options.out}; give it as MODEL, with `precision` int8, to evaluate or predict")
    shown = [judged[0].shown if judged is not None else _only_measured(options, model)]
    notes = input_notes(source, shown)
    if judged is None:
        how = "`vggnet localize evaluate` says" if model.description.boxes else "no labelled val images to say"
        say(f"{how} what int8 costs in accuracy")
        result = QuantizeResult(options.out, None, None, None)
    else:
        result = _judge(*judged, options.out, scale, workers)
    for line in notes:
        say(f"  {line}")
    return result


def _only_measured(options: QuantizeOptions, model: VGG) -> Shown:
    """Return how images are shown to a net that is not judged: as centre crops."""
    policy = model.description.policy
    return Shown(str(options.model), policy, policy, mirrors=False)


def _judged(
    options: QuantizeOptions, model: VGG, opened: ImageData | Split
) -> tuple[Entrant, Split, np.ndarray] | None:
    """Return the model, the val images and their labels among its classes; None where val has no labels."""
    if isinstance(opened, Split) or opened.val is None or opened.val.labels is None or model.description.boxes:
        return None
    (entrant,) = open_entrants([options.model], options.mirror)
    return entrant, opened.val, match_labels([entrant], opened, opened.val)[0]


def _measure(model: VGG, split: Split, scale: int, options: QuantizeOptions, workers: int) -> dict[str, float]:
    """Return activation limits, measured on centre crops of some images, in fp32."""
    chosen = np.random.default_rng(options.seed).permutation(len(split))[: options.images]
    with progress("measuring ranges") as tick, measuring(model) as ranges:
        scored = score(
            model,
            split,
            [View("center", scale)],
            Computing(CPU, "fp32", workers, "skip"),
            on_progress=tick,
            indices=np.sort(chosen),
        )
    if not len(scored.indices):
        raise UserError(f"not one of the {len(chosen)} images can be read: {scored.bad[0]}")
    unread = f"; {len(scored.bad)} could not be read" if scored.bad else ""
    say(f"ranges of activations measured on {counted(len(scored.indices), 'image')}, centre crop, Q={scale}{unread}")
    return ranges.limits()


def _judge(entrant: Entrant, val: Split, labels: np.ndarray, folder: Path, scale: int, workers: int) -> QuantizeResult:
    """Return and print the dense error of the model before and in int8, on the same images."""
    (quantized,) = open_entrants([folder], entrant.mirror)
    usual = choose_precision("auto", CPU)
    (view,) = entrant.views(["dense"], [scale])
    before, there = _posteriors(entrant, val, view, usual, workers)
    after, there_too = _posteriors(quantized, val, view, "int8", workers)
    present = there & there_too
    wrong_before, wrong_after = (ranks(each[present], labels[present]) >= 1 for each in (before, after))
    result = QuantizeResult(folder, _count(wrong_before), _count(wrong_after), compare(wrong_before, wrong_after))
    _say(result, usual, view, float((before.argmax(1) == after.argmax(1))[present].mean()))
    return result


def _posteriors(
    entrant: Entrant, val: Split, view: View, precision: Precision, workers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return posteriors of all images and which images have them, from the model's store, scored where missing."""
    store = Store.of(entrant.path, entrant.own_description, val, Computing(CPU, precision, workers, "skip"))
    with progress(f"scoring in {precision}") as tick:
        store.fill([view], on_progress=tick)
    return store.read(view)


def _count(wrong: np.ndarray) -> Count:
    return Count(int(wrong.sum()), len(wrong))


def _say(result: QuantizeResult, usual: str, view: View, same: float) -> None:
    assert result.before is not None
    assert result.after is not None
    assert result.difference is not None
    say(f"top-1 error of val, {view.kind}, Q={view.scale}:")
    for name, count in ((usual, result.before), ("int8", result.after)):
        say(f"  {name}  {count.describe()}")
    verdict = "differ" if result.difference.significant else "do not differ significantly"
    p_value = result.difference.p_value
    say(f"  the two {verdict} (paired test, p = {p_value:.2g}); the same class for {same:.1%} of the images")
