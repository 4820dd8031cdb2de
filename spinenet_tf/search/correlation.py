"""Tell whether a proxy can be believed: train some graphs longer, and correlate the two orders of their AP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from spinenet_tf._files.ledger import Ledger
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.search.config import SearchConfig
from spinenet_tf.search.proxy import train_proxy
from spinenet_tf.search.results import graph_of, ranked
from spinenet_tf.training.config import TrainConfig

CORRELATION = "correlation.jsonl"
LEAST = 3  # graphs of which an order says anything


@dataclass(frozen=True)
class Correlation:
    """The rank correlation of the AP after two lengths of training."""

    graphs: int
    times: int  # the longer training relative to the shorter
    kendall: float
    kendall_p: float  # the probability of such a correlation by chance
    spearman: float
    spearman_p: float
    short: Sequence[float]  # AP
    long: Sequence[float]


def correlate(
    folder: Path,
    config: SearchConfig,
    study: optuna.Study,
    graphs: int,
    times: int,
    *,
    track: Track = untracked,
    train: Callable[..., float] = train_proxy,
) -> Correlation:
    """Train graphs that are spread over the ranks of a search `times` as long, and correlate their AP.

    Finished trainings are in `folder/correlation.jsonl`.

    Raises:
        ValueError: the search has trained fewer graphs than that, or `graphs` is less than 3.
    """
    trials = ranked(study)
    if not LEAST <= graphs <= len(trials):
        raise ValueError(f"The number of graphs must be {LEAST} to {len(trials)}. Received: {graphs}")
    ledger, proxy = Ledger(folder / CORRELATION), longer(config.proxy, times)
    chosen = [trials[index] for index in np.linspace(0, len(trials) - 1, graphs).round().astype(int)]
    for trial in track(chosen, graphs, "Training longer"):
        unit = f"trial {trial.number}, {times} times as long"
        ledger.once(unit, partial(_row, folder, config, proxy, trial, times, train))
    return correlated(ledger.rows().values(), times)


def longer(proxy: TrainConfig, times: int) -> TrainConfig:
    """Return the proxy with `times` as many epochs; a cosine schedule is stretched."""
    decay = proxy.optimizer.decay_epochs
    stretched = None if decay is None else tuple(epochs * times for epochs in decay)
    optimizer = proxy.optimizer.model_copy(update={"decay_epochs": stretched})
    epochs = {"epochs": proxy.epochs * times, "evaluate_every": proxy.evaluate_every * times}
    return proxy.model_copy(update=epochs | {"optimizer": optimizer})


def _row(
    folder: Path,
    config: SearchConfig,
    proxy: TrainConfig,
    trial: FrozenTrial,
    times: int,
    train: Callable[..., float],
) -> dict[str, Any]:
    run = folder / "correlation" / f"trial{trial.number}-x{times}"
    ap = train(proxy, graph_of(config, trial), run, seed=proxy.seed)
    return {"trial": trial.number, "times": times, "short": round(trial.user_attrs["AP"], 4), "long": round(ap, 4)}


def correlated(rows: Iterable[dict[str, Any]], times: int | None = None) -> Correlation:
    """Return the rank correlation of the rows of one length of training, by default that of the last row."""
    from scipy.stats import kendalltau, spearmanr

    rows = list(rows)
    times = times or rows[-1]["times"]
    rows = [row for row in rows if row["times"] == times]
    short, long = [row["short"] for row in rows], [row["long"] for row in rows]
    kendall, spearman = kendalltau(short, long), spearmanr(short, long)
    return Correlation(
        len(rows),
        times,
        float(kendall.statistic),
        float(kendall.pvalue),
        float(spearman.statistic),
        float(spearman.pvalue),
        short,
        long,
    )
