"""Dropout by keys: the draws written out in Python's integers, their statistics, and what they do not depend on."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vggnet.backends.dropout import dropout, image_keys
from vggnet.backends.eager import EagerVGG
from vggnet.network.initialization import build

WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def split_mix(word: int) -> int:
    """SplitMix64's finalizer, as published."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)


def written_out(seed: int, epoch: int, step: int, image: int, layer: int, units: int, rate: float) -> list[bool]:
    """Which units are kept: the low half of a word for an even unit, its high half for the next."""
    base = int.from_bytes(hashlib.blake2b(f"{seed},{epoch},{step}".encode(), digest_size=8).digest(), "big")
    key = split_mix((image * GOLDEN + base) & WORD)
    kept = []
    for unit in range(units):
        word = split_mix((split_mix((key + layer) & WORD) + (unit // 2 + 1) * GOLDEN) & WORD)
        kept.append((word >> 32 if unit % 2 else word & 0xFFFFFFFF) >= round(rate * 2**32))
    return kept


def test_the_published_generator() -> None:
    """The first words of SplitMix64 from the seed 1234567."""
    words = [split_mix((1234567 + GOLDEN * place) & WORD) for place in (1, 2, 3)]
    assert words == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(max_examples=25)
@given(
    numbers=st.tuples(st.integers(-(2**63), 2**63), *[st.integers(0, 10**6)] * 2, st.integers(0, 2_000_000)),
    units=st.integers(1, 9),
    rate=st.floats(0.01, 0.99),
    layer=st.sampled_from([6, 7]),
)
def test_draws_are_those_written_out(numbers: tuple[int, int, int, int], units: int, rate: float, layer: int) -> None:
    keys = image_keys(*numbers[:3], torch.tensor([numbers[3]]))
    kept = dropout(torch.ones(1, units, 1, 1), rate, keys, layer).flatten() > 0
    assert kept.tolist() == written_out(*numbers, layer, units, rate)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_share_of_the_values_is_dropped_and_the_mean_stays(rate: float) -> None:
    """Over units and over images alike, each within five standard errors; neighbours are not correlated."""
    images, units = 1000, 1024
    dropped = dropout(torch.ones(images, units), rate, image_keys(3, 1, 4, torch.arange(images)), 6)
    kept = (dropped > 0).double()
    assert sorted(dropped.unique().tolist()) == pytest.approx([0, 1 / (1 - rate)])
    error = np.sqrt(rate * (1 - rate))
    assert abs(float(kept.mean()) - (1 - rate)) < 5 * error / np.sqrt(images * units)
    for axis, count in ((0, images), (1, units)):
        assert float((kept.mean(axis) - (1 - rate)).abs().max()) < 5 * error / np.sqrt(count)
    centred = (kept - (1 - rate)) / error
    for first, second in ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1])):
        assert abs(float((first * second).mean())) < 5 / np.sqrt(images * units)


def test_an_image_is_drawn_alike_in_any_batch_and_anew_otherwise() -> None:
    def drawn(images: list[int], *, seed: int = 0, epoch: int = 0, step: int = 0, layer: int = 6) -> torch.Tensor:
        return dropout(torch.ones(len(images), 64), 0.5, image_keys(seed, epoch, step, torch.tensor(images)), layer)

    together = drawn([5, 9, 2])
    assert torch.equal(together[1:2], drawn([9]))
    assert torch.equal(together.flip(0), drawn([2, 9, 5]))
    others = [drawn([9], seed=1), drawn([9], epoch=1), drawn([9], step=1), drawn([9], layer=7), drawn([10])]
    assert not any(torch.equal(other, drawn([9])) for other in others)


def test_gradients_pass_through_what_was_kept() -> None:
    x = torch.randn(3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    keys = image_keys(0, 0, 0, torch.arange(3))
    assert torch.autograd.gradcheck(lambda x: dropout(x, 0.3, keys, 6), (x,))
    assert dropout(x, 0.0, keys, 6) is x


def test_a_net_drops_by_keys_in_training_only() -> None:
    model = EagerVGG(build("A", num_classes=3, width=1 / 16, crop=32, dropout=0.5).train())
    images, keys = torch.randn(4, 3, 32, 32), image_keys(0, 0, 0, torch.arange(4))
    once = model(images, keys)
    torch.manual_seed(99)
    assert torch.equal(model(images, keys), once)
    parts = torch.cat([model(images[rows], keys[rows]) for rows in (slice(0, 1), slice(1, 4))])
    torch.testing.assert_close(parts, once)
    assert not torch.equal(model(images, image_keys(0, 0, 1, torch.arange(4))), once)
    model.eval()
    assert torch.equal(model(images, keys), model(images))


@pytest.mark.slow
def test_torch_compile_draws_the_same() -> None:
    keys, x = image_keys(0, 0, 0, torch.arange(40)), torch.randn(40, 37)
    assert torch.equal(torch.compile(dropout)(x, 0.5, keys, 6), dropout(x, 0.5, keys, 6))


@pytest.mark.gpu
def test_a_gpu_draws_the_same() -> None:
    keys, x = image_keys(0, 0, 0, torch.arange(40)), torch.randn(40, 37)
    assert torch.equal(dropout(x.cuda(), 0.5, keys.cuda(), 6).cpu(), dropout(x, 0.5, keys, 6))
