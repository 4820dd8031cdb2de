"""Create the study of a search in its store, or find it there."""

from __future__ import annotations

import json

import optuna

from spinenet_tf.search.config import SearchConfig, check_same
from spinenet_tf.search.objective import directions
from spinenet_tf.search.stores import Store
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import validated

CONFIG = "config"  # the attribute of a study with its config


def open_study(store: Store, config: SearchConfig, *, resume: bool, where: str) -> optuna.Study:
    """Create a study, or with `resume` return the one that is there.

    Raises:
        FileExistsError: there is one, and `resume` is not set.
        ConfigError: the study was started with another config.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            storage=store.storage, study_name=config.name, directions=directions(config.objective)
        )
    except optuna.exceptions.DuplicatedStudyError:
        if not resume:
            raise FileExistsError(
                f"{where} has a search {config.name!r}. Pass --resume to continue or join it, or choose another name."
            ) from None
        study = optuna.load_study(study_name=config.name, storage=store.storage)
    if CONFIG not in study.user_attrs:
        study.set_user_attr(CONFIG, json.dumps(config.model_dump(mode="json")))
    check_same(config_of(study), config, where)
    return study


def config_of(study: optuna.Study) -> SearchConfig:
    """Return the config that a study was started with.

    Raises:
        ConfigError: this package did not write the study.
    """
    if CONFIG not in study.user_attrs:
        raise ConfigError(f"Study {study.study_name!r} is not a search of this package.")
    return validated(SearchConfig, json.loads(study.user_attrs[CONFIG]), f"study {study.study_name}")
