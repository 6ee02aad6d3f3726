"""The exchange of gradients: FC layers first, while the convolutions' are computed; bf16 by PyTorch's own hook."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from nets import random_net
from torch.nn.parallel import DistributedDataParallel

from vggnet.description import ModelDescription, Preprocessing
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Architecture
from vggnet.training.exchange import Exchange


@pytest.fixture
def one_rank() -> Iterator[None]:
    """A group of gloo with one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_fc_gradients_are_exchanged_before_the_convolutions_are_computed(
    one_rank: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Net A at a quarter of the width in buckets of 1 MB, which its FC layers fill as net D's fill those of 25 MB."""
    model = random_net("abc", width=0.25, crop=64)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    log: list[list[str]] = []
    real = Exchange.bucket_is_complete

    def complete(self: Exchange, bucket: Any) -> torch.futures.Future[torch.Tensor]:
        log.append([names[id(parameter)] for parameter in bucket.parameters()])
        return real(self, bucket)

    monkeypatch.setattr(Exchange, "bucket_is_complete", complete)
    module = DistributedDataParallel(model, gradient_as_bucket_view=True, bucket_cap_mb=1)
    exchange = Exchange(module, "fp32", torch.device("cpu"))
    for name in ("conv1_1", "conv5_1"):
        model.get_parameter(f"{name}.weight").register_post_accumulate_grad_hook(
            lambda _, name=name: log.append([f"computed {name}"])
        )
    images = torch.randn(2, 3, 64, 64)
    for _ in range(3):  # buckets are made anew after the first step, in the order in which gradients came
        log.clear()
        module(images).sum().backward()
        exchange.step_ended()
    layers = [[name.split(".")[0] for name in each] for each in log]
    first_convolution = layers.index(["computed conv5_1"])
    assert first_convolution >= 1
    exchanged = {name for each in log[:first_convolution] for name in each}
    assert {"fc6.weight", "fc7.weight", "fc8.weight"} <= exchanged
    assert not any(name.startswith("conv") for name in exchanged)
    assert layers.index(["computed conv1_1"]) >= len(layers) - 2  # the last bucket follows it
    assert exchange.waited_s() >= 0


def test_the_buckets_of_net_d_hold_each_fc_layer_alone() -> None:
    """By PyTorch's own rule and sizes, in the order in which gradients become complete."""
    with torch.device("meta"):
        model = VGG(ModelDescription(Architecture("D"), Preprocessing((0, 0, 0), (1, 1, 1)), ()))
    named = list(reversed(list(model.named_parameters())))
    limits = [dist._DEFAULT_FIRST_BUCKET_BYTES, 25 * 2**20]
    tensors = [torch.empty(1).expand(each.shape) for _, each in named]
    places, _ = dist._compute_bucket_assignment_by_size(tensors, limits)
    layers = [sorted({named[place][0].split(".")[0] for place in bucket}) for bucket in places]
    assert layers[:3] == [["fc8"], ["fc7"], ["fc6"]]


def test_bf16_rounds_the_gradients_to_bf16(one_rank: None) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    found = {}
    for number_format in ("fp32", "bf16"):
        model = random_net("abc")
        module = DistributedDataParallel(model)
        Exchange(module, number_format, torch.device("cpu"))  # type: ignore[arg-type]
        module.eval()(images).square().sum().backward()
        found[number_format] = {name: each.grad for name, each in model.named_parameters()}
    for name, exact in found["fp32"].items():
        assert torch.equal(found["bf16"][name], exact.bfloat16().float()), name
    assert any(not torch.equal(found["bf16"][name], exact) for name, exact in found["fp32"].items())
