"""`compare`: shallow rivals and our networks on the same split, each with the same budget of seconds; and a recommendation.

Every method learns in a process of its own, so that its memory is its own and one that takes too long can be stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from layerwise import baselines, lens
from layerwise.data import Dataset
from layerwise.files import write_whole
from layerwise.tasks import Plan, prepare, suit

GRACE = 1.5  # times the budget, after which a method is stopped
PROBE = 2  # epochs by which a network's speed is measured
SPREADING = 20000  # rows of which the graph of neighbours is made in time


@dataclass
class Entry:
    """What one method reached.

    Arguments:
        method: Its name.
        learned_from: "all rows" or "labelled rows".
        errors: Share of wrong test rows, per seed; empty if it never finished in time.
        seconds: To learn, per seed.
        parameters: Numbers that it keeps to answer with.
        memory: Peak MiB while learning, above what the libraries take.
        why: What kept it from finishing.
    """

    method: str
    learned_from: str
    errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    parameters: int = 0
    memory: float = 0.0
    why: str = ""

    @property
    def error(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.errors)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, if there are several."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None


@dataclass
class Comparison:
    """Entries, best first, those that never finished last; what they were measured on; and what to do."""

    entries: list[Entry]
    data: str
    budget: float
    seeds: int
    advice: list[str]


def networks(kind: str) -> dict[str, dict[str, Any]]:
    """Our nets for rows of a kind by name: settings of `NetworkClassifier`, "data" for the share of epochs left to tuning.

    Example:
        >>> list(networks("table"))
        ['dense net', 'dense net, pre-trained']
    """
    net = {"image": "cnn", "sound": "cnn"}.get(kind, "mlp")
    word = "convolutional net" if net == "cnn" else "dense net"
    options = {"dropout": 0.5} if net == "cnn" else {"batch_norm": True, "dropout": 0.3}
    plain = {"net": net, "options": options, "augment": "auto", "average": 0.99}
    found = {word: plain, f"{word}, pre-trained": plain | {"pretrain": "greedy"}}
    if kind == "text":  # of TF-IDF rows; few of thousands of columns matter
        for each in found.values():
            each |= {"layers": (256,), "options": {"dropout": 0.5, "input_dropout": 0.3}}
    return found


def compare(
    plan: Plan,
    *,
    seeds: int = 3,
    budget: float = 60.0,
    methods: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Comparison:
    """Learns all methods on the plan's training rows, `seeds` times each, and tests them on its test rows.

    Every seed draws the split (where there is no official one) and the labels kept anew.

    Arguments:
        plan: The data, how it is read and the labels that are kept; its model and settings are not looked at.
        budget: Seconds that a method may learn. Networks learn as many epochs as fit; rivals that take half as long again
            are stopped, and the table says so.
        methods: Names; empty: all.
        say: Is told what comes next.

    Raises:
        ValueError: If the data has no labels, or a method is unknown.
    """
    training, test = _parts(plan)
    jobs = _jobs(training, plan.seed)
    if unknown := sorted(set(methods) - set(jobs)):
        raise ValueError(f"There is no method {unknown[0]!r}. There are {', '.join(jobs)}.")
    entries = []
    for name in methods or jobs:
        entry = Entry(name, "all rows" if "pre-trained" in name or "spreading" in name else "labelled rows")
        for seed in range(plan.seed, plan.seed + seeds):
            if say is not None:
                say(f"{name}, seed {seed} ...")
            if not _measure(entry, plan, name, seed, budget):
                break
        entries.append(entry)
    entries.sort(key=lambda entry: (not entry.errors, entry.error if entry.errors else 0.0))
    words = f"{training.describe()}; tested on {test.labelled} rows"
    return Comparison(entries, words, budget, seeds, advise(entries, seeds))


def _parts(plan: Plan) -> tuple[Dataset, Dataset]:
    return prepare(_any(plan))[1], plan.load("test")


def _any(plan: Plan) -> Plan:
    return Plan(plan.data, "net", plan.labels, plan.holdout, plan.reading, plan.seed)


def _jobs(training: Dataset, seed: int) -> dict[str, Any]:
    """Unfitted classifiers by name, ours first."""
    from layerwise.estimators import NetworkClassifier

    found: dict[str, Any] = {}
    for name, settings in networks(training.row.kind).items():
        found[name] = NetworkClassifier(**settings, random_state=seed)
        suit(found[name], training.row)
    found |= baselines.rivals(training.row.kind, seed, shape=training.row.shape)
    if training.labelled < len(training) <= SPREADING:
        found["label spreading"] = baselines.spreading()
    return found


def _measure(entry: Entry, plan: Plan, name: str, seed: int, budget: float) -> bool:
    """One seed of one method, in a process of its own; False if it did not finish."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, asdict(plan), name, seed, budget), daemon=True)
    process.start()
    there.close()
    try:
        began = here.recv()  # "ready": the rows are read
        finished = here.poll(GRACE * budget + 5) if began == "ready" else True
        found: Any = began if began != "ready" else here.recv() if finished else {"why": "took too long"}
    except EOFError:
        found = {"why": "its process ended (out of memory?)"}
    finally:
        process.terminate()
        process.join()
    if "why" in found:
        entry.why = str(found["why"])
        return False
    entry.errors.append(found["error"])
    entry.seconds.append(found["seconds"])
    entry.parameters, entry.memory = found["parameters"], max(entry.memory, found["memory"])
    return True


