"""Table 1's arithmetic: exact parameter counts (Table 2), depths, and what bad options say."""

import pytest

from vggnet.errors import UserError
from vggnet.paper.configurations import CONFIGURATIONS, Architecture

PARAMETERS = {
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
    "5x5": 134_503_528,
}
DEPTHS = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19, "5x5": 8}


@pytest.mark.parametrize("net", CONFIGURATIONS)
def test_parameters_and_depth(net: str) -> None:
    architecture = Architecture(net)
    assert architecture.parameters == PARAMETERS[net]
    assert architecture.depth == DEPTHS[net] == len(list(architecture.layers()))
    assert architecture.fc_kernel == 7


def test_batch_normalisation_adds_two_per_channel() -> None:
    assert Architecture("D", batch_norm=True).parameters == 138_365_992  # torchvision's vgg16_bn


def test_the_control_net_sees_what_b_sees() -> None:
    assert Architecture("5x5").receptive_field_px == Architecture("B").receptive_field_px


def test_multiply_adds_of_d() -> None:
    assert Architecture("D").multiply_adds() == 15_470_264_320  # 15.3 G in convolutions, 124 M in FC layers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "d"}, "Did you mean D"),
        ({"outputs": 0}, "at least one output"),
        ({"width": 0}, "`width` 0"),
        ({"crop_px": 225}, "not a multiple of 32.*try 224"),
        ({"crop_px": 0}, "try 32"),
        ({"dropout": 1.0}, "`dropout` 1.0"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Architecture(**options)  # type: ignore[arg-type]
