"""The demo: handwritten digits, few labels, a deep belief net beside its rivals, over several draws of the labels.

The settings were chosen on a part of the training rows held out for that; the test rows are only tested on.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from layerwise import baselines
from layerwise.data import Dataset
from layerwise.estimators import DBNClassifier
from layerwise.run import SILENT
from layerwise.tasks import Learned, Plan, describe, dream, fit, prepare, save_rows, scores

MARK = "demo.json"
NET: dict[str, Any] = {
    "layers": (100, 100, 100, 100), "pretrain_epochs": 160, "pretrain_rate": 0.5, "batch_size": 60, "weight_decay": 0.0,
    "up_down_epochs": 10, "up_down_rate": 0.05, "epochs": 60, "rate": 0.003, "dropout": 0.2, "classify": "generative",
}  # fmt: skip
# The same widths from random weights want other rates; these are the best of 15 each, tried as those of NET were.
SCRATCH: dict[str, Any] = {"pretrain": None, "epochs": 150, "rate": 0.01, "dropout": 0.2, "input_dropout": 0.2}
RECTIFIED: dict[str, Any] = SCRATCH | {"hidden": "rectified"}

DBN, TUNED = "deep belief net", "the same, tuned by back-propagation"
NO_PRETRAINING, NO_PRETRAINING_RECTIFIED = "same net, not pre-trained", "same widths, rectified, not pre-trained"
SPREADING = "label spreading"
ALL_ROWS = (DBN, TUNED, SPREADING)

Result = dict[str, tuple[float, float]]
"""The test error, a share, and the seconds of learning, by method."""


@dataclass(frozen=True)
class Settings:
    """What is learned: a small one makes a quick test."""

    net: Mapping[str, Any] = field(default_factory=lambda: NET)
    scratch: Mapping[str, Any] = field(default_factory=lambda: SCRATCH)
    rectified: Mapping[str, Any] = field(default_factory=lambda: RECTIFIED)

    def plan(self, labels: int, seed: int) -> Plan:
        """The deep belief net as a run, so that all commands understand the saved model."""
        return Plan("digits", labels=labels, seed=seed, settings=self.net)


@dataclass(frozen=True)
class Outcome:
    """What the demo found.

    Arguments:
        methods: As `explain` takes them for its comparison: "method", "errors" (one per draw), "seconds", "note", "this".
        rows: Training and test rows; labels: how many of the former kept theirs.
        report, model, dreams: What was written.
    """

    methods: list[dict[str, Any]]
    rows: tuple[int, int]
    labels: int
    report: Path
    model: Path
    dreams: Path

    @property
    def heading(self) -> str:
        """What the table shows."""
        draws = len(self.methods[0]["errors"])
        return (f"Test error on {self.rows[1]} digits; {self.labels} labels of {self.rows[0]} rows, "
                f"mean over {draws} draw{'s' * (draws > 1)} of the labels")  # fmt: skip

    @staticmethod
    def mean(method: Mapping[str, Any]) -> float:
        """Mean error over the draws."""
        return statistics.fmean(method["errors"])

    @staticmethod
    def sd(method: Mapping[str, Any]) -> float:
        """Standard deviation of the error over the draws; NaN for one draw."""
        return statistics.stdev(method["errors"]) if len(method["errors"]) > 1 else math.nan

    @property
    def conclusions(self) -> list[str]:
        """What the figures say, in sentences that are computed from them."""
        by_name = {method["method"]: method for method in self.methods}
        shallow = [method for method in self.methods if method["method"] in baselines.rivals()]
        best = min(shallow, key=self.mean)
        plain = [by_name[NO_PRETRAINING], by_name[NO_PRETRAINING_RECTIFIED]]
        plain_best = min(plain, key=self.mean)
        return [
            self.compare(by_name[DBN], plain_best, f"the best net without pre-training ({plain_best['method']})"),
            self.compare(by_name[DBN], best, f"the best shallow method on the labelled rows alone ({best['method']})"),
            self.compare(by_name[DBN], by_name[SPREADING], "label spreading, a shallow method that sees all rows too"),
        ]

    @staticmethod
    def compare(ours: Mapping[str, Any], other: Mapping[str, Any], name: str) -> str:
        """Whether the net is better than `other`: whether the mean paired difference is above two standard errors."""
        points = [100 * (a - b) for a, b in zip(other["errors"], ours["errors"], strict=True)]
        mean, draws = statistics.fmean(points), len(points)
        if draws == 1:
            more = "less" if mean > 0 else "more"
            return f"The deep belief net errs {abs(mean):.1f} points {more} than {name}; one draw says nothing of the spread."
        spread = statistics.stdev(points)
        figures = f"by {abs(mean):.1f} points (s.d. of the difference {spread:.1f}, {draws} draws)"
        if abs(mean) <= 2 * spread / math.sqrt(draws):
            return f"The deep belief net is too close to tell apart from {name}: it differs {figures}."
        return f"The deep belief net is {'better' if mean > 0 else 'worse'} than {name}: {figures}."


def run(
    out: Path, *, draws: int = 5, labels: int = 100, seed: int = 0, processes: int | None = None,
    settings: Settings = Settings(), say: Callable[[str], None] = print,
) -> Outcome:  # fmt: skip
    """Learns, compares and writes the demo into `out`; of an earlier demo there, the files are replaced.

    Arguments:
        draws: How often the labels to keep are drawn, and everything is learned again; draw k has the seed `seed` + k.
        processes: In which the learning is done; None is one per CPU, at most 4. The figures do not depend on it.

    Raises:
        FileExistsError: If `out` holds something else than an earlier demo.
    """
    check_out(out)
    say(f"Learning from {draws} draws of the labels, all methods from each ...")
    model, began, results = out / "model", time.perf_counter(), list[Result]()
    halves = (partial(learn_net, folder=model), learn_rivals)
    jobs = [
        partial(half, draw, settings.plan(labels, seed + draw), settings) for draw in range(draws) for half in halves
    ]
    found = _each(jobs, min(len(jobs), processes or min(4, _cpus())))
    for net, others in zip(found, found, strict=True):
        results.append(net | others)
        seconds, (ours, other) = (
            time.perf_counter() - began,
            (100 * results[-1][name][0] for name in (DBN, NO_PRETRAINING)),
        )
        say(
            f"draw {len(results)} of {draws}: error {ours:.1f} %, without pre-training {other:.1f} %  ({seconds:.0f} s)"
        )
    say("Writing the report ...")
    return _write(out, Learned.load(model), settings.plan(labels, seed), results)


def check_out(out: Path) -> None:
    """Makes the folder and marks it, unless it holds something else than an earlier demo."""
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already, and is no earlier demo. Choose another folder (--out).")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    (out / "model" / "log.jsonl").unlink(missing_ok=True)  # saving leaves a log that is there as it is


# -- learning ----------------------------------------------------------------------------------------------------------


def learn_net(draw: int, plan: Plan, settings: Settings, *, folder: Path) -> Result:
    """The deep belief net, both ways to ask it; that of the first draw is saved into `folder`."""
    net, training = prepare(plan)
    with _quiet():
        began = time.perf_counter()
        fit(net, training, SILENT)
        seconds = time.perf_counter() - began
        if draw == 0:
            net.data_ = describe(training, plan)
            net.save(folder, overwrite=True)
            plan.write(folder)
        errors = {score.head: score.error for score in scores(Learned(net, folder), plan.load("test"))}
    return {DBN: (errors["generative"], seconds), TUNED: (errors["network"], seconds)}


def learn_rivals(draw: int, plan: Plan, settings: Settings) -> Result:
    """All others, from the same labels."""
    training, test = prepare(plan)[1], plan.load("test")
    assert training.y is not None
    known = np.flatnonzero(training.y >= 0)
    rows, labels = training.matrix(known), training.y[known]
    scratch = {NO_PRETRAINING: settings.scratch, NO_PRETRAINING_RECTIFIED: settings.rectified}
    nets = {name: DBNClassifier(settings.net["layers"], **own, random_state=plan.seed) for name, own in scratch.items()}
    with _quiet():
        found = {
            name: _timed(each, rows, labels, test)
            for name, each in (nets | baselines.rivals("image", plan.seed)).items()
        }
        return found | {SPREADING: _timed(baselines.spreading(), training.matrix(), training.y, test)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """One thread, and no warnings: what is hard to train says so in the table."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield


