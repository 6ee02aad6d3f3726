"""What is left open is chosen by the machine, and a bad image stops the work or is skipped."""

import pytest
import torch

from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import ON_CPU, Computing


def test_choices_of_the_user_are_taken_and_the_others_made():
    computing = Computing.of("cpu", "fp32", 3, "skip")
    assert computing == Computing(torch.device("cpu"), "fp32", 3, "skip")
    computing = Computing.of("cpu")
    assert computing.device == torch.device("cpu")
    assert computing.precision in ("fp32", "bf16")
    assert computing.workers in (0, 1)  # beside a net on the CPU
    assert computing.bad_images == "stop"
    with pytest.raises(UserError, match="use auto, cpu, cuda"):
        Computing.of("tpu0:x")


def test_a_bad_image_is_returned_where_it_is_skipped_and_raised_with_the_option_elsewhere():
    error = BadImage("a.png", "0 bytes")
    assert Computing(bad_images="skip").skipped(error) is error
    with pytest.raises(BadImage, match=r"a\.png: 0 bytes \(`bad_images` skip leaves such images out"):
        ON_CPU.skipped(error)
