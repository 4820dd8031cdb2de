"""Write the page of a search: its course, front, counts, important decisions, and the best and the worst graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import optuna
from optuna.trial import FrozenTrial

from spinenet_tf import __version__
from spinenet_tf._files.ledger import Ledger
from spinenet_tf.evaluation.page import element, picture, table, write_page
from spinenet_tf.nets.graph_drawing import plot_architecture
from spinenet_tf.search.comparison import COMPARISON, compared
from spinenet_tf.search.config import SearchConfig
from spinenet_tf.search.correlation import CORRELATION, correlated
from spinenet_tf.search.outcomes import OVER_LIMIT, REPEATED, count_outcomes
from spinenet_tf.search.plots import draw_course, draw_front, draw_importances, draw_pairs, svg
from spinenet_tf.search.results import best_of, graph_of, ranked
from spinenet_tf.search.samplers import REJECTED_DRAWS

GENERATOR = "spinenet_tf search report"
_DRAWN = 3  # of the best graphs, and of the worst
_MEANINGS = {
    "trained": "trained to the end",
    "pruned": "stopped early, as hopeless",
    "failed": "ended with an error, which trials.jsonl has",
    "repeated": "not trained: an earlier trial has the same graph",
    "rejected": "not trained: an enqueued graph that the space rejects",
    "over limit": "not trained: costs more than the limit",
    "surplus": "not trained: other workers had just used up the budget",
    "stopped": "the process was killed or interrupted",
    "running": "running",
    "waiting": "waiting to be retried",
}


def write_search_report(folder: Path, config: SearchConfig, study: optuna.Study) -> Path:
    """Write the self-contained page `folder/index.html` atomically; return its path."""
    title = f"Search of the space {config.space['name']}, sampler {config.sampler['name']}"
    body = [
        *_header(title, config, study),
        *_best(config, study),
        *_course(config, study),
        *_counts(study),
        *_importances(study),
        *_drawings(config, study),
        *_checks(folder),
    ]
    return write_page(folder, title, GENERATOR, body)


def _header(title: str, config: SearchConfig, study: optuna.Study) -> Iterator[Element]:
    proxy, space = config.proxy, config.search_space()
    side = " x ".join(map(str, proxy.model.image_size))
    facts = {
        "space": f"{config.space['name']}, {space.size():.3g} combinations of values",
        "sampler": ", ".join(value if key == "name" else f"{key} {value}" for key, value in config.sampler.items()),
        "proxy": f"{proxy.model.name} at {side} px, {proxy.epochs} epochs",
        "objective": _objective(config),
        "trials": f"{len(ranked(study))} trained of {len(study.get_trials(deepcopy=False))} in the study",
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "written by": f"spinenet_tf {__version__}",
    }
    yield element("h1", title)
    pairs = [element(tag, text) for fact in facts.items() for tag, text in zip(("dt", "dd"), fact, strict=True)]
    yield element("dl", *pairs, class_="facts")


def _objective(config: SearchConfig) -> str:
    costs = ", ".join(f"{cost.kind} of {cost.reference or f'{cost.target:g}'}" for cost in config.objective.costs)
    texts = {
        "ap": "AP of the proxy",
        "limit": f"AP of the proxy; at most {costs}",
        "product": f"AP x {'' if config.objective.soft else 'min(1, '}target / cost"
        f"{'' if config.objective.soft else ')'}^{config.objective.weight:g}; target: {costs}",
        "front": f"AP of the proxy and cost relative to {costs}",
    }
    return texts[config.objective.kind]


def _best(config: SearchConfig, study: optuna.Study) -> Iterator[Element]:
    trials = best_of(study, config.best)
    kinds = list(trials[0].user_attrs.get("costs", {}))
    rows = [
        (
            f"best/{place}.yaml",
            str(trial.number),
            *(f"{value:.4f}" for value in trial.values),
            f"{trial.user_attrs['AP']:.4f}",
            f"{trial.user_attrs['proxy']['multiply_adds'] / 1e6:,.1f}",
            f"{trial.user_attrs['proxy']['parameters'] / 1e3:,.0f}",
            *(_relative(trial, kind) for kind in kinds),
        )
        for place, trial in enumerate(trials, start=1)
    ]
    values = (
        [f"value {index}" for index in range(1, len(study.directions) + 1)] if len(study.directions) > 1 else ["value"]
    )
    head = ("graph", "trial", *values, "AP", "M multiply-adds", "k parameters", *(f"{kind} / target" for kind in kinds))
    yield element("h2", "The best graphs")
    yield element("p", "AP, multiply-adds and parameters are those of the proxy, a small net after a short training.")
    yield table(head, rows)


def _relative(trial: FrozenTrial, kind: str) -> str:
    cost = trial.user_attrs["costs"][kind]
    return f"{cost['value'] / cost['target']:.3f}"


def _course(config: SearchConfig, study: optuna.Study) -> Iterator[Element]:
    trials = sorted(ranked(study), key=lambda trial: trial.number)
    label = "AP" if config.objective.kind in ("ap", "limit", "front") else "AP x factor of the cost"
    yield element("h2", "Course")
    yield picture(draw_course([trial.values[0] for trial in trials], label), "svg+xml", "Value of each trained graph")
    aps = [trial.user_attrs["AP"] for trial in trials]
    if len(study.directions) > 1:
        costs, label = [trial.values[1] for trial in trials], f"{config.objective.costs[0].kind} / target"
    else:
        costs = [trial.user_attrs["proxy"]["multiply_adds"] / 1e6 for trial in trials]
        label = "multiply-adds of the proxy (M)"
    yield element("h2", "Pareto front")
    yield picture(draw_front(costs, aps, label), "svg+xml", "AP against cost, with the Pareto front")


def _counts(study: optuna.Study) -> Iterator[Element]:
    trials = study.get_trials(deepcopy=False)
    rejected = sum(trial.user_attrs.get(REJECTED_DRAWS, 0) for trial in trials)
    rows: list[tuple[str, ...]] = [
        (name, str(count), _MEANINGS[name])
        for name, count in count_outcomes(trials).items()
        if count or name in (REPEATED, OVER_LIMIT)
    ]
    rows.append(("rejected draws", str(rejected), "no trials: the sampler drew again, as a block had no reader"))
    yield element("h2", "Trials")
    yield element("div", table(("outcome", "trials", "meaning"), rows), class_="words")


def _importances(study: optuna.Study) -> Iterator[Element]:
    found = importances(study)
    if found:
        yield element("h2", "Important decisions")
        yield element(
            "p",
            "Optuna's estimate (PED-ANOVA) of how much each decision affects the value. With few trials, and more "
            "decisions than trials, it is rough.",
        )
        yield picture(draw_importances(found), "svg+xml", "Importance of the decisions")


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the importance of each decision for the first value, the highest first; none if it cannot be estimated."""
    trained = ranked(study)
    if len({trial.values[0] for trial in trained}) < 2:
        return {}
    target = (lambda trial: trial.values[0]) if len(study.directions) > 1 else None
    found: dict[str, float] = optuna.importance.get_param_importances(study, target=target)
    return found


