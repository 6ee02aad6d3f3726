"""Say what is unusual about a machine, with what to do about it."""

from collections.abc import Iterator

from vggnet.checkup.facts import Facts

GIGABYTE = 1_000_000_000
LEAST_FREE_BYTES = 2 * GIGABYTE  # a run of net D at full width holds three files of 0.55 GB, and its state 1.1 GB
LEAST_MEMORY_BYTES = 2 * GIGABYTE
LEAST_FILES = 512


def findings(facts: Facts) -> list[str]:
    """Return a sentence for each fact that explains slowness or failures."""
    return [*_of_arithmetic(facts), *_of_room(facts), *_of_settings(facts)]


def _of_arithmetic(facts: Facts) -> Iterator[str]:
    devices, precision, processor = facts["devices"], facts["precision"], facts["processor"]
    if devices["driver"] and not devices["GPUs"]:
        without = "this PyTorch is built without CUDA" if devices["CUDA of PyTorch"] is None else "PyTorch finds no GPU"
        yield f"there is a driver for NVIDIA GPUs, and {without}: install a PyTorch that fits the driver"
    if precision["device"] == "cpu" and not precision["bf16 in hardware"]:
        yield "this CPU has no bf16 arithmetic: nets run in fp32, and int8 " + (
            "works" if precision["int8"] else "does not work here"
        )
    load, usable = processor["load average"], processor["cores of this process"]
    if load and usable and load[0] > usable:
        yield f"the load average is {load[0]} on {usable} cores: other programs make this one slow"
    if usable and processor["threads of PyTorch"] < usable and precision["device"] == "cpu":
        yield f"PyTorch uses {processor['threads of PyTorch']} of {usable} cores (OMP_NUM_THREADS, `threads`)"


def _of_room(facts: Facts) -> Iterator[str]:
    if facts["memory"]["free for this process"] < LEAST_MEMORY_BYTES:
        yield "less than 2 GB of memory are free for this process: use a small `micro_batch` and few `workers`"
    for place, disk in facts["disk"].items():
        if not disk["writable"]:
            yield f"{place} cannot be written to: name another folder (`out`, $VGGNET_CACHE, $TMPDIR)"
        elif disk["free"] < LEAST_FREE_BYTES:
            yield f"{place} has {disk['free'] / GIGABYTE:.1f} GB of free space: a training of net D writes 2.7 GB"


def _of_settings(facts: Facts) -> Iterator[str]:
    files = facts["limits"].get("open files")
    if files is not None and files < LEAST_FILES:
        yield f"{files} files may be open at once: with many `workers` raise the limit (ulimit -n 4096)"
    if facts["limits"].get("file size") is not None:
        yield f"no file may be larger than {facts['limits']['file size']:,} bytes (ulimit -f): weights may not fit"
    missing = [name for name, version in facts["versions"].items() if version is None]
    if missing:
        yield f"{', '.join(missing)} is not installed as a package: install vggnet again"