def _child(pipe: Connection, plan: Mapping[str, Any], name: str, seed: int, budget: float) -> None:
    """Learns and tests one method; sends "ready", then what it found."""
    warnings.simplefilter("ignore")
    try:
        mine = Plan(**{**plan, "seed": seed})
        training, test = _parts(mine)
        model = _jobs(training, seed)[name]
        before = _peak()
        pipe.send("ready")
        pipe.send(_learned(model, training, test, budget, before))
    except Exception as error:
        pipe.send({"why": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"})


def _learned(model: Any, training: Dataset, test: Dataset, budget: float, before: float) -> dict[str, Any]:
    assert training.y is not None and test.y is not None
    whole = hasattr(model, "pretrain") or "Spreading" in type(model).__name__
    index = np.arange(len(training)) if whole else np.flatnonzero(training.y >= 0)
    x, y = training.matrix(index), training.y[index]
    known = np.flatnonzero(test.y >= 0)
    began = time.perf_counter()
    if hasattr(model, "pretrain"):
        model = in_time(model, x, y, budget)
    model.fit(x, y)
    seconds = time.perf_counter() - began
    blocks = np.array_split(known, 1 + len(known) // 2000)
    wrong = np.concatenate([model.predict(test.matrix(part)) != test.y[part] for part in blocks])
    return {
        "error": float(wrong.mean()),
        "seconds": seconds,
        "parameters": size_of(model),
        "memory": max(0.0, _peak() - before),
    }


def in_time(network: Any, x: np.ndarray, y: np.ndarray, budget: float) -> Any:
    """The network with as many epochs (2 to 100) as fit into `budget` seconds, by the time that a few batches take."""
    from sklearn.base import clone

    rows = np.random.RandomState(0).permutation(len(x))[: 20 * network.batch_size]
    labels = np.where(y[rows] < 0, y[y >= 0][0], y[rows])
    labels[: len(np.unique(y[y >= 0]))] = np.unique(y[y >= 0])[: len(rows)]
    clone(network).set_params(pretrain=None, epochs=1).fit(x[rows], labels)  # the first steps are slow
    began = time.perf_counter()
    clone(network).set_params(pretrain=None, epochs=PROBE).fit(x[rows], labels)
    each = (time.perf_counter() - began) / PROBE / len(rows)
    left, labelled = budget * 0.9, max(int((y >= 0).sum()), 1)
    if network.pretrain is not None:
        epochs = int(np.clip(left / 3 / (2 * each * len(x)), 1, 20))
        network.set_params(pretrain_epochs=epochs)
        left *= 2 / 3
    steps = max(100, 2000 * 16 // labelled)  # few rows need many epochs
    return network.set_params(epochs=int(np.clip(left / (each * labelled), 2, min(steps, 400))))


def size_of(model: Any) -> int:
    """How many numbers a fitted model keeps to answer with."""
    if hasattr(model, "parameters_"):
        return int(model.parameters_)
    return sum(_numbers(part) for part in _inside(model))


def _inside(model: Any) -> Iterator[Any]:
    model = getattr(model, "best_estimator_", model)
    yield from (part for _, part in model.steps) if hasattr(model, "steps") else (model,)


def _numbers(part: Any) -> int:
    if hasattr(part, "_predictors"):  # boosted trees: a feature, a threshold, two children and a value per node
        return sum(5 * tree.get_n_leaf_nodes() * 2 for line in part._predictors for tree in line)
    total = 0
    for name, value in vars(part).items():
        if name.endswith("_") or name == "_fit_X":
            total += int(getattr(value, "size", 0)) if hasattr(value, "shape") else 0
    return total


def _peak() -> float:
    """Peak resident memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def advise(entries: Sequence[Entry], seeds: int) -> list[str]:
    """What to do, in plain words.

    Example:
        >>> quick = Entry("SVM", "labelled rows", [0.10, 0.12, 0.11], [1.0, 1.0, 1.0])
        >>> advise([Entry("net", "labelled rows", [0.09, 0.12, 0.11], [60.0, 60.0, 60.0]), quick], 3)[0]
        'Take SVM: nothing is better beyond doubt, and it learns in 1.0 s.'
    """
    done = sorted((entry for entry in entries if entry.errors), key=lambda entry: entry.error)
    if not done:
        return ["No method finished in time: give a larger budget."]
    best = done[0]
    same = [best, *(entry for entry in done[1:] if not _worse(entry, best))]
    pick = min(same, key=lambda entry: statistics.fmean(entry.seconds))
    took = f"{statistics.fmean(pick.seconds):.1f} s"
    if len(best.errors) < 2:
        said = [f"Take {best.method}: it is best, as far as one seed tells."]
    elif pick is best and len(same) == 1:
        said = [f"Take {best.method}: it is best, beyond the spread between seeds."]
    elif pick is best:
        said = [f"Take {best.method}: nothing is better, and it learns in {took}."]
    else:
        said = [f"Take {pick.method}: nothing is better beyond doubt, and it learns in {took}."]
    if seeds < 3:
        said.append("With fewer than three seeds the spread is not known well: --seeds 3 says more.")
    return said + _of_pretraining(done)


def _worse(entry: Entry, best: Entry) -> bool:
    """Whether an entry is worse than the best beyond doubt."""
    return lens.rank([best.errors, entry.errors])[1].verdict in ("behind", "unknown")


def _of_pretraining(done: Sequence[Entry]) -> list[str]:
    by_name = {entry.method: entry for entry in done}
    pairs = [(entry, by_name.get(f"{name}, pre-trained")) for name, entry in by_name.items()]
    said = []
    for plain, grown in pairs:
        if grown is not None:
            gain = 100 * (plain.error - grown.error)
            what = "brought" if gain > 0 else "cost"
            said.append(f"Pre-training the {plain.method} on all rows {what} {abs(gain):.1f} points.")
    return said


def write(found: Comparison, out: Path) -> Path:
    """Writes the comparison as JSON."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "compare.json"
    write_whole({path: json.dumps(asdict(found), indent=1)})
    return path
