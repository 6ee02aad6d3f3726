"""Measure before a training starts how long its arithmetic will take."""

import time

import torch

from vggnet.network.vgg import VGG
from vggnet.training.tasks import LoopSettings


def seconds_per_image(model: VGG, settings: LoopSettings, device: torch.device) -> float:
    """Time one micro-batch forward and backward; weights, running averages and gradients are left as they were."""
    crop = model.architecture.crop_px
    images = torch.rand(settings.micro_batch, 3, crop, crop, device=device).to(memory_format=torch.channels_last)
    was_training = model.training
    model.eval()
    clock: list[float] = []
    for _ in range(2):  # the first pass warms up
        begin = time.monotonic()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16"):
            outputs = model(images)
        outputs.float().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        clock.append(time.monotonic() - begin)
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    return clock[-1] / settings.micro_batch
