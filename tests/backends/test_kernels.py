"""The Triton kernels against their definition, and the definition against PyTorch's autograd.

Without a GPU they run in Triton's interpreter; that they compile for GPUs is tested without one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from vggnet.backends.kernels import available, elementwise, first_layer, reference

HERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 130), st.integers(2, 7), st.integers(2, 7))


def drawn(shape: tuple[int, ...], seed: int, dtype: torch.dtype, *, coarse: bool = False) -> Tensor:
    """Normal values on the device, in channels_last; `coarse` ones have many equals and zeros among them."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    values = (2 * values).round() / 2 if coarse else values
    return values.to(HERE, dtype).contiguous(memory_format=torch.channels_last)


def same(found: tuple[Tensor, ...], exact: tuple[Tensor, ...], *, sums: bool = False) -> None:
    """The same values to the last bit of bf16; `sums` of many products may cancel out, so theirs is of the largest."""
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == other.dtype
        last_bit = 2**-7 if one.dtype == torch.bfloat16 else 1e-5  # the interpreter cuts bf16 off, GPUs round
        near_zero = last_bit * float(other.float().abs().max()) if sums else 1e-5
        torch.testing.assert_close(one, other, rtol=last_bit, atol=near_zero, equal_nan=True)


@settings(max_examples=10, deadline=None)
@given(SHAPES, st.integers(0, 99), st.booleans(), st.sampled_from([torch.bfloat16, torch.float32]))
def test_kernels_compute_their_definition(
    shape: tuple[int, int, int, int], seed: int, coarse: bool, dtype: torch.dtype
) -> None:
    map, bias = drawn(shape, seed, dtype, coarse=coarse), drawn((shape[1], 1, 1, 1), seed, torch.float32).flatten()
    pooled, choice = reference.pool_bias_relu(map, bias)
    same(elementwise.pool_bias_relu(map, bias), (pooled, choice))
    gradient = drawn(tuple(pooled.shape), seed + 1, dtype)
    size = shape[2:]
    same(elementwise.pool_backward(gradient, choice, *size), reference.pool_backward(gradient, choice, *size))
    other = drawn(shape, seed + 2, dtype)
    same(elementwise.relu_backward(other, map), reference.relu_backward(other, map))
    positive = map.relu()
    same((elementwise.pool(positive),), (F.max_pool2d(positive, 2),))


@settings(max_examples=10, deadline=None)
@given(SHAPES, st.sampled_from([3, 5]), st.booleans(), st.booleans(), st.sampled_from([torch.bfloat16, torch.float32]))
def test_the_first_layers_kernels_compute_their_definition(
    shape: tuple[int, int, int, int], kernel: int, with_bias: bool, by_channel: bool, dtype: torch.dtype
) -> None:
    count, channels, height, width = shape
    images = drawn((count, 3, height, width), 0, torch.bfloat16).float()  # bf16 has them exactly
    images = images.contiguous() if by_channel else images
    weight = drawn((channels, 3, kernel, kernel), 1, dtype)
    bias = drawn((channels, 1, 1, 1), 2, torch.float32).flatten() if with_bias else None
    output = reference.image_convolution(images, weight, bias)
    same((first_layer.convolution(images, weight, bias),), (output,), sums=True)
    gradient = drawn(shape, 3, dtype)
    exact = reference.image_convolution_backward(gradient, images, weight, bias)
    same(first_layer.convolution_backward(gradient, images, weight, bias), exact, sums=True)


def test_the_first_layer_takes_images_that_lie_anywhere() -> None:
    draw = torch.Generator().manual_seed(0)
    wide = torch.randn(4, 12, 16, 3, generator=draw).bfloat16().float().to(HERE)
    images = wide[::2, 2:9, ::2].permute(0, 3, 1, 2)  # every other image and column
    weight, bias = drawn((16, 3, 3, 3), 1, torch.float32), torch.zeros(16, device=HERE)
    output = reference.image_convolution(images, weight, bias)
    same((first_layer.convolution(images, weight, bias),), (output,), sums=True)
    exact = reference.image_convolution_backward(output, images, weight, bias)
    same(first_layer.convolution_backward(output, images, weight, bias), exact, sums=True)


