"""`compare`: shallow rivals and our networks on the same split, each with the same budget of seconds; and a recommendation.

Every method learns in a process of its own, so that its memory is its own and one that takes too long can be stopped.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import resource
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from layerwise import baselines, lens
from layerwise.budget import learn, size_of
from layerwise.data import Dataset
from layerwise.estimators import DBNClassifier, NetworkClassifier
from layerwise.files import write_whole
from layerwise.tasks import Plan, prepare, suit

GRACE = 1.5  # times the budget, after which a method is stopped
FEW = 5000  # rows
SPREADING = 20000  # rows of which the graph of neighbours is made in time


@dataclass
class Entry:
    """What one method reached.

    Arguments:
        method: Its name.
        learned_from: "all rows", "labelled rows", or how many of these where there was no time for more.
        errors: Share of wrong test rows, per seed; empty if it never finished in time.
        seconds: To learn, per seed.
        parameters: Numbers that it keeps to answer with.
        memory: Peak MiB while learning and answering, above what the libraries and the rows take.
        why: What kept it from finishing.
        wrong: Which test rows it gave a wrong answer, per seed, each of shape (rows,); not written down.
    """

    method: str
    learned_from: str = ""
    errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    parameters: int = 0
    memory: float = 0.0
    why: str = ""
    wrong: list[np.ndarray] = field(default_factory=list, repr=False)

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
    """Our methods for rows of a kind by name: settings of `NetworkClassifier`, or of `DBNClassifier` where there is no "net".

    Example:
        >>> list(networks("table"))
        ['dense net', 'dense net, pre-trained', 'dense net on pieces', 'dense net on pieces, pre-trained', 'deep belief net',
         'deep belief net, tuned']
    """
    wide = {"layers": (500, 500), "up_down_epochs": 1}
    found: dict[str, dict[str, Any]] = {}
    for word, settings in NETS[kind].items():
        found[word] = settings
        found[f"{word}, pre-trained"] = settings | {"pretrain": "greedy"}
    return found | {
        "deep belief net": wide | {"classify": "generative"},
        "deep belief net, tuned": wide | {"dropout": 0.3},
    }


CONVOLUTIONAL: Any = {"net": "cnn", "options": {"dropout": 0.5}, "augment": "auto", "average": 0.99}
DENSE: Any = {"net": "mlp", "options": {"batch_norm": True, "dropout": 0.3}, "average": 0.99}
PIECES: Any = DENSE | {"rate": 4e-3, "options": DENSE["options"] | {"pieces": 200, "embedding": 8}}
# Of the thousands of columns of TF-IDF rows few matter, and each seldom: no batch has statistics of them.
WORDS: Any = {"net": "mlp", "layers": (256,), "options": {"dropout": 0.5, "input_dropout": 0.6}, "average": 0.99}
RECURRENT: Any = {"net": "lstm", "options": {"dropout": 0.5}}
NETS: dict[str, dict[str, Any]] = {
    "image": {"convolutional net": CONVOLUTIONAL},
    "sound": {"convolutional net": CONVOLUTIONAL, "convolutional net on stretched clips": CONVOLUTIONAL},
    "table": {"dense net": DENSE, "dense net on pieces": PIECES},
    "text": {"dense net": WORDS, "recurrent net": RECURRENT},
}
READ_AS: dict[str, dict[str, Any]] = {  # methods that want the rows otherwise than the rivals
    "recurrent net": {"form": "words"},
    "convolutional net on stretched clips": {"fit": "stretch"},
}


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
        budget: Seconds that a method may learn (see `layerwise.budget.learn`); what takes half as long again is stopped, and
            the table says so.
        methods: Names; empty: all.
        say: Is told what comes next.

    Raises:
        ValueError: If the data has no labels, or a method is unknown.
    """
    if plan.reading.get("form") not in (None, "tfidf", "counts"):
        raise ValueError("Shallow rivals read text as weights of words, and the recurrent net reads words in order by itself. "
                         "Leave form out, or take 'counts'.")  # fmt: skip
    training, test = _parts(plan)
    jobs = _jobs(training, plan.seed)
    if unknown := sorted(set(methods) - set(jobs)):
        raise ValueError(f"There is no method {unknown[0]!r}. There are {', '.join(jobs)}.")
    entries = []
    for name in methods or jobs:
        entry = Entry(name)
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
    return prepare(replace(plan, model="net", settings={}))[1], plan.load("test")


