"""Turn a combination of views into a row of a table, and find the row that the user names."""

from collections.abc import Sequence

from vggnet.errors import UserError
from vggnet.evaluation.metrics import Errors, PairedTest
from vggnet.evaluation.other_classifiers import Description
from vggnet.evaluation.protocols import Combination, Entrant
from vggnet.evaluation.tables import NOTHING, Row


def row_of(
    entrants: Sequence[Entrant],
    row: Combination,
    errors: Errors,
    expected: int,
    above: PairedTest | None = None,
    reference: PairedTest | None = None,
) -> Row:
    """Return the row with its texts.

    Args:
        expected: the number of images, with those that could not be used.
        above, reference: the paired tests against the row above and the reference row.
    """
    nets = [entrants[place] for place, _ in row.members]
    scales = [",".join(str(q) for q in sorted({view.scale for view in views})) for _, views in row.members]
    return Row(
        " + ".join(net.name for net in nets),
        " + ".join(dict.fromkeys(_scale_text(net.description) for net in nets)),
        row.method,
        " + ".join(dict.fromkeys(scales)),
        errors,
        expected,
        row.paper,
        row.differences,
        above,
        reference,
        row.mirrors,
    )


def _scale_text(description: Description) -> str:
    scale = description.train_scale
    if not scale:
        return NOTHING
    return str(scale[0]) if len(scale) == 1 else f"[{scale[0]};{scale[1]}]"


def find_row(labels: Sequence[str], wanted: str) -> int:
    """Return the place of the row that `wanted` names: its whole label, or its beginning where no other row has it.

    Raises UserError with all labels where there is no such row, or more than one.
    """
    wanted = " ".join(wanted.split()).lower()
    known = [label.lower() for label in labels]
    if wanted in known:
        return known.index(wanted)
    found = [place for place, label in enumerate(known) if wanted and label.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} rows fit" if found else "this table has no such row"
    raise UserError(f"`against` {wanted!r}: {problem}; the rows are: {'; '.join(labels)}")
