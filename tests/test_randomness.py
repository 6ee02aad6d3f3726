"""First values of every stream: a change here would change trained weights and divide data sets anew."""

import numpy as np
import pytest
import torch

from vggnet.backends.dropout import image_keys
from vggnet.images.augmentation import Augmentation, epoch_order
from vggnet.network.initialization import build
from vggnet.randomness import Division, Stream, generator, layer_seed, name_draw, numbered_generator, step_key


def _first(drawn: np.random.Generator) -> list[int]:
    return [int(word) for word in drawn.bit_generator.random_raw(2)]


@pytest.mark.parametrize(
    ("stream", "place", "words"),
    [
        (Stream.VIEWS, (0, 0, 0), [213000021201967259, 4455796210202625458]),
        (Stream.VIEWS, (-1, 3, 12345), [8564945989369149012, 15145530010625502340]),
        (Stream.ORDER, (0, 0, 0), [6312158256571094726, 10634814581434429480]),
        (Stream.ORDER, (2**63 + 5, 74, 7), [4526655336477607945, 367767774840310410]),
        (Stream.BOXES, (0, 0, 0), [16006495525962256124, 11263462740154766164]),
        (Stream.BOXES, (-1, 3, 12345), [2218761956108772598, 16904819641893681775]),
    ],
)
def test_each_stream_begins_as_it_always_did(stream: Stream, place: tuple[int, int, int], words: list[int]) -> None:
    assert _first(generator(*place, stream)) == words


def test_numbered_generators_begin_as_they_always_did() -> None:
    assert _first(numbered_generator(5, 2, 1)) == [14676770080768580559, 10271941411323926615]
    assert _first(numbered_generator(-1, 2)) == [17283749594105707297, 3989055919011909464]


def test_hashes_of_names_are_what_they_always_were() -> None:
    assert (layer_seed(5, "conv1_1"), layer_seed(-1, "fc8")) == (-5231415391108844901, 1161620196971538645)
    assert (step_key(5, 3, 17), step_key(-1, 0, 0)) == (5863509588330602259, -3714018593126066627)
    assert name_draw(Division.VALIDATION, "train/cat/1.jpg").hex() == "0x1.c1c0b04abfb00p-4"
    assert name_draw(Division.HELD_OUT, "train/cat/1.jpg").hex() == "0x1.b2acbf13a8ee0p-1"
    assert name_draw(Division.VALIDATION, "caf\udce9.jpg").hex() == "0x1.83183cca282c0p-1"  # a name that is not UTF-8


def test_crops_order_weights_and_dropout_are_what_they_always_were() -> None:
    view = Augmentation(7, (256, 512), 224, None).view(3, 11, 500, 375)
    assert (view.scale, view.left, view.top, view.mirrored) == (427, 43, 115, False)
    assert epoch_order(7, 3, 8).tolist() == [5, 7, 4, 1, 3, 2, 6, 0]
    net = build("A", num_classes=3, width=0.03, crop=32, seed=5)
    first = net.get_submodule("conv1_1").get_parameter("weight").flatten()[:2].tolist()
    assert [weight.hex() for weight in first] == ["-0x1.7d22ee0000000p-6", "-0x1.30e2020000000p-4"]
    keys = image_keys(5, 3, 17, torch.tensor([0, 1, 12345]))
    assert keys.tolist() == [3061408379281516527, -7206460134698580084, -6982556152048923864]