def _jobs(training: Dataset, seed: int) -> dict[str, Any]:
    """Unfitted classifiers by name, ours first; networks are yet to be told what a row is."""
    found: dict[str, Any] = {}
    few = len(training) < FEW  # they make enough updates if a batch is small
    for name, settings in networks(training.row.kind).items():
        if "net" in settings:
            found[name] = NetworkClassifier(**settings, batch_size=32 if few else 128, random_state=seed)
        else:
            found[name] = DBNClassifier(**settings, batch_size=20 if few else 100, random_state=seed)
    found |= baselines.rivals(training.row.kind, seed, shape=training.row.shape)
    if training.labelled < len(training):
        found |= baselines.rivals_of_all_rows(training.row.kind, seed)
    if len(training) > SPREADING:
        found.pop("label spreading", None)
    return found


def _measure(entry: Entry, plan: Plan, name: str, seed: int, budget: float) -> bool:
    """One seed of one method, in a process of its own; False if it did not finish."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, asdict(plan), name, seed, budget), daemon=True)
    process.start()
    there.close()
    try:
        found = here.recv()  # "ready": the rows are read
        for limit in (GRACE * budget + 5, None):  # to learn; to answer
            if found.get("why") is None:
                found = here.recv() if here.poll(limit) else {"why": f"stopped after {limit:.0f} s"}
    except EOFError:
        found = {"why": "its process ended (out of memory?)"}
    finally:
        process.terminate()
        process.join()
    if found.get("why") is not None:
        entry.why = str(found["why"])
        return False
    entry.errors.append(float(found["wrong"].mean()))
    entry.wrong.append(found["wrong"])
    entry.seconds.append(found["seconds"])
    entry.parameters, entry.memory = found["parameters"], max(entry.memory, found["memory"])
    entry.learned_from = found["learned_from"]
    return True


def _child(pipe: Connection, plan: Mapping[str, Any], name: str, seed: int, budget: float) -> None:
    """Learns and tests one method; tells when the rows are read, when it has learned, and what it found."""
    warnings.simplefilter("ignore")
    try:
        reading = {**plan["reading"], **next((way for word, way in READ_AS.items() if name.startswith(word)), {})}
        training, test = _parts(Plan(**{**plan, "seed": seed, "reading": reading}))
        model = _jobs(training, seed)[name]
        if isinstance(model, NetworkClassifier):
            suit(model, training.row)
        memory = Memory()
        pipe.send({})
        learned = _learned(model, training, budget, seed)
        pipe.send({})
        pipe.send(learned | {"wrong": _wrong(learned.pop("model"), test), "memory": memory.grown()})
    except Exception as error:
        pipe.send({"why": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"})


def _learned(model: Any, training: Dataset, seconds: float, seed: int) -> dict[str, Any]:
    assert training.y is not None
    found = learn(model, training.matrix(), training.y, seconds, seed)
    all_of_them = {len(training): "all rows", training.labelled: "labelled rows"}
    words = all_of_them.get(found.rows, f"{found.rows:,} of {training.labelled:,} labelled rows")
    return {"model": found.model, "seconds": found.seconds, "parameters": size_of(found.model), "learned_from": words}


def _wrong(model: Any, test: Dataset) -> np.ndarray:
    """Which labelled rows get a wrong answer, shape (rows,)."""
    assert test.y is not None
    known = np.flatnonzero(test.y >= 0)
    blocks = np.array_split(known, 1 + len(known) // 2000)
    return np.concatenate([model.predict(test.matrix(part)) != test.y[part] for part in blocks])


class Memory:
    """How much this process grows while it lives: what was taken before and given back does not count (on Linux; else it does).

    Example:
        >>> memory = Memory()
        >>> rows = np.ones((1000, 10000))
        >>> memory.grown() >= 0
        True
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: proc_pid_clear_refs(5)
        self.before = self._peak()

    def grown(self) -> float:
        """Peak resident memory since then, in MiB, above what was held then."""
        return max(0.0, self._peak() - self.before)

    @staticmethod
    def _peak() -> float:
        """Of this process, in MiB."""
        with contextlib.suppress(OSError):
            status = Path("/proc/self/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) / 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def advise(entries: Sequence[Entry], seeds: int) -> list[str]:
    """What to do, in plain words.

    Example:
        >>> quick = Entry("SVM", errors=[0.10, 0.12, 0.11], seconds=[1.0, 1.0, 1.0])
        >>> advise([Entry("net", errors=[0.09, 0.12, 0.11], seconds=[60.0, 60.0, 60.0]), quick], 3)[0]
        'Take SVM: nothing is better beyond doubt, and it learns in 1.0 s.'
    """
    done = sorted((entry for entry in entries if entry.errors), key=lambda entry: entry.error)
    if not done:
        return ["No method finished in time: give a larger budget."]
    best = done[0]
    same = [best, *(entry for entry in done[1:] if not _worse(entry, best))]
    pick = min(same, key=lambda entry: statistics.fmean(entry.seconds))
    took = f"{statistics.fmean(pick.seconds):.1f} s"
    if len(same) == 1:
        far = "beyond the spread between seeds" if len(best.errors) > 1 else "as far as one seed tells"
        said = [f"Take {best.method}: it is best, {far}."]
    elif pick is best:
        said = [f"Take {best.method}: nothing is better, and it learns in {took}."]
    else:
        said = [f"Take {pick.method}: nothing is better beyond doubt, and it learns in {took}."]
    if seeds < 3:
        said.append("With fewer than three seeds the spread is not known well: --seeds 3 says more.")
    return said + _of_pretraining(done)


def _worse(entry: Entry, best: Entry) -> bool:
    """Whether an entry is worse than the best beyond chance in the test rows: in each seed, or beyond the seeds' spread."""
    behind = lens.rank([best.errors, entry.errors])[1].verdict in ("behind", "unknown")
    if not (entry.wrong and best.wrong):
        return behind
    each = [not _by_chance([one], [other]) for one, other in zip(entry.wrong, best.wrong, strict=False)]
    return all(each) or (behind and not _by_chance(entry.wrong, best.wrong))


def _by_chance(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    """Whether other test rows might turn the order round (McNemar, 1947): of the rows that only one of the two gets wrong,
    about as many may be the one's as the other's. Counts are means over the seeds, which often share their test rows.

    Example:
        >>> few, more = np.arange(100) < 2, np.arange(100) < 12
        >>> _by_chance([more], [few]), _by_chance([more[:5]], [few[:5]])
        (False, True)
    """
    pairs = list(zip(one, other, strict=False))
    only = np.mean([[np.sum(a & ~b), np.sum(b & ~a)] for a, b in pairs], 0)
    return bool(only[0] - only[1] < 2 * np.sqrt(only.sum()))


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


def _written(found: Comparison) -> dict[str, Any]:
    entries = [{key: value for key, value in asdict(entry).items() if key != "wrong"} for entry in found.entries]
    return {**asdict(found), "entries": entries}


def write(found: Comparison, out: Path) -> Path:
    """Writes the comparison as JSON."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "compare.json"
    write_whole({path: json.dumps(_written(found), indent=1)})
    return path
