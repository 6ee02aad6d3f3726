"""Where the crops of a view, or the windows of its dense map, lie on the image."""

from vggnet.evaluation.forward import corners
from vggnet.evaluation.views import View
from vggnet.images.geometry import rescaled_size, source_box
from vggnet.network.taps import taps
from vggnet.paper.configurations import TOTAL_STRIDE_PX, Architecture

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image


def windows(view: View, architecture: Architecture, width: int, height: int) -> list[Box]:
    """Return the windows of a view on an image of width x height pixels, row by row, without mirror images.

    A position of the dense map sees a window of the crop's size; windows lie 32 px of the rescaled image apart.
    """
    crop = architecture.crop_px
    wide, high = rescaled_size(width, height, view.scale)
    if view.kind == "dense":
        rows, columns = taps(architecture)["fc8"].map_size(high, wide)
        places = [(TOTAL_STRIDE_PX * c, TOTAL_STRIDE_PX * r) for r in range(rows) for c in range(columns)]
    else:
        places = corners(view, high, wide, crop)
    return [source_box(width, height, view.scale, left, top, crop) for left, top in places]
