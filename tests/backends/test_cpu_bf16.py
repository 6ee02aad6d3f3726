"""The fast path gives what the net gives in bf16: any net, any size, padded batches, and it never touches fp32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import worn_net
from torch.nn import functional as F

from vggnet.backends import choose_inference as inference
from vggnet.backends.choose_inference import fast_inference
from vggnet.backends.cpu_bf16 import FastVGG, halve
from vggnet.backends.cpu_fp32 import FoldedVGG
from vggnet.backends.eager import EagerVGG
from vggnet.backends.piecewise import is_hooked
from vggnet.data.opening import open_data
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.forward import ready_to_score
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.evaluation.scoring import score
from vggnet.evaluation.views import View
from vggnet.hardware import cpu_has_bf16
from vggnet.network.vgg import VGG, evaluating

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bf16 instructions")


def small(net: str, **options: object) -> VGG:
    return worn_net(net, crop=64, **options)


def compare(model: VGG, images: torch.Tensor) -> None:
    """bf16 has 8 bits, and up to 19 layers round: what counts is the distance to the plain net's own bf16 error."""
    with torch.inference_mode():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            plain = model(images.bfloat16()).float()
        quick = FastVGG(model)(images.bfloat16()).float()
    size = exact.abs().max()
    assert quick.shape == exact.shape
    assert (quick - exact).abs().max() / size < max(0.03, 2 * float((plain - exact).abs().max() / size))
    assert F.cosine_similarity(quick.flatten(), exact.flatten(), 0) > 0.999


@needs_bf16
@pytest.mark.parametrize("net", ["A", "A-LRN", "B", "C", "D", "E", "5x5"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_net(net: str, batch_norm: bool) -> None:
    torch.manual_seed(0)
    compare(small(net, batch_norm=batch_norm), 60 * torch.randn(3, 3, 64, 64))


@needs_bf16
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (5, 3, 97, 130), (2, 3, 300, 224), (9, 3, 160, 96), (1, 3, 64, 513)])
def test_every_size(shape: tuple[int, int, int, int]) -> None:
    torch.manual_seed(0)
    compare(small("D"), 60 * torch.randn(shape))


@needs_bf16
def test_the_same_to_the_bit_where_the_arithmetic_is() -> None:
    """Without batch normalisation the convolutions are the very ones of autocast; only where one rounds may differ."""
    torch.manual_seed(0)
    model, images = small("D"), 60 * torch.randn(4, 3, 96, 96)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            plain = model.forward_features(images.bfloat16())
        quick = FastVGG(model).forward_features(images.bfloat16())
    assert F.cosine_similarity(quick.float().flatten(), plain.float().flatten(), 0) > 0.9999


@needs_bf16
def test_padded_batch() -> None:
    """Through the masking hooks an image in a padded batch gives what it gives alone."""
    torch.manual_seed(0)
    quick = FastVGG(small("D"))
    sizes = [(96, 128), (128, 80), (70, 100)]
    images = [60 * torch.randn(1, 3, *size).bfloat16() for size in sizes]
    batch = torch.zeros(3, 3, 128, 128, dtype=torch.bfloat16)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[2], : image.shape[3]] = image[0]
    with torch.inference_mode():
        with padding_kept_zero(quick, sizes, CPU):
            maps = quick(batch.to(memory_format=torch.channels_last))
        for (height, width), image, own in zip(sizes, images, maps, strict=True):
            alone = quick(image)[0]
            together = own[:, : height // 32 - 1, : width // 32 - 1]
            assert (together - alone).abs().max() <= 0.02 * alone.abs().max()
    assert not is_hooked(quick)


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (14, 9), (1, 4)])
def test_halving_is_max_pooling(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 7, *size).relu().bfloat16().contiguous(memory_format=torch.channels_last)
    x[0, 0, 0, 0] = torch.inf
    x[1, 1, 0, 0] = -0.0
    if min(size) < 2:
        assert halve(x).numel() == 0
    else:
        assert torch.equal(halve(x), F.max_pool2d(x, 2))


@needs_bf16
def test_the_model_is_left_as_it_was() -> None:
    model = small("D", batch_norm=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with ready_to_score(model, "cpu", "bf16") as scorer:
        assert isinstance(scorer.model, FastVGG)
        assert not scorer.model.train().training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype


@pytest.mark.usefixtures("nothing_noted")
def test_why_there_is_no_fast_path(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: False)
    model = small("A")
    assert type(fast_inference(model, CPU, "fp32")) is FoldedVGG
    assert type(fast_inference(model, CPU, "bf16")) is EagerVGG
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "inference in bf16 runs without the fast path: this CPU has no bf16 instructions (AVX512_BF16 or AMX)"
    ]  # said once


def test_a_changed_weight_is_seen_by_the_next_copy() -> None:
    if not cpu_has_bf16():
        pytest.skip("this CPU has no bf16 instructions")
    model, images = small("A"), 60 * torch.randn(1, 3, 64, 64)
    with torch.no_grad(), evaluating(model):
        model.fc8.bias += 5000
        assert float(fast_inference(model, CPU, "bf16")(images).float().min()) > 2000


@needs_bf16
def test_evaluation_agrees(class_folders: Callable[..., Path]) -> None:
    """Posteriors of the test protocol from files, fast against fp32; dense views go through masked batches."""
    split = open_data(str(class_folders(side=80, val=5))).val
    assert split is not None
    model = small("B")
    with torch.no_grad():
        model.fc8.weight *= 0.02
    views = [View("center", 73), View("dense", 80), View("ten", 73)]
    exact = score(model, split, views, Computing(precision="fp32")).values
    quick = score(model, split, views, Computing(precision="bf16")).values
    for view in views:
        assert np.abs(exact[view] - quick[view]).max() < 0.05
