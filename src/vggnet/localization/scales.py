"""Choose the Q of each box net and the views of each classifier by the options (Table 9)."""

from collections.abc import Sequence
from pathlib import Path

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.protocols import default_scale, multiple_scales
from vggnet.evaluation.views import View, views_of
from vggnet.options.localization import LocalizeEvaluateOptions, LocalizePredictOptions

OWN = "own"
Scales = tuple[int, ...]


def box_scales(options: LocalizeEvaluateOptions, descriptions: Sequence[ModelDescription]) -> list[Scales]:
    """Return each box net's Q, in order: its own list, the list for all, or Q = S. Raises UserError."""
    lists = options.test_scale_by_net
    if not lists:
        return [test_scales(options, description) for description in descriptions]
    if options.test_scale:
        raise UserError(
            "`test_scale` gives all nets the same Q, `test_scale_by_net` each its own: leave one of them out"
        )
    if len(lists) != len(descriptions):
        raise UserError(
            f"`test_scale_by_net` {' '.join(lists)}: {len(lists)} for {len(descriptions)} box nets: give each net, in "
            "their order, its Q with commas between them, such as 256 352,384"
        )
    return [_numbers("`test_scale_by_net`", each.split(",")) for each in lists]


def test_scales(options: LocalizeEvaluateOptions | LocalizePredictOptions, description: ModelDescription) -> Scales:
    """Return the Q asked for, in order; without any, Q = S."""
    return tuple(sorted(set(options.test_scale))) or (default_scale(description),)


def classifier_views(
    options: LocalizeEvaluateOptions | LocalizePredictOptions,
    descriptions: Sequence[ModelDescription],
    boxes: Sequence[Scales],
) -> list[tuple[View, ...]]:
    """Return each classifier's views: by default dense at all Q of the box nets (`boxes`). Raises UserError.

    `own` is the paper's choice for each net: the three Q of Tables 4 and 5, which follow from its S.
    """
    kinds = tuple(dict.fromkeys(options.classifier_views)) or ("dense",)
    given = options.classifier_scale
    result = []
    for path, description in zip(options.classifier, descriptions, strict=True):
        if OWN in given:
            scales = _own(path, description, given)
        else:
            scales = _numbers("`classifier_scale`", given) or tuple(sorted({q for each in boxes for q in each}))
        views = views_of(kinds, scales, mirror=description.policy.chosen(options.mirror).mirror)
        for view in views:
            view.check(description.architecture)
        result.append(views)
    return result


def _own(path: Path, description: ModelDescription, given: Sequence[str]) -> Scales:
    if len(given) > 1:
        raise UserError(f"`classifier_scale` {' '.join(given)}: numbers, or {OWN} alone")
    try:
        return multiple_scales(description)
    except UserError as error:
        raise UserError(f"`classifier_scale` {OWN}: {path}: {str(error).replace('`test_scale`', 'numbers')}") from error


def _numbers(argument: str, texts: Sequence[str]) -> Scales:
    try:
        return tuple(sorted({int(text) for text in texts}))
    except ValueError:
        raise UserError(f"{argument} {' '.join(texts)}: expected numbers of pixels, such as 256 384") from None
