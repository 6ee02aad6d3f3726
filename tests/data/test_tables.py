"""Images in parquet files and in Hugging Face's Arrow files: the same bytes and labels; a message for each fault."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.cli import run
from vggnet.data.image_files import content_of
from vggnet.data.opening import open_data
from vggnet.errors import BadImage, UserError
from vggnet.images.decoding import decode
from vggnet.images.packing import pack

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("datasets")
CLASSES = ["ash", "birch", "cedar"]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (36, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def table(rows: int, seed: int = 0):
    """A set of images as `datasets` makes it, and their bytes."""
    pictures = [picture(seed + i) for i in range(rows)]
    features = datasets.Features({"label": datasets.ClassLabel(names=CLASSES), "image": datasets.Image()})
    images = [{"bytes": each, "path": f"{i}.jpg"} for i, each in enumerate(pictures)]
    labels = [i % 3 for i in range(rows)]
    return datasets.Dataset.from_dict({"label": labels, "image": images}, features=features), pictures


@pytest.fixture
def hub(tmp_path: Path):
    """A folder as on the hub, with two files of training images; the bytes of both parts."""
    root = tmp_path / "hub" / "data"
    root.mkdir(parents=True)
    train, pictures = table(12)
    val, others = table(6, 100)
    train.select(range(7)).to_parquet(root / "train-00000-of-00002.parquet", batch_size=3)
    train.select(range(7, 12)).to_parquet(root / "train-00001-of-00002.parquet", batch_size=3)
    val.to_parquet(root / "validation-00000-of-00001.parquet", batch_size=3)
    return root.parent, pictures, others


def contents(split) -> list[bytes]:
    return [content_of(split.file(index)) for index in range(len(split))]


def test_parquet_files_of_the_hub(hub):
    root, pictures, others = hub
    data = open_data(str(root))
    assert (data.classes, data.divided) == (("ash", "birch", "cedar"), False)
    assert contents(data.train) == pictures
    assert contents(data.val) == others
    assert data.train.labels.tolist() == [i % 3 for i in range(12)]
    assert data.train.files[8] == "train-00001-of-00002/train/00000001-8.jpg"
    order = np.random.default_rng(0).permutation(12)
    assert contents(data.train.subset(order)) == [pictures[i] for i in order]
    assert np.asarray(decode(data.val.file(3))).shape == (36, 40, 3)


def test_arrow_files_are_read_in_place(tmp_path):
    train, pictures = table(9)
    val, others = table(4, 50)
    datasets.DatasetDict({"train": train, "test": val}).save_to_disk(tmp_path / "saved")
    data = open_data(str(tmp_path / "saved"))
    assert contents(data.train) == pictures
    assert contents(data.val) == others
    assert data.train.members.archives[0].kind == "plain"
    train.save_to_disk(tmp_path / "one")
    one = open_data(str(tmp_path / "one"))
    assert one.divided
    assert sorted(contents(one.train) + contents(one.val)) == sorted(pictures)


def test_a_set_of_the_hub_by_name(tmp_path, monkeypatch):
    train, pictures = table(9)
    datasets.DatasetDict({"train": train}).save_to_disk(tmp_path / "saved")
    loaded = datasets.load_from_disk(tmp_path / "saved")
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded if name == "someone/trees" else 1 / 0)
    data = open_data("hf:someone/trees", whole=True)
    assert (data.name, data.classes, data.val.root) == ("trees", ("ash", "birch", "cedar"), "someone/trees")
    assert contents(data.val) == pictures
    with pytest.raises(UserError, match=r"hf:someone/else: could not be loaded \(division by zero\)"):
        open_data("hf:someone/else")


def test_a_parquet_file_trains_evaluates_and_is_packed(hub, tmp_path, capsys):
    root, pictures, _ = hub
    small = ["--net", "A", "--crop", "32", "--width", "0.03", "--epochs", "1", "--device", "cpu", "--workers", "1"]
    assert run(["train", str(root), "--out", str(tmp_path / "run"), *small]) == 0
    assert run(["evaluate", str(tmp_path / "run"), str(root), "--views", "dense"]) == 0
    capsys.readouterr()
    data = open_data(str(root))
    pack(data, tmp_path / "pack")
    assert contents(open_data(str(tmp_path / "pack")).train) == pictures


def test_a_table_of_bytes_without_metadata_and_large_row_groups(tmp_path):
    pictures = [picture(i) for i in range(12)]
    columns = {"jpg": pa.array(pictures, pa.binary()), "cls": pa.array([i % 11 for i in range(12)])}
    parquet.write_table(pa.table(columns), tmp_path / "photos.parquet")
    data = open_data(str(tmp_path / "photos.parquet"), whole=True)
    assert data.classes == tuple(f"{i:02d}" for i in range(11))
    assert contents(data.val) == pictures
    assert any("12 images are read to use one, which is slow in random order" in note for note in data.notes)


def test_faulty_tables_have_a_message(tmp_path):
    path = tmp_path / "photos.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"photos.parquet: damaged, or no table of images"):
        open_data(str(path))
    parquet.write_table(pa.table({"text": ["a", "b"]}), path)
    with pytest.raises(UserError, match="no column of image files"):
        open_data(str(path))
    column = pa.array([{"bytes": None, "path": "a.jpg"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    parquet.write_table(pa.table({"image": column}), path)
    with pytest.raises(UserError, match="1 rows hold no bytes of an image"):
        open_data(str(path))
    parquet.write_table(pa.table({"image": pa.array([b"no image", b""])}), path)
    split = open_data(str(path), whole=True).val
    with pytest.raises(BadImage, match="not an image of a known format"):
        decode(split.file(0))
    with pytest.raises(BadImage, match="0 bytes: the file is empty"):
        decode(split.file(1))
    path.unlink()
    with pytest.raises(BadImage, match="missing"):
        decode(split.file(0))
