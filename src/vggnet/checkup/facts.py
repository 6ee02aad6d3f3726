"""Collect the facts about an installation and a machine that explain an error: versions, devices, memory, limits.

Nothing here names a person or a host: home folders become ~, and values of environment variables are listed only where
they change what vggnet or PyTorch does.
"""

import os
import platform
import shutil
import sys
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from PIL import features

import vggnet
from vggnet.backends.choose_inference import describe_inference
from vggnet.data.image_files import FORMATS
from vggnet.files import default_cache
from vggnet.hardware import choose_precision, cpu_has_bf16, free_on_gpu_bytes, scoring_workers, training_workers
from vggnet.images.gpu.decoding import nvjpeg_unavailable
from vggnet.images.sharing import start_method
from vggnet.provenance import cpu_name
from vggnet.training.host_memory import free_on_host_bytes

Facts = dict[str, dict[str, Any]]

REQUIRED = ("torchvision", "numpy", "pillow", "safetensors", "scipy", "scikit-learn", "pydantic", "tyro")
OPTIONAL = ("triton", "onnx", "onnxscript", "onnxruntime", "openvino", "h5py", "keras", "timm", "huggingface_hub")
VARIABLES = ("VGGNET_", "OMP_", "MKL_", "KMP_", "CUDA_", "NCCL_", "GLOO_", "TORCH", "PYTORCH_", "MALLOC_", "LD_PRELOAD")
LIMITS = {"open files": "NOFILE", "file size": "FSIZE", "processes": "NPROC", "address space": "AS"}


def collect(device: torch.device) -> Facts:
    """Return facts by subject: JSON values by name, sizes in bytes. `device` is where nets would run."""
    return {
        "versions": _versions(),
        "processor": _processor(),
        "devices": _devices(),
        "precision": _precision(device),
        "decoding": _decoding(device),
        "memory": _memory(),
        "disk": {_short(path): _disk(path) for path in (Path.cwd(), default_cache(), Path(tempfile.gettempdir()))},
        "limits": _limits(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(VARIABLES)},
    }


def _versions() -> dict[str, Any]:
    installed = {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}
    return {
        "vggnet": f"{vggnet.__version__} in {_short(Path(vggnet.__file__).parent)}",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "torch": torch.__version__,  # with its CUDA, unlike the package's version
        **{name: version for name, version in installed.items() if version is not None or name in REQUIRED},
        "not installed": [name for name in OPTIONAL if installed[name] is None],
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "name": cpu_name(),
        "cores": os.cpu_count(),
        "cores of this process": usable,
        "threads of PyTorch": torch.get_num_threads(),
        "load average": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "instructions": [
            name
            for name, there in (
                ("AVX2", torch.cpu._is_avx2_supported()),
                ("AVX-512", torch.cpu._is_avx512_supported()),
                ("VNNI", torch.cpu._is_vnni_supported()),
                ("AVX512_BF16", torch.cpu._is_avx512_bf16_supported()),
                ("AMX", torch.cpu._is_amx_tile_supported()),
            )
            if there
        ],
        "oneDNN": torch.backends.mkldnn.is_available(),
    }


def _devices() -> dict[str, Any]:
    found: dict[str, Any] = {"CUDA of PyTorch": torch.version.cuda, "GPUs": torch.cuda.device_count()}
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        found[f"cuda:{number}"] = {
            "name": properties.name,
            "compute capability": f"{properties.major}.{properties.minor}",
            "memory": properties.total_memory,
            "free": free_on_gpu_bytes(torch.device("cuda", number)),
        }
    if torch.cuda.is_available():
        found["cuDNN"] = torch.backends.cudnn.version()
    found["driver"] = Path("/dev/nvidiactl").exists()
    return found


def _precision(device: torch.device) -> dict[str, Any]:
    chosen = choose_precision("auto", device)
    return {
        "device": str(device),
        "auto": chosen,
        "inference": describe_inference(device, chosen),
        "bf16 in hardware": torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else cpu_has_bf16(),
        "int8": device.type == "cpu" and torch.cpu._is_vnni_supported(),
    }


def _decoding(device: torch.device) -> dict[str, Any]:
    codecs = {
        "JPEG": features.version("jpg"),
        "libjpeg-turbo": features.version("libjpeg_turbo"),
        "PNG (zlib)": features.version("zlib"),
        "WebP": features.version("webp"),
        "TIFF": features.version("libtiff"),
        "JPEG 2000": features.version("jpg_2000"),
    }
    return {
        **codecs,
        "formats": sorted(FORMATS),
        "GPU": (nvjpeg_unavailable(device) or "nvJPEG") if device.type == "cuda" else "no GPU",
        "processes": {
            "start by": start_method(),
            "training": training_workers(),
            "testing": scoring_workers(None, device),
        },
    }


def _memory() -> dict[str, Any]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    shared = Path("/dev/shm")
    return {
        "total": total,
        "free for this process": free_on_host_bytes(),
        "shared (/dev/shm)": _disk(shared) if shared.is_dir() else None,
    }


def _disk(path: Path) -> dict[str, Any]:
    """Return free and total bytes of the file system of `path` or of its nearest folder, and whether it is writable."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    usage = shutil.disk_usage(there)
    return {"free": usage.free, "total": usage.total, "writable": os.access(there, os.W_OK)}


def _limits() -> dict[str, Any]:
    """Return the soft limits of the process; None for one that is not set."""
    try:
        import resource  # not on Windows
    except ImportError:
        return {}
    found: dict[str, Any] = {}
    for name, suffix in LIMITS.items():
        with suppress(AttributeError, ValueError):
            soft = resource.getrlimit(getattr(resource, f"RLIMIT_{suffix}"))[0]
            found[name] = None if soft == resource.RLIM_INFINITY else soft
    found["recursion"] = sys.getrecursionlimit()
    return found


def _short(path: Path) -> str:
    """Return a path with the home folder as ~."""
    with suppress(ValueError, RuntimeError):
        return str(Path("~") / path.resolve().relative_to(Path.home().resolve()))
    return str(path)