def _drawings(config: SearchConfig, study: optuna.Study) -> Iterator[Element]:
    trials = ranked(study)
    worst = trials[_DRAWN:][-_DRAWN:]
    for title, shown in (
        ("The best graphs, drawn", best_of(study, _DRAWN)[:_DRAWN]),
        ("The worst graphs, drawn", worst),
    ):
        if shown:
            yield element("h2", title)
            yield element("p", "; ".join(f"trial {trial.number}: AP {trial.user_attrs['AP']:.4f}" for trial in shown))
            graphs = [graph_of(config, trial) for trial in shown]
            yield picture(svg(plot_architecture(graphs)), "svg+xml", title)


def _checks(folder: Path) -> Iterator[Element]:
    """Yield the results of `search-compare` and `search-correlate`, if there are any."""
    if rows := list(Ledger(folder / COMPARISON).rows().values()):
        yield element("h2", "Comparison")
        yield table(("graph", "M multiply-adds", "trainings", "mean AP", "lowest", "highest"), _compared(rows))
    if rows := list(Ledger(folder / CORRELATION).rows().values()):
        found = correlated(rows)
        yield element("h2", "Can the proxy be believed?")
        yield element(
            "p",
            f"{found.graphs} graphs were trained again, {found.times} times as long. Rank correlation of the two AP: "
            f"Kendall {found.kendall:.2f} (p {found.kendall_p:.2g}), Spearman {found.spearman:.2f} "
            f"(p {found.spearman_p:.2g}).",
        )
        yield picture(
            draw_pairs(found.short, found.long), "svg+xml", "AP after the longer training against the proxy's"
        )


def _compared(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            group.graph,
            f"{group.multiply_adds / 1e6:,.1f}",
            str(len(group.aps)),
            f"{group.mean:.4f}",
            f"{min(group.aps):.4f}",
            f"{max(group.aps):.4f}",
        )
        for group in compared(rows)
    ]
