"""Stop a training whose images become unreadable, or leave them out, count and list them.

If too many images of a part are lost, the training stops in any case: a disk or a network drive is probably gone.
"""

import os
from collections.abc import Iterable, Sequence

from vggnet.console import say
from vggnet.errors import BadImage, UserError, describe_bad
from vggnet.training.distributed import World
from vggnet.training.runs import RunFolder

MOST_LOST = 0.1  # of a part's images; a single one may be lost in any case, unless it is all
TRAIN, HELD_OUT, VAL = "train", "held-out", "val"


class LostImages:
    """The images lost so far. `skip`: they are left out (--bad-images skip); else the first one stops the training.

    `known` are those that were skipped at the start, or lost before the run was continued; they are listed, too.
    """

    def __init__(self, run: RunFolder, world: World, *, skip: bool, known: Iterable[tuple[str, BadImage]] = ()) -> None:
        self._run, self._world, self._skip = run, world, skip
        self._listed = list(known)
        self._names = {error.path for _, error in self._listed}
        self._found: dict[str, set[str]] = {}
        self._new: list[tuple[str, BadImage]] = []

    def add(self, part: str, bad: Sequence[BadImage], images: int) -> None:
        """Count the `bad` ones of the part's `images`. UserError where they are not skipped, or are too many."""
        if not bad:
            return
        if not self._skip:
            raise UserError(
                f"{len(bad)} of {images} {part} images became unreadable during training:\n{describe_bad(list(bad))}\n"
                f"Put them back and continue with `resume`, or go on without them: `resume` `bad_images` skip"
            )
        found = self._found.setdefault(part, set())
        for error in bad:
            found.add(error.path)
            if error.path not in self._names:
                self._names.add(error.path)
                self._new.append((part, error))
        if self._world.size == 1:
            self._refuse_many(part, len(found), images)

    def report(self, part: str, images: int) -> None:
        """Say which images were lost since the last report, and list them in the run. All ranks call.

        UserError where too many of the part's `images` are lost.
        """
        new = [each for each in self._new if each[0] == part]
        self._new = [each for each in self._new if each[0] != part]
        if new:
            listing = describe_bad([error for _, error in new])
            say(f"skipping {len(new)} of {images} {part} images that cannot be read any more:\n{listing}")
            self._listed += new
            self.write()
        lost = round(self._world.total([float(len(self._found.get(part, ())))])[0])
        self._refuse_many(part, lost, images)

    def write(self) -> None:
        """List all of them in the run folder."""
        if self._world.is_first and self._listed:
            self._run.write_skipped(self._listed)

    def _refuse_many(self, part: str, lost: int, images: int) -> None:
        if lost > max(1, MOST_LOST * images) or (lost and lost == images):
            paths = sorted(self._found.get(part, ()))
            self.write()
            where = f", such as {paths[0]}" if paths else ""
            folder = f" Look at {os.path.dirname(paths[0])}: is its disk or network share gone?" if paths else ""
            raise UserError(
                f"{lost} of {images} {part} images cannot be read any more{where}: more than `bad_images` skip leaves "
                f"out during a training ({MOST_LOST:.0%}).{folder} Put them back and continue with `resume`, or go on "
                "with the images that are left: `resume` `data_changed`"
            )
