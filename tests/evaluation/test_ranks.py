"""Several ranks share the images of an evaluation: each image is counted once, and each rank has the whole result."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import random_net, save_random_net

from vggnet.data.splits import Split
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import CPU, Computing
from vggnet.evaluation.ranks import Ranks
from vggnet.evaluation.scoring import Scores, score
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.network.weights import load_model

PRIME = 13


@dataclass
class Thread:
    """A rank that is a thread of this process."""

    rank: int
    size: int
    values: list[Any]
    barrier: threading.Barrier
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, indices: np.ndarray) -> np.ndarray:
        return indices[self.rank :: self.size]

    def gathered(self, value: Any) -> list[Any]:
        self.values[self.rank] = value
        self.barrier.wait(60)
        found = list(self.values)
        self.barrier.wait(60)
        return found

    def spread(self, make: Callable[[], Any]) -> Any:
        return self.gathered(make() if self.is_first else None)[0]


def on_ranks(size: int, act: Callable[[Ranks], Any]) -> list[Any]:
    """What `act` returns, or the UserError that it raises, on each of `size` ranks."""
    values, barrier = [None] * size, threading.Barrier(size)

    def run(rank: int) -> Any:
        try:
            return act(Thread(rank, size, values, barrier))
        except UserError as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size), timeout=120))


@pytest.fixture
def prime(split: Split) -> Split:
    return split.subset(np.arange(PRIME))


VIEWS = [View("center", 40), View("dense", 36, True)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_image_is_scored_once_and_all_ranks_have_all_scores(prime: Split, size: int) -> None:
    """13 images, on 3 ranks 5, 4 and 4; in the order of the split."""
    seen: list[int] = []

    def act(ranks: Ranks) -> Scores:
        return score(
            random_net("abcd").eval(),
            prime,
            VIEWS,
            Computing(ranks=ranks),
            on_progress=lambda done, total: seen.append(done),
        )

    alone = score(random_net("abcd").eval(), prime, VIEWS)
    results = on_ranks(size, act)
    assert len(seen) == PRIME
    assert max(seen) == PRIME
    for result in results:
        assert result.indices.tolist() == list(range(PRIME))
        for view in VIEWS:
            np.testing.assert_allclose(result.values[view], alone.values[view], rtol=1e-4, atol=1e-6)


def test_a_bad_image_of_one_rank_is_raised_or_listed_on_all(prime: Split) -> None:
    Path(prime.path(4)).write_bytes(b"")

    def act(bad_images: str) -> Callable[[Ranks], Scores]:
        computing = {"bad_images": bad_images}
        return lambda ranks: score(random_net("abcd").eval(), prime, VIEWS[:1], Computing(**computing, ranks=ranks))  # type: ignore[arg-type]

    for error in on_ranks(2, act("stop")):
        assert isinstance(error, BadImage)
        assert error.path == prime.path(4)
    for result in on_ranks(3, act("skip")):
        assert [bad.path for bad in result.bad] == [prime.path(4)]
        assert result.indices.tolist() == [index for index in range(PRIME) if index != 4]


def test_ranks_with_other_images_are_named(prime: Split) -> None:
    def act(ranks: Thread) -> Scores:
        own = prime if ranks.rank == 0 else prime.subset(np.arange(PRIME)[::-1])
        return score(random_net("abcd").eval(), own, VIEWS[:1], Computing(ranks=ranks))

    for error in on_ranks(2, act):  # type: ignore[arg-type]
        assert "rank 1 has other images than rank 0" in str(error)


def test_the_first_rank_stores_the_values_of_all_and_all_read_them(prime: Split, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_random_net(path, "abcd")

    def act(ranks: Ranks) -> tuple[np.ndarray, np.ndarray]:
        model = load_model(path)
        store = Store.of(path, model.description, prime, Computing(ranks=ranks))
        assert store.fill(VIEWS, model=model) == []
        assert store.fill(VIEWS, model=model) == []  # nothing is missing any more
        return store.read(VIEWS[0])

    for values, present in on_ranks(3, act):
        assert present.all()
        np.testing.assert_allclose(values.sum(1), 1, rtol=1e-5)
    shards = list(Store.of(path, load_model(path).description, prime, Computing()).place(VIEWS[0]).glob("0*"))
    assert len(shards) == 1
