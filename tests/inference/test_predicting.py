"""The results of many images are written as they come, and a killed process continues."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from spinenet_tf.data.dataset import DataError
from spinenet_tf.inference.predicting import Summary, predict_sources
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.inference.sources import find_sources


def predict(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same two objects for every image, the second beyond its edge, and one row of padding."""
    found = {
        "boxes": np.float32([[8, 4, 16, 12], [20, 30, 90, 90], [0, 0, 0, 0]]),
        "scores": np.float32([0.9, 0.2, 0.0]),
        "classes": np.int32([1, 0, -1]),
        "num_detections": np.int32(2),
    }
    return {name: np.repeat(values[None], len(images), axis=0) for name, values in found.items()}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(predict, (64, 64), ("cat", "dog"), batch_size=2)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    sizes = {"a.png": (128, 96), "b.jpg": (64, 64), "c.png": (30, 64)}
    for name, size in sizes.items():
        Image.fromarray(np.full((*size, 3), 80, np.uint8)).save(tmp_path / name)
    return [tmp_path / name for name in sizes]


def run(predictor: Predictor, files: list[Path], output: Path, **options) -> Summary:
    return predict_sources([predictor, predictor], find_sources(files), output, **options)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_image_is_written(predictor, files, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = run(predictor, files, output)
    assert (summary.path, summary.images, summary.bad) == (output / "detections.jsonl", 3, {})
    assert sorted(path.name for path in output.iterdir()) == ["detections.jsonl", "settings.json"]
    found = rows(summary.path)
    assert [row["image"] for row in found] == ["a.png", "b.jpg", "c.png"]
    assert found[0] == {
        "image": "a.png",
        "size": [128, 96],
        "detections": [
            {"class": "dog", "score": 0.9, "box": [16.0, 8.0, 32.0, 24.0]},
            {"class": "cat", "score": 0.2, "box": [40.0, 60.0, 128.0, 96.0]},
        ],
    }


def test_pictures_are_drawn_if_asked_for_also_in_subfolders(predictor, files, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    files[2].rename(tmp_path / "more" / "c.png")
    run(predictor, [tmp_path], tmp_path / "out", threshold=0.5)
    drawn = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert drawn == ["a.png.png", "b.jpg.png", "more/c.png.png"]


@pytest.mark.parametrize("cut", [0, -40], ids=["garbage", "truncated"])
def test_a_bad_image_is_left_out_and_named(predictor, files, tmp_path: Path, cut: int) -> None:
    files[1].write_bytes((whole := files[1].read_bytes())[:cut])
    summary = run(predictor, files, tmp_path / "out")
    assert [row["image"] for row in rows(summary.path)] == ["a.png", "c.png"]
    (bad,) = rows(tmp_path / "out" / "bad_images.jsonl")
    assert bad == {"image": "b.jpg", "error": summary.bad["b.jpg"]}
    files[1].write_bytes(whole)
    again = run(predictor, files, tmp_path / "out", resume=True)
    assert (again.images, again.bad) == (1, {})
    assert not (tmp_path / "out" / "bad_images.jsonl").exists()


def test_a_folder_of_bad_images_has_an_empty_file(predictor, files, tmp_path: Path) -> None:
    files[0].write_bytes(b"")
    summary = run(predictor, files[:1], tmp_path / "out")
    assert (summary.images, len(summary.bad), rows(summary.path)) == (0, 1, [])


def test_a_killed_process_loses_only_what_was_in_work(predictor, files, tmp_path: Path) -> None:
    """The last line is incomplete, as after SIGKILL."""
    run(predictor, files, tmp_path / "out")
    path = tmp_path / "out" / "detections.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 20])
    seen: list[int] = []
    counting = Predictor(lambda x: (seen.append(len(x)), predict(x))[1], (64, 64), ("cat", "dog"), batch_size=2)
    assert run(counting, files, tmp_path / "out", resume=True).images == 2
    assert seen == [2]
    assert path.read_bytes() == whole


def test_an_error_of_the_model_keeps_the_lines_of_earlier_batches(files, tmp_path: Path) -> None:
    def fail_at_one(images: np.ndarray) -> dict[str, np.ndarray]:
        if len(images) == 1:
            raise RuntimeError("out of memory")
        return predict(images)

    with pytest.raises(RuntimeError, match="out of memory"):
        run(Predictor(fail_at_one, (64, 64), ("cat", "dog"), batch_size=2), files, tmp_path / "out")
    assert [row["image"] for row in rows(tmp_path / "out" / "detections.jsonl")] == ["a.png", "b.jpg"]


def test_a_folder_is_continued_only_with_the_same_settings(predictor, files, tmp_path: Path) -> None:
    run(predictor, files, tmp_path / "out", model="one")
    with pytest.raises(ValueError, match=r"out exists\. Pass --resume to continue it, or --overwrite"):
        run(predictor, files, tmp_path / "out", model="one")
    with pytest.raises(ValueError, match=r"out was made with another model: 'one'\. Received: 'two'"):
        run(predictor, files, tmp_path / "out", model="two", resume=True)
    with pytest.raises(FileNotFoundError, match=r"nothing to continue in .*new: it has no settings\.json"):
        run(predictor, files, tmp_path / "new", resume=True)
    assert run(predictor, files[:1], tmp_path / "out", model="two", overwrite=True).images == 1
    assert len(rows(tmp_path / "out" / "detections.jsonl")) == 1


def test_frames_of_a_video_are_images(predictor, files, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode())
    (tmp_path / "bad.mov").write_bytes(b"no video")
    summary = run(predictor, [tmp_path / "clip.mp4", tmp_path / "bad.mov", files[0]], tmp_path / "out", frame_step=2)
    names = ["clip.mp4/000000", "clip.mp4/000002", "clip.mp4/000004", "a.png"]
    assert [row["image"] for row in rows(summary.path)] == names
    assert rows(summary.path)[0]["size"] == [48, 64]
    assert list(summary.bad) == ["bad.mov"]


def coco(folder: Path, images: dict, categories: dict) -> Path:
    content = {
        "images": [{"id": id, "file_name": name, "height": 64, "width": 64} for id, name in images.items()],
        "categories": [{"id": id, "name": name} for id, name in categories.items()],
        "annotations": [],
    }
    (folder / "val.json").write_text(json.dumps(content))
    return folder / "val.json"


IMAGES = {4: "train/b.jpg", 9: "val\\a.png", 1: "c.png", 2: "other.png"}


def test_coco_results_have_the_ids_of_the_annotations_by_name(predictor, files, tmp_path: Path) -> None:
    annotations = coco(tmp_path, IMAGES, {18: "dog", 17: "cat", 90: "toothbrush"})
    summary = run(predictor, files, tmp_path / "out", annotations=annotations)
    assert summary.path == tmp_path / "out" / "coco_results.json"
    found = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [(row["image_id"], row["category_id"]) for row in found] == [
        *((9, 18), (9, 17), (4, 18), (4, 17), (1, 18), (1, 17))
    ]
    assert found[0]["bbox"] == [8.0, 16.0, 16.0, 16.0]
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(annotations)).loadRes(str(tmp_path / "out" / "coco_results.json"))
    assert len(read.getAnnIds([9])) == 2


@pytest.mark.parametrize(
    ("images", "categories", "message"),
    [
        ({1: "a.png", 2: "b.jpg"}, {1: "cat", 2: "dog"}, r"val\.json has no image named 'c\.png'\.$"),
        (IMAGES | {7: "test/a.png"}, {1: "cat", 2: "dog"}, r"has 2 entries for image 'a\.png', with the ids 9, 7\.$"),
        (
            IMAGES,
            {1: "Cat", 2: "Dog"},
            r"none of the model's classes 'cat', 'dog'\. Its categories: 'Cat', 'Dog'\.$",
        ),
        (IMAGES, {1: "cat", 2: "dog", 3: "dog"}, r"has 2 entries for category 'dog', with the ids 2, 3\.$"),
        ({"x": "a.png", 2: "b.jpg", 3: "c.png"}, {1: "cat", 2: "dog"}, r"image ids must be integers.*'a\.png'"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused_before_any_work(
    files, tmp_path: Path, images: dict, categories: dict, message: str
) -> None:
    predictor = Predictor(lambda images: pytest.fail("it ran"), (64, 64), ("cat", "dog"))
    with pytest.raises(DataError, match=message):
        run(predictor, files, tmp_path / "out", annotations=coco(tmp_path, images, categories))
    assert not (tmp_path / "out").exists()


def test_detections_of_classes_without_a_category_are_left_out_and_counted(predictor, files, tmp_path: Path) -> None:
    annotations = coco(tmp_path, IMAGES, {17: "cat", 3: "car"})
    summary = run(predictor, files, tmp_path / "out", annotations=annotations)
    assert summary.left_out == {"dog": 3}
    found = json.loads(summary.path.read_text())
    assert [(row["image_id"], row["category_id"]) for row in found] == [(9, 17), (4, 17), (1, 17)]


def test_coco_results_without_detections_are_an_empty_list(files, tmp_path: Path) -> None:
    nothing = {"boxes": (1, 4), "scores": (1,), "classes": (1,), "num_detections": ()}
    predictor = Predictor(
        lambda images: {name: np.zeros((len(images), *shape), int) for name, shape in nothing.items()},
        (64, 64),
        ("cat",),
    )
    annotations = coco(tmp_path, IMAGES, {17: "cat"})
    assert json.loads(run(predictor, files, tmp_path / "out", annotations=annotations).path.read_text()) == []


def test_two_files_of_one_name_have_no_coco_ids(predictor, files, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.png").write_bytes(files[0].read_bytes())
    annotations = coco(tmp_path, IMAGES, {18: "dog"})
    with pytest.raises(DataError, match=r"COCO results need each file name once\. Received in several folders: a\.png"):
        run(predictor, [*files, tmp_path / "more"], tmp_path / "out", annotations=annotations)


def test_a_classifier_writes_the_likeliest_classes(files, tmp_path: Path) -> None:
    logits, names = np.log(np.float32([[1, 5, 2, 1, 1, 1]])), tuple("abcdef")
    predictor = Predictor(lambda images: np.repeat(logits, len(images), 0), (32, 32), names, task="classification")
    summary = run(predictor, files, tmp_path / "out", threshold=0.3)
    assert summary.path == tmp_path / "out" / "classes.jsonl"
    found = rows(summary.path)
    assert [row["image"] for row in found] == ["a.png", "b.jpg", "c.png"]
    assert found[0]["classes"][0] == {"class": "b", "score": 0.4545}
    assert [row["class"] for row in found[0]["classes"]] == ["b", "c", "a", "d", "e"]
    assert (tmp_path / "out" / "a.png.png").is_file()
    with pytest.raises(ValueError, match="Only a detector has COCO results"):
        run(predictor, files, tmp_path / "new", annotations=tmp_path / "val.json")
