"""Test that damaged or malicious image files give an image or an error with the path, in bounded time and memory."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pngs import chunk, png

from spinenet_tf.data.dataset import MAX_PIXELS, DataError, ImageError
from spinenet_tf.data.images import FORMATS, MAX_SCANS, read_image, read_size

# Peaks of memory are read from /proc, and a pipe is made.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

DAMAGES = ("flip", "cut", "insert", "repeat", "header", "swap", "mixed")
PER_DAMAGE = 8  # of each of the samples
CAP = 1_000_000  # pixels of the corpus
SECONDS = 10.0  # for one image: they take milliseconds
# Six bytes a pixel hold an RGBA image and its RGB copy; the rest is Pillow's, NumPy's and the allocator's.
BYTES = 6 * CAP + 48 * 2**20


def samples() -> Iterator[tuple[str, bytes]]:
    """Yield an image of 40 x 56 px in every supported format and color mode."""
    y, x = np.mgrid[0:40, 0:56]
    rgb = Image.fromarray(np.stack([y * 6, x * 4, (x * y) % 256], axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        ("JPEG", "RGB", {"exif": exif}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGBA", {"exif": exif}),
        ("PNG", "P", {}),
        ("PNG", "I;16", {}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("GIF", "P", {"save_all": True, "append_images": [rgb.rotate(90)]}),
        ("WEBP", "RGB", {"exif": exif}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"save_all": True, "append_images": [rgb.rotate(180)]}),
    ]
    for format, mode, options in kinds:
        image = (
            Image.fromarray(np.asarray(rgb)[..., 0].astype(np.uint16) * 256) if mode == "I;16" else rgb.convert(mode)
        )
        image.save(file := io.BytesIO(), format, **options)
        yield format, file.getvalue()


def large_samples() -> Iterator[tuple[str, bytes]]:
    """Yield images of the maximum size."""
    image = Image.linear_gradient("L").resize((1000, CAP // 1000)).convert("RGBA")
    for format, mode in (("JPEG", "CMYK"), ("PNG", "RGBA"), ("WEBP", "RGBA")):
        image.convert(mode).save(file := io.BytesIO(), format)
        yield format, file.getvalue()


def damaged(content: bytes, damage: str, rng: np.random.Generator) -> bytes:
    """Return a randomly damaged copy of the file."""
    data = bytearray(content)
    at = int(rng.integers(len(data)))
    if damage == "flip":
        for place in rng.integers(len(data), size=int(rng.integers(1, 30))):
            data[place] ^= 1 << int(rng.integers(8))
    elif damage == "cut":
        del data[at:]
    elif damage == "insert":
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    elif damage == "repeat":
        data[at:at] = data[at : at + 40] * int(rng.integers(1, 50))
    elif damage == "header":  # where sizes stand
        start = int(rng.integers(4, 64))
        data[start : start + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", rng.bytes(4)])
    elif damage == "swap":
        data[at:] = data[at:][::-1]
    elif damage == "mixed":
        data[at:] = rng.permutation(np.frombuffer(bytes(data[at:]), np.uint8)).tobytes()
    return bytes(data)


def corpus() -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of bad images, which are the same each time."""
    for number, (format, content) in enumerate([*samples(), *large_samples()]):
        for damage in DAMAGES:
            rng = np.random.default_rng([number, DAMAGES.index(damage)])
            for k in range(PER_DAMAGE):
                yield f"{number:02}-{format.lower()}-{damage}-{k}.jpg", damaged(content, damage, rng)


