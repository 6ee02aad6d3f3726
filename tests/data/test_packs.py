"""Packs: the images of the original data, in its order, with its labels and boxes; and a stream for WebDataset."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.data.fingerprints import fingerprint
from vggnet.data.image_files import content_of
from vggnet.data.opening import open_data
from vggnet.data.packs import DESCRIPTION
from vggnet.errors import UserError
from vggnet.images.decoding import decode
from vggnet.images.geometry import rescale
from vggnet.images.packing import pack


@pytest.fixture
def folder(class_folders) -> Path:
    """Class folders with a box on some images."""
    root = class_folders(classes=3, train=6, val=3)
    rows = [(f"train/class{label}/1.jpg", f"class{label}", 2, 4, 20, 30) for label in range(3)]
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "class", "xmin", "ymin", "xmax", "ymax"), *rows])
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pack_holds_the_files_labels_and_boxes_of_the_data(folder, tmp_path, workers):
    loose = open_data(str(folder))
    made = pack(loose, tmp_path / "pack", shard_mb=0, workers=workers)
    packed = open_data(str(tmp_path / "pack"))
    assert made.images == {"train": 18, "val": 9}
    assert made.shards == 27  # each image begins another one at 0 MB
    assert (packed.classes, packed.divided) == (loose.classes, False)
    for one, other in ((packed.train, loose.train), (packed.val, loose.val)):
        assert fingerprint(one, packed.classes) == fingerprint(other, loose.classes)
        assert [content_of(one.file(i)) for i in range(len(one))] == [
            content_of(other.file(i)) for i in range(len(other))
        ]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its own
def test_webdataset_reads_the_shards_of_a_pack(folder, tmp_path):
    wds = pytest.importorskip("webdataset")
    loose = open_data(str(folder))
    pack(loose, tmp_path / "pack")
    shards = [str(path) for path in sorted((tmp_path / "pack").glob("train-*.tar"))]
    samples = list(wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))
    assert len(samples) == len(loose.train)
    assert sorted(int(sample["__key__"]) for sample in samples) == list(range(18))
    for sample in samples:
        index = int(sample["__key__"])
        assert sample["cls"] == loose.train.labels[index]
        np.testing.assert_array_equal(np.asarray(sample["jpg"]), np.asarray(decode(loose.train.file(index))))
    assert [sample["cls"] for sample in samples] != sorted(sample["cls"] for sample in samples)  # classes are mixed


def test_a_folder_without_a_validation_part_is_divided_alike_when_it_is_packed(folder, tmp_path):
    loose, whole = open_data(str(folder / "train")), open_data(str(folder / "train"), whole=True)
    pack(whole, tmp_path / "pack", undivided=True)
    packed = open_data(str(tmp_path / "pack"))
    assert packed.divided
    assert packed.train.files == loose.train.files
    assert packed.val.files == loose.val.files
    again = open_data(str(tmp_path / "pack"), whole=True)
    assert (again.train, again.val.files, again.divided) == (None, whole.val.files, False)


def test_resize_reduces_large_images_and_their_boxes_and_copies_small_ones(make_image, tmp_path):
    make_image("in/train/a/large.png", size=(120, 80))
    make_image("in/train/a/small.png", size=(30, 30), seed=1)
    make_image("in/train/b/tall.jpg", size=(50, 101), seed=2)
    turned = Image.Exif()
    turned[0x0112] = 6
    make_image("in/train/b/turned.jpg", size=(90, 60), seed=3, exif=turned)
    make_image("in/val/a/1.png", seed=4)
    make_image("in/val/b/1.png", seed=5)
    (tmp_path / "in/boxes.csv").write_text(
        "image,class,xmin,ymin,xmax,ymax\ntrain/a/large.png,a,0,0,119,79\ntrain/a/large.png,a,30,20,59,39\n"
        "train/b/tall.jpg,b,1,1,1,1\n"
    )
    loose = open_data(str(tmp_path / "in"))
    made = pack(loose, tmp_path / "pack", resize=40)
    assert made.reduced == 2
    packed = open_data(str(tmp_path / "pack"))
    assert packed.notes == ("packed with a smallest side of at most 40 pixels",)
    assert [decode(packed.train.file(i)).size for i in range(4)] == [(60, 40), (30, 30), (40, 81), (90, 60)]
    assert packed.train.boxes[0].tolist() == [[0, 0, 59, 39], [15, 10, 29, 19]]  # half of each edge
    assert packed.train.boxes[2].tolist() == [[1, 1, 1, 1]]  # 0.8 of a pixel
    for same in (1, 3):
        assert content_of(packed.train.file(same)) == content_of(loose.train.file(same))
    expected = io.BytesIO()
    rescale(decode(loose.train.file(0)), 40).save(expected, "JPEG", quality=95)
    assert content_of(packed.train.file(0)) == expected.getvalue()


def test_a_pack_is_written_whole_or_not_at_all(folder, tmp_path, monkeypatch):
    (folder / "train/class1/2.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 18 train images cannot be used:\n.*class1/2.jpg: 0 bytes"):
        pack(open_data(str(folder)), tmp_path / "pack")
    assert not [path for path in tmp_path.iterdir() if "pack" in path.name]
    made = pack(open_data(str(folder)), tmp_path / "pack", bad_images="skip")
    assert (made.images, len(made.bad)) == ({"train": 17, "val": 9}, 1)
    assert "train/class1/2.jpg" not in open_data(str(tmp_path / "pack")).train.files
    with pytest.raises(UserError, match="is there already"):
        pack(open_data(str(folder)), tmp_path / "pack")


def test_the_same_data_makes_the_same_bytes(folder, tmp_path):
    for name in ("one", "two"):
        pack(open_data(str(folder)), tmp_path / name, workers=int(name == "two"))
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    tars = [name for name in files if name.endswith(".tar")]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in tars)
    with tarfile.open(tmp_path / "one" / tars[0]) as tar:
        assert all(member.mtime == 0 for member in tar)


def test_damaged_packs_have_a_message(folder, tmp_path):
    root = tmp_path / "pack"
    pack(open_data(str(folder)), root)
    shard, index, described = root / "train-000000.tar", root / "train.npz", root / DESCRIPTION
    content, arrays, text = shard.read_bytes(), index.read_bytes(), described.read_text()
    shard.write_bytes(content[:-512])
    with pytest.raises(UserError, match=r"train-000000.tar: [\d,]+ bytes in place of [\d,]+: truncated or changed"):
        open_data(str(root))
    shard.unlink()
    with pytest.raises(UserError, match=r"train-000000.tar: is missing"):
        open_data(str(root))
    shard.write_bytes(content)
    index.write_bytes(arrays[:100])
    with pytest.raises(UserError, match=r"train.npz: the index cannot be read"):
        open_data(str(root))
    with np.load(io.BytesIO(arrays)) as found:
        changed = dict(found) | {"starts": found["starts"] + len(content)}
    np.savez(index, **changed)
    with pytest.raises(UserError, match="points beyond the shards"):
        open_data(str(root))
    index.write_bytes(arrays)
    described.write_text(text.replace('"images": 18', '"images": 19'))
    with pytest.raises(UserError, match="the index is not that of 19 images"):
        open_data(str(root))
    described.write_text(json.dumps(json.loads(text) | {"format": 99}))
    with pytest.raises(UserError, match="format 99 is of a later version"):
        open_data(str(root))
    described.write_text("{")
    with pytest.raises(UserError, match="the pack is damaged"):
        open_data(str(root))
