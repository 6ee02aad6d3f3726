"""Find the row of the paper's Tables 11 and 12 for a result of `vggnet transfer`, and what is not as in the paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vggnet.description import ModelDescription
from vggnet.evaluation.protocols import architecture_differences
from vggnet.paper.recipes import scaled_px
from vggnet.paper.results import JITTERED, TABLE_11, TABLE_12, FeatureRow

CALTECH_SCALES = (256, 384, 512)
VOC_SCALES = (256, 384, 512, 640, 768)
CALTECH_TRAIN = {"Caltech-101": 30, "Caltech-256": 60}  # training images a class
CALTECH_CLASSES = {"Caltech-101": (102,), "Caltech-256": (256, 257)}  # with the background class, or clutter
SPLITS = 3


@dataclass(frozen=True)
class BesidePaper:
    """The paper's row for the same data, and what is not as in the paper, in words."""

    row: FeatureRow
    differences: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the row in words."""
        row = self.row
        score = f"{row.score:.1f}" + (f" +- {row.deviation:.1f}" if row.deviation is not None else "")
        how = {"VOC-2007": ", 11 points", "VOC-2012": ", area"}.get(row.data, "")
        where = f"{row.source}, {' and '.join(row.nets)} on {row.data}{how}"
        apart = f"; not as in the paper: {', '.join(self.differences)}" if self.differences else ""
        return f"paper: {score} ({where}){apart}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        row = self.row
        return {
            "source": row.source,
            "nets": list(row.nets),
            "data": row.data,
            "score": row.score,
            "deviation": row.deviation,
            "not_as_in_the_paper": list(self.differences),
        }


@dataclass(frozen=True)
class Setting:
    """What a result depends on besides its nets; `sets` are the devkit's, `sizes` those of Caltech's protocol."""

    protocol: str
    data: str
    layer: str
    scales: tuple[tuple[int, ...], ...]  # Q of each net
    pool: str
    mirror: tuple[bool, ...] = ()  # of each net: whether the mirrored image is averaged in; empty: it is
    sets: tuple[str, str] = ("", "")
    regions: str = "both"
    sizes: dict[str, int] | None = None
    classes: int = 0


def beside_paper(descriptions: Sequence[ModelDescription], setting: Setting) -> BesidePaper | None:
    """Return the paper's row for this data set, by its name; None for other data."""
    candidates = [row for row in (*TABLE_11, *TABLE_12) if row.data == _data_name(setting)]
    if not candidates:
        return None
    nets = tuple(sorted(description.architecture.net for description in descriptions))
    row = min(candidates, key=lambda row: (row.nets != nets, len(row.nets) != min(len(nets), 2)))
    differences = [] if row.nets == nets else ["net"]
    for description, scales in zip(descriptions, setting.scales, strict=True):
        differences += _net_differences(description, scales, setting)
    if not all(setting.mirror):
        differences.append("no mirror in the test")
    if setting.layer != "fc7":
        differences.append(f"layer {setting.layer}")
    several = len(setting.scales[0]) > 1
    if several and setting.pool != ("stack" if setting.protocol == "caltech" else "average"):
        differences.append(f"scales by {setting.pool}")
    differences += _data_differences(row, setting)
    return BesidePaper(row, tuple(dict.fromkeys(differences)))


def _data_name(setting: Setting) -> str:
    """Return the paper's name of the data, from the name of their folder; empty for other data."""
    folder = Path(setting.data).expanduser().resolve()
    if setting.protocol == "caltech":
        names = f"{folder.parent.name} {folder.name}".lower()
        if "caltech" in names or "objectcategories" in names:
            return next((data for data in CALTECH_TRAIN if data[-3:] in names), "")
        return ""
    year = folder.name.upper().replace("VOC", "").strip("-_ ")
    if setting.protocol == "voc":
        return f"VOC-{year}"
    return f"VOC-{year} actions, " + ("whole image" if setting.regions == "image" else "image and person's box")


def _net_differences(description: ModelDescription, scales: tuple[int, ...], setting: Setting) -> list[str]:
    """Return what is not the paper's about one net, its S and its Q; both in proportion to the crop."""
    crop = description.architecture.crop_px
    differences = architecture_differences(description)
    if description.train_scale != tuple(scaled_px(scale, crop) for scale in JITTERED):
        differences.append("S")
    wanted = CALTECH_SCALES if setting.protocol == "caltech" else VOC_SCALES
    if sorted(scales) != [scaled_px(scale, crop) for scale in wanted]:
        differences.append("Q")
    if not description.policy.mirror:
        differences.append("no mirrored crops in training")
    return differences


def _data_differences(row: FeatureRow, setting: Setting) -> list[str]:
    """Return what is not the paper's about what is learnt from and tested on."""
    if setting.protocol != "caltech":
        differences = [] if setting.sets == ("trainval", "test") else [f"sets {' and '.join(setting.sets)}"]
        return [*differences, *(["box alone"] if setting.regions == "box" else [])]
    sizes = setting.sizes or {}
    differences = []
    if sizes.get("train_per_class") != CALTECH_TRAIN[row.data]:
        differences.append(f"{sizes.get('train_per_class')} training images a class")
    if row.data == "Caltech-101" and sizes.get("test_per_class") != 50:
        differences.append(f"at most {sizes.get('test_per_class')} test images a class")
    if sizes.get("splits") != SPLITS:
        differences.append(f"{sizes.get('splits')} splits")
    if setting.classes not in CALTECH_CLASSES[row.data]:
        differences.append(f"{setting.classes} classes of images")
    return differences
