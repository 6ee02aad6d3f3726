"""stub"""

from vggnet.images.datasets import open_data


def open_annotated(data, annotations, val_annotations, *, seed):
    return open_data(data, seed=seed)
