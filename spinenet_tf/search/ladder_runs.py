"""Carry out the experiment of `ladder`: train each net with several seeds, and keep a line per finished training."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras

from spinenet_tf._files.ledger import Ledger
from spinenet_tf._files.locks import takes_lock
from spinenet_tf.evaluation.metrics import METRICS
from spinenet_tf.export.check.measurement import describe_machine
from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec
from spinenet_tf.search.ladder import Rung
from spinenet_tf.search.proxy import Costs, count_costs, train_proxy
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.run import MAY_CHANGE, Run
from spinenet_tf.training.sources import in_folder

PROXY, MACHINE = "proxy", "machine"  # lines of the ledger that are no trainings


@dataclass(frozen=True)
class Job:
    """One training of the experiment."""

    rung: Rung
    seed: int
    config: TrainConfig  # of the proxy at this net's width
    spec: ArchitectureSpec
    costs: Costs

    @property
    def unit(self) -> str:
        """The name of the job's line in the ledger."""
        return f"{self.rung.name}, seed {self.seed}"

    @property
    def steps(self) -> int:
        """The number of training steps."""
        return self.config.epochs * (self.config.steps_per_epoch or 0)

    @property
    def work(self) -> int:
        """The multiply-adds of the forward passes, to which the time is nearly proportional."""
        return self.steps * self.config.batch_size * self.costs.multiply_adds


def make_jobs(config: TrainConfig, rungs: Iterable[Rung], seeds: int | None = None) -> Iterator[Job]:
    """Yield the jobs of some nets in their order; `seeds` is the number of seeds of each, by default its own.

    Raises:
        ConfigError: the config leaves the number of steps to the data, or as `count_costs` does.
        DataError: as `count_costs` does.
    """
    if config.steps_per_epoch is None:
        raise ConfigError("A proxy needs the same number of steps for every net: set steps_per_epoch.")
    for rung in rungs:
        own, costs = rung.scaled(config), dict[tuple[BlockSpec, ...], Costs]()
        for seed in range(seeds or rung.seeds):
            spec = rung.graph(seed)
            costs[spec.blocks] = costs.get(spec.blocks) or count_costs(own, spec)
            yield Job(rung, seed, own, spec, costs[spec.blocks])


def missing(jobs: Iterable[Job], ledger: Ledger) -> list[Job]:
    """Return the jobs without a line in the ledger."""
    rows = ledger.rows()
    return [job for job in jobs if job.unit not in rows]


def check_proxy(config: TrainConfig, ledger: Ledger) -> None:
    """Write the proxy into a new ledger, or check that the ledger is of this proxy: AP of two cannot be compared.

    Raises:
        ConfigError: it is of another.
    """
    data = config.own_data()
    sources = {key: in_folder(getattr(data, key), Path("data")) for key in ("train", "val")}
    values = config.model_copy(update={"data": data.model_copy(update=sources)}).model_dump(mode="json")
    values = {key: value for key, value in values.items() if key not in ("seed", *MAY_CHANGE)}
    ledger.once(PROXY, lambda: {"config": values})
    there = TrainConfig.model_validate(ledger.rows()[PROXY]["config"]).model_dump(mode="json")
    keys = [key for key, value in values.items() if there[key] != value]
    if keys:
        raise ConfigError(f"{ledger.path} has results of another config; choose another folder. Received: {keys}")


def carry_out(
    job: Job, folder: Path, ledger: Ledger, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> dict[str, Any] | None:
    """Train a job in a subfolder, or resume its training, add its line to the ledger, and return it.

    The states to resume from are then deleted. Return None if another process is training the job. Raises as
    `train_proxy` does.
    """
    ledger.once(MACHINE, describe_machine)
    home = folder / job.unit.replace(", seed ", "-seed")
    with home.with_suffix(".lock").open("w") as file:
        if not takes_lock(file):
            return None
        if job.unit not in ledger.rows():
            ledger.add(job.unit, _train(job, Run(home), callbacks))
            shutil.rmtree(Run(home).states_folder)
        return ledger.rows()[job.unit]


def _train(job: Job, run: Run, callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, Any]:
    start = time.monotonic()
    train_proxy(job.config, job.spec, run.folder, seed=job.seed, callbacks=callbacks)
    last = run.log[-1]
    return {
        "net": job.rung.name,
        "seed": job.seed,
        **{name: round(last[f"val_{name}"], 4) for name in METRICS if f"val_{name}" in last},
        **asdict(job.costs),
        "parents": [block.parents for block in job.spec.blocks],
        "steps": last["step"],
        "seconds": round(time.monotonic() - start),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
