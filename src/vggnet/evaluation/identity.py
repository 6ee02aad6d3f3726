"""Hash what a PyTorch module computes: under this hash its posteriors are stored.

The hash covers the weights and buffers, the modules inside with their settings, and their code: of an installed package
its name and version, of other code the files of the package (or the functions' bytecode where there is no file, as in a
notebook). What a forward pass reads beside these, such as an environment variable, is not covered.
"""

import hashlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

_INTERNAL = frozenset(vars(nn.Module())) | {"training"}
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.Size)


def module_hash(module: nn.Module, facts: Sequence[object]) -> str:
    """Return the SHA-256 of a module's weights, structure and code, and of `facts`, by their texts."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(f"{fact!r}\n".encode())
    for name, tensor in _tensors(module):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    kinds: dict[type, None] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        kinds[type(child)] = None
        digest.update(f"{name} {_name(type(child))} {child.extra_repr()} {sorted(_settings(child))}\n".encode())
    codes = {_code(each) for kind in kinds for each in kind.__mro__ if each not in (nn.Module, object)}
    digest.update("\n".join(sorted(codes)).encode())
    return digest.hexdigest()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all parameters and buffers by name, those that no state dict holds included."""
    yield from sorted(module.named_parameters(remove_duplicate=False))
    yield from sorted(module.named_buffers(remove_duplicate=False))


def _bytes(tensor: Tensor) -> bytes:
    """Return a tensor's values as bytes."""
    plain = tensor.detach().cpu()
    if plain.is_quantized:
        plain = torch.cat([plain.dequantize().reshape(-1), plain.int_repr().float().reshape(-1)])
    flat = plain.resolve_conj().resolve_neg().to_dense() if plain.layout != torch.strided else plain.resolve_conj()
    return flat.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _settings(module: nn.Module) -> Iterator[str]:
    """Yield the plain attributes of a module, such as a stride, a threshold or a function."""
    for name, value in vars(module).items():
        if name in _INTERNAL:
            continue
        if isinstance(value, _PLAIN) or (
            isinstance(value, (tuple, list)) and all(isinstance(v, _PLAIN) for v in value)
        ):
            yield f"{name}={value!r}"
        elif isinstance(code := getattr(value, "__code__", None), CodeType):
            yield f"{name}={_bytecode(code)}"
    yield f"code={getattr(module, 'code', '')!s}"  # of torch.fx and TorchScript


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _code(kind: type) -> str:
    """Return what the code of a class is known by: a package's version, a hash of files, or its functions' bytecode."""
    root = kind.__module__.partition(".")[0]
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is not None and _INSTALLED & set(Path(file).parts):
        return f"{root} {_version(root)}"
    if root in ("torch", "builtins") or kind.__module__ in sys.stdlib_module_names:
        return f"{root} {torch.__version__ if root == 'torch' else sys.version}"
    if root != "__main__" and file is not None and Path(file).is_file():
        return f"{root} {_files_hash(root)}"
    functions = sorted((name, value) for name, value in vars(kind).items() if inspect.isfunction(value))
    return f"{_name(kind)} {sys.version} " + " ".join(
        f"{name}={_bytecode(value.__code__)}" for name, value in functions
    )


@cache
def _version(root: str) -> str:
    """Return the versions of the installed packages that have the module `root`."""
    names = metadata.packages_distributions().get(root, [])
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names))) or "not known"


def _files_hash(root: str) -> str:
    """Return a hash of the source files of all imported modules of a package that is not installed."""
    digest = hashlib.sha256()
    files = {
        name: Path(file)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == root and (file := getattr(module, "__file__", None))
    }
    for name, path in sorted(files.items()):
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def _bytecode(code: CodeType) -> str:
    """Return a hash of a function's bytecode, its constants and names, and the functions within it."""
    digest = hashlib.sha256(code.co_code)
    for constant in code.co_consts:
        inner: Any = _bytecode(constant) if isinstance(constant, CodeType) else constant
        digest.update(repr(inner).encode())
    digest.update(repr((code.co_names, code.co_varnames)).encode())
    return digest.hexdigest()