def test_sums_over_many_programs_and_tiles() -> None:
    images, gradient = drawn((2, 3, 40, 40), 0, torch.float32), drawn((2, 16, 40, 40), 1, torch.float32)
    weight = drawn((16, 3, 3, 3), 2, torch.float32)
    exact = reference.image_convolution_backward(gradient, images, weight, None)
    for programs in (1, 3, 1024):  # 25, 9 and 1 tiles for each
        many = {"programs": programs, "patches": first_layer.PATCHES}
        same(first_layer.convolution_backward(gradient, images, weight, None, **many), exact, sums=True)


def test_the_first_layers_definition_is_what_autograd_gives() -> None:
    images = drawn((2, 3, 6, 7), 0, torch.float32)
    weight, bias = drawn((5, 3, 3, 3), 1, torch.float32), drawn((5, 1, 1, 1), 2, torch.float32).flatten()
    for tensor in (weight, bias):
        tensor.requires_grad_()
    output = F.relu(F.conv2d(images, weight, bias, padding=1))
    torch.testing.assert_close(reference.image_convolution(images, weight, bias), output, rtol=1e-5, atol=1e-5)
    gradient = drawn(tuple(output.shape), 3, torch.float32)
    output.backward(gradient)
    found = reference.image_convolution_backward(gradient, images, weight.detach(), bias.detach())
    same(found, (weight.grad, bias.grad), sums=True)  # type: ignore[arg-type]


def test_the_definition_is_what_autograd_gives() -> None:
    map, bias = drawn((2, 5, 6, 7), 0, torch.float32).requires_grad_(), drawn((5, 1, 1, 1), 1, torch.float32).flatten()
    bias.requires_grad_()
    output = F.relu(F.max_pool2d(map, 2) + bias[:, None, None])
    found, choice = reference.pool_bias_relu(map.detach(), bias.detach())
    torch.testing.assert_close(found, output)
    gradient = drawn(tuple(output.shape), 2, torch.float32)
    output.backward(gradient)
    same(reference.pool_backward(gradient, choice, 6, 7), (map.grad, bias.grad))  # type: ignore[arg-type]

    map.grad = bias.grad = None
    output = F.relu(map + bias[:, None, None])
    gradient = drawn(tuple(output.shape), 3, torch.float32)
    output.backward(gradient)
    same(reference.relu_backward(gradient, output.detach()), (map.grad, bias.grad))  # type: ignore[arg-type]


def test_one_window_by_hand() -> None:
    map = torch.tensor([[1.0, 3.0], [3.0, 2.0]], device=HERE).expand(1, 3, 2, 2)
    bias = torch.tensor([0.5, -3.0, -4.0], device=HERE)
    pooled, choice = elementwise.pool_bias_relu(map, bias)
    assert pooled.flatten().tolist() == [3.5, 0, 0]
    assert choice.flatten().tolist() == [1, reference.OFF, reference.OFF]  # the first of two equals; zero is off
    spread, of_bias = elementwise.pool_backward(torch.full_like(pooled, 7), choice, 2, 2)
    assert spread[0].flatten(1).tolist() == [[0, 7, 0, 0], [0] * 4, [0] * 4]
    assert of_bias.tolist() == [7, 0, 0]


def test_what_is_not_a_number_stays_so() -> None:
    map = torch.zeros(1, 1, 2, 2, device=HERE)
    map[0, 0, 1, 0] = float("nan")
    map[0, 0, 1, 1] = float("inf")
    pooled, choice = elementwise.pool_bias_relu(map, torch.zeros(1, device=HERE))
    assert pooled.isnan().all()
    assert choice.item() != reference.OFF