def _timed(classifier: Any, rows: np.ndarray, labels: np.ndarray, test: Dataset) -> tuple[float, float]:
    began = time.perf_counter()
    classifier.fit(rows, labels)
    seconds = time.perf_counter() - began
    return float((classifier.predict(test.matrix()) != test.y).mean()), seconds


def _each(jobs: Sequence[Callable[[], Result]], processes: int) -> Iterator[Result]:
    """What the jobs return, in order; done by several processes where that is worth starting them."""
    if processes == 1:
        yield from map(_do, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _leave_signals) as pool:
        yield from pool.imap(_do, jobs)


def _do(job: Callable[[], Result]) -> Result:
    return job()


def _cpus() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _leave_signals() -> None:
    """Ctrl-C reaches all processes; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(out: Path, learned: Learned, plan: Plan, results: list[Result]) -> Outcome:
    from layerwise.explanation import explain

    training, test = prepare(plan)[1], plan.load("test")
    rows, names = dream(learned, (), 10)
    dreams = save_rows(rows, names, learned.row, out / "dreams.png", columns=10)
    methods = sorted((_method(name, results, training) for name in results[0]), key=Outcome.mean)
    report = explain(learned.model, test, out, comparison=methods, training=training)
    outcome = Outcome(methods, (len(training), len(test)), training.labelled, report, learned.folder, dreams)
    found = {"heading": outcome.heading, "conclusions": outcome.conclusions, "seed": plan.seed, "methods": methods}
    (out / MARK).write_text(json.dumps(found, indent=1))
    return outcome


def _method(name: str, results: list[Result], training: Dataset) -> dict[str, Any]:
    note = f"all {len(training)} rows" if name in ALL_ROWS else f"{training.labelled} labelled rows"
    return {
        "method": name, "errors": [result[name][0] for result in results], "note": note, "this": name == DBN,
        "seconds": statistics.fmean(result[name][1] for result in results),
    }  # fmt: skip