# Runs in a process of its own, whose peak of memory is the files' and which can be killed if it hangs.
CHILD = """
import json, sys, time, warnings
from pathlib import Path
import numpy as np
from spinenet_tf.data.dataset import ImageError
from spinenet_tf.data.images import read_image, read_size

warnings.simplefilter("ignore")

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

def watched(work):
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak before
    before = memory("VmRSS")
    result = work()
    return result, memory("VmHWM") - before

def read_all(folder, cap):
    rows = []
    for path in sorted(Path(folder).iterdir()):
        start, outcome = time.perf_counter(), []
        for read in (read_size, read_image):
            try:
                got = read(path, cap)
                outcome.append(list(got if read is read_size else got.shape))
            except ImageError as error:
                outcome.append(str(error))
            except BaseException as error:
                outcome.append({"escaped": repr(error)})
        rows.append([path.name, time.perf_counter() - start, outcome])
    return rows

read_image(sys.argv[1])
_, seen = watched(lambda: np.ones(2**26, np.uint8).sum())
outcomes = []
for folder, cap in json.loads(sys.argv[2]):
    rows, used = watched(lambda: read_all(folder, cap))
    outcomes.append({"rows": rows, "bytes": used})
print(json.dumps([seen, *outcomes]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Return the outcomes of the corpus and of the decompression bombs."""
    folder = tmp_path_factory.mktemp("images")
    jobs = []
    for name, contents, cap in (("corpus", corpus(), CAP), ("bombs", bombs(), MAX_PIXELS)):
        (folder / name).mkdir()
        jobs.append((str(folder / name), cap))
        for file, content in contents:
            (folder / name / file).write_bytes(content)
    Image.new("RGB", (40, 56)).save(good := folder / "good.png")
    arguments = [sys.executable, "-c", CHILD, str(good), json.dumps(jobs)]
    child = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    seen, *found = json.loads(child.stdout.splitlines()[-1])
    assert seen > 2**26 - 2**20, "an array of 64 MB is seen where memory is measured"
    return found


@pytest.fixture(scope="module")
def outcome(outcomes: list[dict]) -> dict:
    return outcomes[0]


def test_the_corpus_covers_every_format_and_damage() -> None:
    names = [name for name, _ in corpus()]
    assert len(names) == len(set(names)) == (len(list(samples())) + 3) * len(DAMAGES) * PER_DAMAGE >= 600
    assert {format for format, _ in samples()} == set(FORMATS)


def test_a_damaged_file_gives_an_image_or_one_error_with_its_path(outcome: dict, promise) -> None:
    escaped = [row for row in outcome["rows"] if any(isinstance(result, dict) for result in row[2])]
    assert escaped == []
    for name, _, (size, image) in outcome["rows"]:
        for result in (size, image):
            assert isinstance(result, list) or (name in result and "\n" not in result), name
        if isinstance(image, list):
            assert size == image[:2], "the header and the pixels agree"
            assert image[0] * image[1] <= CAP
    assert sum(isinstance(image, str) for _, _, (_, image) in outcome["rows"]) > 200
    promise("Images: a damaged file loads as an image, or raises one error with its path", cases=len(outcome["rows"]))


def test_no_damaged_file_hangs(outcome: dict, promise) -> None:
    slowest = max(outcome["rows"], key=lambda row: row[1])
    assert slowest[1] < SECONDS, slowest
    promise(f"Images: no damaged file takes longer than {SECONDS:g} s", cases=len(outcome["rows"]))


def test_no_damaged_file_takes_more_memory_than_its_pixels_may(outcome: dict, promise) -> None:
    assert outcome["bytes"] < BYTES, f"{outcome['bytes'] / 1e6:.0f} MB"
    promise(f"Images: no damaged file takes more than {BYTES / 1e6:.0f} MB of memory", cases=len(outcome["rows"]))


def saved(format: str, **options) -> bytearray:
    Image.new("RGB", (64, 64)).save(file := io.BytesIO(), format, **options)
    return bytearray(file.getvalue())