def test_kernels_are_usable_here() -> None:
    assert available.kernels_unavailable(HERE) is None


def test_a_kernel_that_gives_other_values_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(gradient: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        masked, of_bias = reference.relu_backward(gradient, output)
        return masked, 1.01 * of_bias

    monkeypatch.setattr(elementwise, "relu_backward", broken)
    assert (
        available.kernels_unavailable(HERE)
        == "the kernel of the backward pass of the ReLU gives other values than PyTorch here"
    )


def test_a_kernel_that_does_not_compile_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such target\nand more")

    monkeypatch.setattr(elementwise, "pool_bias_relu", refuse)
    assert available.kernels_unavailable(HERE) == "no such target"
    monkeypatch.setitem(sys.modules, "triton", None)
    assert available.kernels_unavailable(HERE) == "Triton is not installed"


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vggnet.backends.kernels import elementwise, first_layer

sizes = dict.fromkeys(("count", "channels", "height", "width", "tiles"), "i32")
sizes |= dict.fromkeys(("to_image", "to_channel", "to_row", "to_column"), "i32")
map, byte, sums, image = "*bf16", "*u8", "*fp32", "*fp32"
tile = {"pixels_": 64, "channels_": 64}
several = tile | {"tiles": 8}
first = {"channels_": 64, "activated": True, "interpreted": False}
small, large = first | {"kernel": 3, "taps_": 32, "pixels_": 128}, first | {"kernel": 5, "taps_": 128, "pixels_": 32}
pooling = {"activation": map, "bias": sums, "pooled": map}
maps = {"gradient": map, "images": image, "weight": map, "bias": sums, "sums": sums}
KERNELS = (
    (elementwise.pool_bias_relu_kernel, pooling | {"choice": byte}, tile | {"chosen": True}),
    (elementwise.pool_bias_relu_kernel, pooling | {"choice": map}, tile | {"chosen": False}),
    (elementwise.pool_backward_kernel, {"gradient": map, "choice": byte, "spread": map, "sums": sums}, several),
    (elementwise.relu_backward_kernel, {"gradient": map, "output": map, "masked": map, "sums": sums}, several),
    (first_layer.forward_kernel, {"images": image, "weight": map, "bias": sums, "output": map}, small),
    (first_layer.forward_kernel, {"images": image, "weight": map, "bias": sums, "output": map}, large),
    (first_layer.backward_kernel, maps, small),
    (first_layer.backward_kernel, maps, large),
)
for capability in [int(each) for each in sys.argv[1:]]:
    for function, tensors, fixed in KERNELS:
        signature = {name: "constexpr" if name in fixed else (tensors | sizes)[name] for name in function.arg_names}
        aligned = [place for place, name in enumerate(signature) if name in (*tensors, "channels")]
        attributes = {(place,): [["tt.divisibility", 16]] for place in aligned}
        source = ASTSource(function, signature, fixed, attributes)
        built = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        code = built.asm["ptx"]
        assert built.metadata.shared <= 99 * 1024 or capability == 90, function  # what a GPU of capability 8.6 has
        assert built.metadata.shared <= 113 * 1024, function  # two programs beside each other on an H100
        if function is first_layer.backward_kernel:
            assert "cp.async.cg.shared.global" in code, function  # 16 bytes at a time, ahead of their use
        else:
            assert "ld.global.v4" in code and "st.global.v4" in code, function  # 16 bytes at a time
        if function in (first_layer.forward_kernel, first_layer.backward_kernel):
            assert "mma" in code, function  # by tensor cores
"""


@pytest.mark.parametrize("capability", ["90", pytest.param("80", marks=pytest.mark.slow)])
def test_kernels_compile_for_gpus(tmp_path: Path, capability: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    (tmp_path / "compile.py").write_text(COMPILE)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "compile.py"), capability],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
