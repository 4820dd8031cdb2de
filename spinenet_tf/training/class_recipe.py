"""Carries out a config of task classification: its data, its loss, and how it is measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import ClassificationDataset
from spinenet_tf.evaluation.accuracy import classify_dataset
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.training.callbacks import CountBadImages, Evaluation
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.fitting import Course, fit
from spinenet_tf.training.recipe import match_classes, prepare
from spinenet_tf.training.run import Run, build_classifier


def train_classifier(
    config: TrainConfig, folder: str | Path, *, resume: bool = False, overwrite: bool = False
) -> HeadModel:
    """Train a classifier and write its run to `folder`, as `recipe.train` does with a detector; raises as it does.

    It trains on one device: another `distribution` is a ConfigError.
    """
    from spinenet_tf.data.input.class_pipeline import training_batches
    from spinenet_tf.data.input.pipeline import data_errors

    if config.distribution is not None:
        raise ConfigError(f"A classifier is trained on one device. Received: distribution={config.distribution}")
    run = Run(folder)
    run.check(resume=resume, overwrite=overwrite)
    bad = BadImages(config.own_images().max_bad_images)
    training, validation = _read_data(config, bad)
    config = config.model_copy(update={"class_names": training.class_names})
    data, steps = config.own_images(), config.steps_per_epoch or max(1, len(training) // config.batch_size)
    classifier = prepare(config, build_classifier, steps)
    classifier.compile_for_labels(classifier.optimizer, data.label_smoothing)
    batches = partial(training_batches, training, config.model.image_size, config.batch_size, config.seed, bad=bad)
    batches = partial(batches, **data.options())
    measures = [CountBadImages(bad), ClassificationEvaluation(validation, config)]
    course = Course(classifier, lambda step: batches(start_step=step), steps, measures, monitor="val_top1")
    with data_errors():
        fit(course, run, config, resume=resume, overwrite=overwrite)
    return classifier


class ClassificationEvaluation(Evaluation):
    """Log `val_top1` and `val_top5` on a data set."""

    def __init__(self, dataset: ClassificationDataset, config: TrainConfig):
        super().__init__(config.evaluate_every)
        self.dataset, self.config = dataset, config

    def measure(self) -> dict[str, float]:
        options = (self.config.model.image_size, self.config.own_images().centre, self.config.evaluation_batch_size)
        measured = classify_dataset(self.model.predict_on_batch, self.dataset, *options)
        return {"val_top1": measured.top1, "val_top5": measured.top5}


def _read_data(config: TrainConfig, bad: BadImages) -> tuple[ClassificationDataset, ClassificationDataset]:
    """Return training and validation data that fit each other, the config and their image files; as `recipe` does."""
    from spinenet_tf.data.input.class_pipeline import check_images

    data = config.own_images()
    training, validation = data.read("train"), data.read("val")
    training, validation = match_classes(config, training, validation)
    check_images(training, bad)
    check_images(validation)
    return training, validation