def scans(count: int) -> bytes:
    """Return a JPEG of 4 million pixels with that many almost empty scans."""
    Image.new("L", (2000, 2000)).save(file := io.BytesIO(), "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    header = data[last : last + 2 + struct.unpack(">H", data[last + 2 : last + 4])[0]]
    return data[:last] + (header + b"\0") * count + b"\xff\xd9"


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield small files that claim or decode to very large images."""
    yield "png.png", png(60_000, 60_000)
    yield "thin.png", png(1, 2**31 - 1)
    yield "text.png", png(8, 8, *(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24))) for _ in range(20)))
    yield "profile.png", png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**28))))
    for name, at, fields in (("bmp.bmp", 18, "<ii"), ("gif.gif", 6, "<HH")):
        data = saved(name[-3:].upper())
        struct.pack_into(fields, data, at, 60_000, 60_000)
        yield name, bytes(data)
    rle = saved("BMP")
    struct.pack_into("<iiHHI", rle, 18, 900_000, 1, 1, 8, 1)
    yield "rle.bmp", bytes(rle[:54]) + bytes(1024) + b"\0\2\xff\xff" * 1000
    jpeg = saved("JPEG")
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, 60_000, 60_000)
    yield "jpeg.jpg", bytes(jpeg)
    yield "scans.jpg", scans(20_000)
    several = saved("MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))])  # a phone's: JPEGs in a row
    start = several.index(b"MPF\0") - 4
    index = several[start : start + 2 + int.from_bytes(several[start + 2 : start + 4], "big")]
    yield "scans-of-several.jpg", scans(20_000).replace(b"\xff\xd8", b"\xff\xd8" + index, 1)
    webp = saved("WEBP", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")])
    at = webp.index(b"VP8X") + 12
    webp[at : at + 6] = (12_999).to_bytes(3, "little") * 2
    yield "webp.webp", bytes(webp)
    yield "one-size-in-gif.gif", bytes(frame_beyond_its_screen())


def frame_beyond_its_screen() -> bytearray:
    data = saved("GIF")
    at = data.index(b"\x2c", 13)
    struct.pack_into("<HH", data, at + 5, 60_000, 60_000)
    return data


def test_bombs_cost_nothing_and_are_refused(outcomes: list[dict], promise) -> None:
    found = outcomes[1]
    assert len(found["rows"]) == len(list(bombs())) == 12
    for name, seconds, (_, image) in found["rows"]:
        assert isinstance(image, str), f"{name} was read: {image}"
        assert name in image
        assert seconds < SECONDS, name
    assert found["bytes"] < BYTES, f"{found['bytes'] / 1e6:.0f} MB"
    promise("Images: decompression bombs are refused without using memory", cases=len(found["rows"]))


def refused(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield files that are not images, and their error messages."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    contents = {"empty.jpg": b"", "text.png": b"hello", "html.jpg": b"<html></html>", "svg.png": b"<svg/>"}
    for format in ("TIFF", "PPM", "ICO", "PCX"):
        Image.fromarray(noise).save(file := io.BytesIO(), format)
        contents[f"{format.lower()}.jpg"] = file.getvalue()
    contents["postscript.jpg"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        yield tmp_path / name, "not a readable image in one of the formats JPEG, PNG, BMP, GIF, WEBP"
    for format in FORMATS:
        path = tmp_path / f"half.{format.lower()}"
        Image.fromarray(noise).save(path, format)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        yield path, "image"
    (folder := tmp_path / "folder.jpg").mkdir()
    yield folder, "not a file"
    os.mkfifo(pipe := tmp_path / "pipe.jpg")
    yield pipe, "not a file"
    with (large := tmp_path / "large.webp").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\x7fWEBPVP8 ")
        file.truncate(2**33)
    yield large, "the file is too large"
    (endless := tmp_path / "circle.jpg").symlink_to(endless)
    yield endless, "not a readable image"
    yield tmp_path / "nothing.jpg", "no such image file"
    yield tmp_path / ("long" * 100), "not a readable image"


def test_what_is_no_image_is_refused_with_its_path(tmp_path: Path, promise) -> None:
    cases = list(refused(tmp_path))
    for path, message in cases:
        with pytest.raises(ImageError, match=message) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    promise(
        "Images: truncated, empty and mislabeled files, pipes and folders raise one error with the path",
        cases=len(cases),
    )


def test_what_is_inside_decides_and_not_the_name(tmp_path: Path, promise) -> None:
    for number, (format, content) in enumerate(samples()):
        (path := tmp_path / f"{number}.{'png' if format == 'JPEG' else 'jpg'}").write_bytes(content)
        image = read_image(path)
        assert image.dtype == np.uint8
        assert read_size(path) == image.shape[:2]
        assert sorted(image.shape[:2]) == [40, 56]
    promise("Images: every supported format and color mode is read as upright RGB", cases=number + 1)


def test_the_cap_counts_pixels_of_the_header(tmp_path: Path, promise) -> None:
    Image.new("RGB", (40, 25)).save(path := tmp_path / "a.png")
    for read in (read_image, read_size):
        read(path, max_pixels=1000)
        with pytest.raises(DataError, match=r"a\.png: the image has too many pixels \(40 x 25\), the limit is 999"):
            read(path, max_pixels=999)
    promise("Images: the limit on pixels is configurable", cases=4)


def test_ordinary_progressive_images_are_below_the_limit_of_scans(tmp_path: Path) -> None:
    for quality in (5, 50, 95):
        image = Image.effect_noise((200, 200), 90).convert("RGB")
        image.save(path := tmp_path / "a.jpg", progressive=True, quality=quality)
        assert path.read_bytes().count(b"\xff\xda") < MAX_SCANS // 5
        assert read_image(path).shape == (200, 200, 3)
