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

from vggnet.network.kernels import available, elementwise, reference

HERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 130), st.integers(2, 9), st.integers(2, 9))


def drawn(shape: tuple[int, ...], seed: int, dtype: torch.dtype, *, coarse: bool = False) -> Tensor:
    """Normal values on the device, in channels_last; `coarse` ones have many equals and zeros among them."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    values = (2 * values).round() / 2 if coarse else values
    return values.to(HERE, dtype).contiguous(memory_format=torch.channels_last)


def same(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == other.dtype
        last_bit = 2**-7 if one.dtype == torch.bfloat16 else 1e-5  # the interpreter cuts bf16 off, GPUs round
        torch.testing.assert_close(one, other, rtol=last_bit, atol=1e-5, equal_nan=True)


@settings(max_examples=15, deadline=None)
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
    assert choice.item() == 2


def test_kernels_are_usable_here() -> None:
    assert available.why_not(HERE) is None


def test_a_kernel_that_gives_other_values_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(gradient: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        masked, of_bias = reference.relu_backward(gradient, output)
        return masked, 1.01 * of_bias

    monkeypatch.setattr(elementwise, "relu_backward", broken)
    assert available.why_not(HERE) == "the kernel of the backward pass of the ReLU gives other values than PyTorch here"


def test_a_kernel_that_does_not_compile_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such target\nand more")

    monkeypatch.setattr(elementwise, "pool_bias_relu", refuse)
    assert available.why_not(HERE) == "no such target"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert available.why_not(HERE) == "Triton is not installed"


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vggnet.network.kernels import elementwise

tile = {"pixels_": 64, "channels_": 64}
sizes = dict.fromkeys(("count", "channels", "height", "width"), "i32")
map, byte, sums = "*bf16", "*u8", "*fp32"
for capability in (80, 90):
    for kernel, tensors, more in (
        ("_pool_bias_relu", {"map": map, "bias": sums, "pooled": map, "choice": byte}, {"chosen": True}),
        ("_pool_bias_relu", {"map": map, "bias": sums, "pooled": map, "choice": map}, {"chosen": False}),
        ("_pool_backward", {"gradient": map, "choice": byte, "spread": map, "sums": sums}, {"tiles": 8}),
        ("_relu_backward", {"gradient": map, "output": map, "masked": map, "sums": sums}, {"tiles": 8}),
    ):
        function = getattr(elementwise, kernel)
        signature = {name: (tensors | sizes).get(name, "constexpr") for name in function.arg_names}
        aligned = [place for place, name in enumerate(signature) if name in (*tensors, "channels")]
        attributes = {(place,): [["tt.divisibility", 16]] for place in aligned}
        source = ASTSource(function, signature, tile | more, attributes)
        code = triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["ptx"]
        assert "ld.global.v4" in code and "st.global.v4" in code, kernel  # 16 bytes at a time
"""


def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    (tmp_path / "compile.py").write_text(COMPILE)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "compile.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
