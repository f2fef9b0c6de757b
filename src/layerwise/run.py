"""A run: where a training shows its progress, writes its log and keeps its checkpoints."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

from layerwise.files import add_line, write_whole

State = Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM (`number` says which) arrived, and the state was saved."""

    number: int = signal.SIGINT


class Stage:
    """One stage under way: `advance` counts a step, shows it, and writes a checkpoint when it is time."""

    def __init__(self, run: Run, name: str, state: State) -> None:
        self.run, self.name, self.state = run, name, state
        self.saved = time.monotonic()
        self.signal: int | None = None

    def advance(self, text: str = "") -> None:
        """One more step is done; `text` is the figure, where there is a new one."""
        self.run.show(text)
        if self.signal is not None:
            self.run.save(self.name, self.state())
            self.stop()
        if self.run.folder is not None and time.monotonic() - self.saved >= self.run.interval:
            self.run.save(self.name, self.state())
            self.saved = time.monotonic()

    def stop(self) -> None:
        """Raises Stopped if a signal asked for it."""
        if self.signal is not None:
            stopped = Stopped(
                f"Stopped in {self.name}; the state is saved in {self.run.folder}. Go on with resume=True (--resume)."
            )
            stopped.number = self.signal
            raise stopped


class Run:
    """Progress, log and checkpoints of a training of one or more stages.

    Arguments:
        folder: Where `log.jsonl` and `checkpoints/` go; None keeps nothing.
        resume: Take up what the folder holds: finished stages are restored, an unfinished one goes on where its last
            checkpoint stands, to the same bits. Without it a folder that holds checkpoints is refused.
        interval: Seconds between checkpoints: the most that `kill -9` can lose.
        progress: Show a bar with the time left and the figure to watch (plain lines when not a terminal).

    Example:
        >>> Run().folder is None
        True
    """

    def __init__(
        self, folder: str | Path | None = None, *, resume: bool = False, interval: float = 60.0, progress: bool = False
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.interval, self.progress, self.resume = interval, progress, resume
        self.bar: Any = None
        if self.folder is None:
            return
        if not resume and any(self.checkpoints.glob("*")):
            raise FileExistsError(
                f"{self.folder} holds the checkpoints of an earlier run. Go on with it (resume=True, --resume), "
                "or choose another folder: nothing is overwritten."
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints, one file per stage."""
        assert self.folder is not None
        return self.folder / "checkpoints"

    @property
    def leads(self) -> bool:
        """Whether this process writes: only the first of several does."""
        return not dist.is_initialized() or dist.get_rank() == 0

    def path(self, name: str) -> Path:
        """The checkpoint file of a stage."""
        return self.checkpoints / (name.replace(" ", "_").replace("/", "_") + ".safetensors")

    def finished(self, name: str) -> bool:
        """Whether a checkpoint says that this stage came to its end."""
        saved = self.load(name)
        return saved is not None and bool(saved[1]["done"])

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` wrote for this stage, or None."""
        if self.folder is None or not self.path(name).exists():
            return None
        from safetensors import safe_open

        with safe_open(self.path(name), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads(file.metadata()["state"])

    def save(self, name: str, state: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
        """Writes a checkpoint whole or not at all, whenever the process may be killed."""
        if self.folder is None or not self.leads:
            return
        from safetensors.torch import save

        tensors, rest = state
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        write_whole({self.path(name): save(tensors, metadata={"state": json.dumps(rest)})})

    def log(self, stage: str, figure: str, entry: dict[str, float]) -> None:
        """Adds an epoch to `log.jsonl` and shows it where there is no terminal."""
        if not self.leads:
            return
        if self.folder is not None:
            add_line(self.folder / "log.jsonl", {"stage": stage, "figure_is": figure, **entry})
        if self.progress and self.bar is None:
            valid = f"  held out {entry['valid']:.4g}" if "valid" in entry else ""
            print(
                f"{stage}  epoch {entry['epoch']:>3}  {figure} {entry['figure']:.4g}{valid}  {entry['seconds']:.1f} s",
                flush=True,
            )

    def rewind(self, stage: str, epoch: int) -> None:
        """Takes what `log.jsonl` says of epochs after `epoch` of this stage out again: they are about to be repeated."""
        if self.folder is None or not self.leads or not (log := self.folder / "log.jsonl").exists():
            return

        def stays(line: str) -> bool:
            with contextlib.suppress(json.JSONDecodeError):  # a kill may have torn the last line
                entry = json.loads(line)
                return bool(entry["stage"] != stage or entry["epoch"] <= epoch)
            return False

        lines = log.read_text().splitlines(keepends=True)
        write_whole({log: "".join(line for line in lines if stays(line))})

    def show(self, text: str) -> None:
        """Moves the bar on by one step."""
        if self.bar is not None:
            bar, task = self.bar
            bar.update(task, advance=1, **({"figure": text} if text else {}))

    @contextlib.contextmanager
    def stage(self, name: str, steps: int, done: int, state: State) -> Iterator[Stage]:
        """Runs a stage: bar, signals turned into a checkpoint, and a last checkpoint when it ends well."""
        stage = Stage(self, name, state)
        with self._bar(name, steps, done), self._signals(stage):
            yield stage
            self.save(name, state())
        stage.stop()  # asked for after the last step

    @contextlib.contextmanager
    def _bar(self, name: str, steps: int, done: int) -> Iterator[None]:
        if not self.progress or not self.leads:
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = Console()
        if not console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description:<22}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[figure]}"))
        with Progress(*columns, *times, console=console) as bar:
            self.bar = (bar, bar.add_task(name, total=steps, completed=done, figure=""))
            try:
                yield
            finally:
                self.bar = None

    @contextlib.contextmanager
    def _signals(self, stage: Stage) -> Iterator[None]:
        """Turns Ctrl-C and SIGTERM into a flag that the next step sees; only where there is something to save."""
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def catch(number: int, _frame: object) -> None:
            if stage.signal is not None:
                raise KeyboardInterrupt  # asked twice: stop at once, the last checkpoint stands
            stage.signal = number

        before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


SILENT = Run()
