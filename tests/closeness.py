"""Compare tensors by a tolerance relative to the largest value."""

import torch


def assert_close_to_largest(found: torch.Tensor, expected: torch.Tensor, relative: float = 1e-5) -> None:
    """Raise AssertionError where a value differs by more than `relative` times the largest expected magnitude.

    A sum of large terms can be near zero: its rounding error is relative to the terms, not to the sum.
    """
    torch.testing.assert_close(found, expected, rtol=0, atol=relative * float(expected.detach().abs().max()))
