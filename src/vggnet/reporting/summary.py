"""The first section of a report (what it is about, what to do next) and the last (where its figures come from)."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from vggnet.console import counted, duration
from vggnet.description import ModelDescription
from vggnet.evaluation.metrics import Count
from vggnet.network.pretrained import model_card
from vggnet.reporting.contents import Commands, Facts, Folded, Part, Preformatted, Section, Text, shortened
from vggnet.reporting.measuring import Measured
from vggnet.reporting.sources import Run, Sources
from vggnet.reporting.words import error_in_words, net_in_words, percent, scale_in_words, times

PAPER = (
    (
        "Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (ICLR 2015), asked "
        "whether a net for images gets better when it gets deeper, with everything else left alone. Their nets consist "
        "of 3x3 convolutions, the smallest filters that tell left from right. Two of them see 5x5 pixels and three see "
        "7x7, with fewer weights and more non-linearities than one large filter."
    ),
    (
        "Nets A to E have 11 to 19 layers with weights. From small random weights the deep ones did not learn: net A "
        "was trained first, and the deeper ones started from its layers. Errors fell with depth, up to 16 to 19 layers."
    ),
    (
        "The same net gives different errors by how a test image is shown to it. The crop in the middle is the usual "
        "way. The paper runs the net over the whole image (dense), at several sizes Q, over 5x5 crops, and averages "
        "answers of several nets. Q is the smaller side of the test image in pixels. S is the smaller side of the "
        "training images in pixels: one number, or drawn for each image (jittered)."
    ),
)
STEPS = (
    ("  vggnet predict {run} IMAGES", "name what is in other images"),
    ("  vggnet evaluate {run} {data} --views center dense crops", "measure it by more of the paper's protocol"),
    ("  vggnet train FOLDER --net D --init-from {run} --new-head", "teach it other classes"),
)


def summary_section(sources: Sources, measured: Measured | None) -> Section:
    """Return what it is, the errors in words, and three commands."""
    runs = [run for run in sources.runs if not run.of_boxes]
    parts: list[Part] = []
    if runs:
        main = measured.main.runs[0] if measured is not None else runs[-1]
        parts.append(Text(" ".join(_sentences(main, runs, sources, measured))))
        data = sources.data or "DATA"
        lines = tuple((command.format(run=main.path, data=data), what) for command, what in STEPS)
        parts.append(Commands(lines))
    parts += [part for run in sources.runs if run.of_boxes for part in _box_net(run)]
    parts += [Text(f"{run.name}: {note}", quiet=True) for run in sources.runs for note in _state(run)]
    parts.append(Folded("What the paper is about", tuple(Text(text) for text in PAPER)))
    return Section("What it is", tuple(parts))


def _box_net(run: Run) -> list[Part]:
    """Return what a box net is, and the command that uses it."""
    if run.description is None:
        return []
    architecture, one = run.description.architecture, run.description.boxes == "scr"
    text = (
        f"{run.name} is {net_in_words(architecture)}, {times(architecture.width)}, whose last layer draws "
        f"{'one box for all classes' if one else 'a box for each class'} (App. A). A classification net names the "
        "classes, and rates the boxes."
    )
    command = f"  vggnet localize predict {run.path} IMAGES --classifier {run.config.get('init_from') or 'MODEL'}"
    return [Text(text), Commands(((command, "draw boxes on other images"),))]


def _sentences(main: Run, runs: Sequence[Run], sources: Sources, measured: Measured | None) -> list[str]:
    """Return three sentences: the net, its training, its error."""
    said = []
    if main.description is not None:
        several = f"The best of these {len(runs)} nets, {main.name}," if len(runs) > 1 else "This"
        said.append(f"{several} is {_net(main.description)}")
    if main.rows:
        said.append(_training(main, sources))
    error = _error(main, measured)
    if error is not None:
        said.append(f"{_of_images(main, error.dense, measured)} it names {error.in_words(main.description)}")
    elif main.best is not None:
        said.append(f"Its lowest error on held-out training images is {main.best['error']:.1f} %.")
    return said


def _net(description: ModelDescription) -> str:
    """Describe a net, its classes and its input."""
    architecture = description.architecture
    titles = [shortened(title.split(",")[0]) for title in description.class_titles or description.classes]
    some = [*titles[:3], *(["..."] if len(titles) > 3 else [])]
    named = f" ({', '.join(some)})" if some else ""
    return (
        f"{net_in_words(architecture)} of Simonyan and Zisserman (2015), {times(architecture.width)}, that tells "
        f"{counted(architecture.outputs, 'class')} apart{named} and sees squares of {architecture.crop_px} pixels."
    )


def _training(main: Run, sources: Sources) -> str:
    """Describe how long a net was trained, on what, and from where it started."""
    images = main.config.get("train_images")
    on = f" on {counted(images, 'image')}" if isinstance(images, int) else ""
    scale = f" at {scale_in_words(main.description.train_scale)}" if main.description is not None else ""
    if main.description is not None and main.description.train_scale:
        drawn = ", drawn for each image" if len(main.description.train_scale) == 2 else ""
        scale += f" (smaller side of the training images, in pixels{drawn})"
    took = f" ({duration(main.wall_s)})" if main.wall_s else ""
    name = f" of {main.data}" if main.data else ""
    start = f", starting from {main.source}" if main.source else ""
    source = sources.source_of(main)
    if source is not None and source.wall_s:
        start += f", which was trained for {duration(source.wall_s)}"
    return f"It was trained for {counted(len(main.rows), 'epoch')}{took}{on}{name}{scale}{start}."


def _of_images(main: Run, count: Count, measured: Measured | None) -> str:
    """Return on which images an error was counted, as the beginning of a sentence."""
    learnt_from = measured.facts_of(main).get("images_learnt_from") if measured is not None else None
    if learnt_from == 0:
        return f"Of {counted(count.images, 'image')} that it has not learnt from,"
    known = f" (it has learnt from {learnt_from:,} of them)" if learnt_from else ""
    return f"Of {counted(count.images, 'test image')}{known}"


@dataclass(frozen=True)
class _Error:
    """The top-1 error on whole images at Q = `scale`, and that of the centre crops, where it was measured."""

    dense: Count
    scale: object
    center: Count | None

    def in_words(self, description: ModelDescription | None) -> str:
        """Return both errors, and what guessing would give."""
        text = f"{error_in_words(self.dense)} wrong, seen whole (dense) at Q={self.scale} (smaller side of the image)"
        if self.center is not None and self.center.images:
            text += f", and {percent(self.center.rate)} by the centre crop alone"
        classes = description.architecture.outputs if description else 0
        return text + (f"; guessing would get {100 * (1 - 1 / classes):.0f} % wrong." if classes > 1 else ".")


def _error(main: Run, measured: Measured | None) -> _Error | None:
    """Return the errors of a net: from posteriors, else from val.json."""
    if measured is not None:
        row, center = measured.main, measured.of(main, "center")
        return _Error(row.row.errors.top1, row.row.test_scale, None if center is None else center.row.errors.top1)
    try:
        dense, center_crop = (
            Count(int(main.val[view]["top1"]["wrong"]), int(main.val[view]["top1"]["images"]))
            for view in ("dense", "center")
        )
        return _Error(dense, main.val["dense"]["scale"], center_crop)
    except (KeyError, TypeError, ValueError):
        return None


def _state(run: Run) -> list[str]:
    """Return what a reader must know of a run that is not complete."""
    notes = list(run.notes)
    if run.finished is False:
        total = run.config.get("epochs")
        of = f" of at most {total}" if total else ""
        notes.insert(0, f"still training, or stopped: {counted(len(run.rows), 'epoch')}{of} so far")
    return notes


def provenance_section(sources: Sources, measured: Measured | None) -> Section | None:
    """Return commands, versions, hashes, hardware and seeds of each run."""
    parts: list[Part] = []
    for run in sources.runs:
        environment, config = run.environment, run.config
        command = environment.get("command")
        items = {
            "seed": config.get("seed"),
            "processor": environment.get("cpu"),
            "GPUs": ", ".join(map(str, environment.get("gpus") or [])) or None,
            "threads": environment.get("threads"),
            "precision": config.get("resolved_precision"),
            "versions": _versions(environment),
            "weights, SHA-256": measured.facts_of(run).get("weights_sha256") if measured is not None else None,
            "list of images, SHA-256": config.get("images_sha256"),
            "batch": config.get("batch"),
            "learning rate": config.get("learning_rate"),
            "training time": duration(run.wall_s) if run.wall_s else None,
        }
        found = tuple((name, str(value)) for name, value in items.items() if value is not None)
        if command or found:
            parts.append(Text(f"{run.name} ({run.path})"))
        if isinstance(command, list):
            parts.append(Commands(((shlex.join(map(str, command)), "command"),)))
        if found:
            parts.append(Facts(found))
        if run.description is not None:
            card = model_card(run.description, run.data or "", _measured_errors(run, measured))
            parts.append(Folded(f"Model card of {run.name}", (Preformatted(card),)))
    return Section("Where the numbers come from", tuple(parts)) if parts else None


def _measured_errors(run: Run, measured: Measured | None) -> list[str]:
    """Return a line for each row of one net, as its model card has it."""
    if measured is None:
        return []
    rows = [row for row in measured.rows if row.runs == (run,)]
    images = counted(measured.images, "image")
    return [
        f"top-1 {row.row.errors.top1.cell()} % on {images} (val), {row.kind}, Q={row.row.test_scale}" for row in rows
    ]


def _versions(environment: dict[str, object]) -> str | None:
    names = [
        f"{name} {environment[name]}" for name in ("python", "torch", "torchvision", "pillow") if name in environment
    ]
    return ", ".join(names) or None
