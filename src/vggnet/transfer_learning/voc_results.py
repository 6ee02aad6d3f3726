"""Write result files for the PASCAL VOC evaluation server, named and laid out as its devkit reads them.

    FOLDER/VOC2012/Main/comp2_cls_test_CLASS.txt         an image and a confidence a line
    FOLDER/VOC2012/Action/comp10_action_test_ACTION.txt  an image, the person's place and a confidence a line

The server takes `tar czf results.tgz results` with FOLDER called results. comp1 and comp9 are for systems that learnt
from VOC's images alone, comp2 and comp10 for all others. The training of the net counts: a net that was trained on
ImageNet enters comp2 and comp10.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vggnet.errors import UserError
from vggnet.files import write_result
from vggnet.options.choices import Competition
from vggnet.transfer_learning.devkit import Id

COMPETITIONS: dict[str, tuple[Competition, Competition]] = {"voc": ("comp2", "comp1"), "actions": ("comp10", "comp9")}


def check_competition(protocol: str, competition: str | None) -> str:
    """Return the competition to write for: as given, else the one for nets that learnt from any images."""
    known = COMPETITIONS[protocol]
    if competition is None:
        return known[0]
    if competition not in known:
        raise UserError(f"`competition` {competition}: `protocol` {protocol} has {' and '.join(sorted(known))}")
    return competition


def write_voc_results(
    folder: Path,
    protocol: str,
    competition: str,
    year: str,
    test_set: str,
    classes: Sequence[str],
    ids: Sequence[Id],
    scores: np.ndarray,
) -> list[Path]:
    """Write one file for each class that was learnt: ids of n examples, scores (n, K). Returns the paths.

    Raises UserError where they cannot be written.
    """
    room, task = ("Main", "cls") if protocol == "voc" else ("Action", "action")
    written = []
    for name, column in zip(classes, scores.T, strict=True):
        if not np.isnan(column).any():
            lines = (f"{' '.join(example)} {score:.9f}\n" for example, score in zip(ids, column, strict=True))
            written.append(folder / year / room / f"{competition}_{task}_{test_set}_{name}.txt")
            write_result(written[-1], "".join(lines), option="`results`")
    return written
