"""Pictures side by side as a figure, for notebooks."""

from collections.abc import Sequence

from PIL import Image

from vggnet.reporting.style import Plot, new_plot, styled


def picture_panels(pictures: Sequence[tuple[str, Image.Image]], columns: int | None = None) -> Plot:
    """Draw pictures with their titles in rows of `columns` (None: one row)."""
    columns = columns or len(pictures)
    rows = -(-len(pictures) // columns)
    with styled():
        plot = new_plot(2.4 * columns, 2.6 * rows)
        panels = plot.subplots(rows, columns, squeeze=False)
        for axes, (title, picture) in zip(panels.flat, pictures, strict=False):
            axes.imshow(picture)
            axes.set_title(title)
        for axes in panels.flat:
            axes.set_axis_off()
    return plot
