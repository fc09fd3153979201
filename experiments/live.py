"""An experiment in the terminal: what the runner tells, shown with the pieces of :mod:`.console`."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from headtohead.experiments import console as display
from headtohead.experiments.about_data import class_words, duplicate_words, length_words
from headtohead.experiments.book_log import log_of
from headtohead.experiments.cluster_progress import ClusterProgress
from headtohead.experiments.outcomes import run_name
from headtohead.experiments.progress import work_of
from headtohead.experiments.record import run_directory
from headtohead.experiments.spec import Experiment
from headtohead.experiments.spec.seeds import FEW_SEEDS
from headtohead.experiments.tables import visible
from headtohead.experiments.watch import Watcher
from headtohead.experiments.wording import plural

if TYPE_CHECKING:
    from headtohead.core import training
    from headtohead.core.data import Dataset
    from headtohead.experiments.agenda import Agenda
    from headtohead.experiments.record import RunRecord
    from headtohead.experiments.runs import Run
    from headtohead.experiments.statistics import Summary


MANY_MESSAGES = 10_000  # from which on tokenising them takes long enough to say so


class Live(Watcher):
    """Shows the plan, the progress and the end on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = ExitStack()
        self._progress: display.RunProgress | ClusterProgress | None = None
        self._tenths = 0  # of the messages are tokenised
        self._directory: Path | None = None  # of the experiment, where histories are to be printed

    def dry_run(self, experiment: Experiment) -> None:
        """The plan of an experiment, without doing it."""
        from headtohead.experiments.agenda import plan

        self.planned(plan(experiment, self))
        self._bars.close()
        self.console.print("Dry run: nothing was trained or written.")

    def preview(self, experiment: Experiment) -> None:
        """The messages as the model would get them."""
        from headtohead.experiments.inputs import find_inputs
        from headtohead.experiments.preview import print_preview

        print_preview(self.console, find_inputs(experiment))

    def tokenised(self, done: int, total: int) -> None:
        tenths = 10 * done // total
        if total >= MANY_MESSAGES and tenths > self._tenths:
            self.console.print(f"{done:,} of {total:,} messages tokenised")
            self._tenths = tenths

    def planned(self, agenda: "Agenda") -> None:
        """The panel with everything that is known before the first run."""
        inputs = agenda.inputs
        self._directory = agenda.directory if agenda.experiment.output.log else None
        if inputs.demo_parts:
            display.print_demo(self.console, inputs.demo_parts, list(inputs.replaced.values()))
        display.print_plan(self.console, _facts(agenda), _rows(agenda))
        if not (agenda.to_run or any(run.finished is None for run in agenda.trials)):
            what = "of this shard" if agenda.elsewhere else "of this experiment"
            self.console.print(f"Nothing to train: every run {what} is finished.")

    def launching(self, agenda: "Agenda", groups: Sequence[Sequence["Run"]]) -> None:
        known = {run.variant.label: run.finished.total_seconds for run in agenda.runs if run.finished}
        works = [
            work_of(agenda.engine.of(group[0].part), [run.variant for run in group], known)
            for group in groups
        ]
        self._bars.close()  # that of the round before
        names = [_name(run) for group in groups for run in group]
        if agenda.experiment.launch.launcher == "local":
            self._progress = self._bars.enter_context(
                display.drawn(self.console, display.RunProgress(self.console, works, names))
            )
        else:
            costs = {run.title: work for group, work in zip(groups, works, strict=True) for run in group}
            self._progress = self._bars.enter_context(
                display.drawn(self.console, ClusterProgress(self.console, costs, names))
            )

    def began(self, titles: Sequence[str]) -> None:
        assert isinstance(self._progress, display.RunProgress)
        self._progress.begin(titles)

    def placed(self, titles: Sequence[str], where: str) -> None:
        assert isinstance(self._progress, ClusterProgress)
        self._progress.placed(titles, where)

    def lost(self, titles: Sequence[str], why: str) -> None:
        assert isinstance(self._progress, ClusterProgress)
        self._progress.lost(titles, why)

    def step(self, progress: "training.Progress") -> None:
        assert self._progress is not None
        self._progress.step(progress)

    def finished(self, record: "RunRecord") -> None:
        assert self._progress is not None
        self._progress.end(record)
        if self._directory is not None and record.ok:
            text = log_of(run_directory(self._directory, record.run_id), record)
            self.console.print(Text("\n".join(map(visible, text.splitlines()))), soft_wrap=True)

    def reported(self, summary: "Summary", paths: Mapping[str, Path], seconds: float | None) -> None:
        self._bars.close()
        display.print_end(self.console, summary, paths, seconds)

    def interrupted(self, kept: int, of: int) -> None:
        self._bars.close()
        said = f"Interrupted: {kept} of {of} runs are finished and kept; the same command continues."
        self.console.print(said, style="bold yellow")


def _name(run: "Run") -> str:
    return run_name(
        run.variant.label, run.part.train_size, run.part.split, run.part.epochs if run.trial_of else None
    )


def _facts(agenda: "Agenda") -> dict[str, str]:
    """The upper half of the panel."""
    from headtohead.experiments.environment import device_name

    dataset, config, pretrained = agenda.inputs.dataset, agenda.engine.config, agenda.inputs.pretrained
    left, total, others = len(agenda.to_run), len(agenda.runs), len(agenda.elsewhere)
    kept = sum(run.finished is not None and run.run_id not in agenda.elsewhere for run in agenda.runs)
    finished = f", {kept} finished already and not run again" if kept else ""
    finished += f", {others} in other shards" if others else ""
    splits = f"{len(dataset.train):,} / {len(dataset.validation):,} / {len(dataset.test):,} messages"
    return {
        "model": f"{pretrained.name} ({pretrained.source})",
        "data": f"{dataset.name} ({dataset.source})",
        "": f"{splits} to train / validate / test",
        "messages": _messages(dataset),
        "protocol": f"{config.epochs} {plural('epoch', config.epochs)}, batches of {config.batch_size}"
        + (f" x {config.accumulation_steps} accumulated, " if config.accumulation_steps > 1 else ", ")
        + f"{dataset.max_length} tokens, classified at {config.readout.words}"
        + ("" if config.causal else ", without a causal mask"),
        "device": device_name(agenda.engine.options.device),
        **({"memory": agenda.memory} if agenda.memory else {}),
        "seeds": _seeds(agenda),
        **_trials(agenda),
        "runs": f"{total}{finished}{_aside(agenda)}" + ("" if left else " (--force does them again)"),
        "time": _time(agenda.estimate.low, agenda.estimate.high),
        "results": str(agenda.directory),
    }


def _time(low: float, high: float) -> str:
    """Between which seconds the runs will take: "roughly 2 min to 5 min", or only the most where it is soon done."""
    least, most = display.roughly(low).removeprefix("under "), display.roughly(high)
    return (
        f"about {most}"
        if least == most
        else most
        if most.startswith("under")
        else f"roughly {least} to {most}"
    )


def _messages(dataset: "Dataset") -> str:
    """Classes, duplicates and lengths."""
    about = dataset.preparation
    if about is None:
        return f"{len(dataset.label_names)} classes"
    lengths = length_words(about, dataset.max_length)
    return "; ".join([*class_words(about, dataset.label_names), *duplicate_words(about), *lengths])


def _aside(agenda: "Agenda") -> str:
    """How many runs there are beside the comparison, if any."""
    return f", and {len(agenda.aside)} on subsets and other splits" if agenda.aside else ""


def _trials(agenda: "Agenda") -> dict[str, str]:
    """What is tried before the runs, if anything is."""
    if agenda.tuning is None:
        return {}
    counts = [f"{each.variant.label} {len(each.tried)}" for each in agenda.tuning.candidates if each.tried]
    seeds = f"{plural('seed', len(agenda.tuning.seeds))} {', '.join(map(str, agenda.tuning.seeds))}"
    return {"trials": f"{', '.join(counts) or 'none'} ({seeds}), on validation messages; then the runs"}


def _seeds(agenda: "Agenda") -> str:
    seeds = list(dict.fromkeys(run.seed for run in agenda.runs))
    text = ", ".join(map(str, seeds))
    if len(seeds) > 1 or agenda.experiment.seeds is not None:
        return text
    more = display.roughly(agenda.estimate.seconds * (len(FEW_SEEDS) - 1))
    return (
        f"{text}: one seed shows no difference that would hold; --seeds {','.join(map(str, FEW_SEEDS))} "
        f"would take about {more} more"
    )


def _rows(agenda: "Agenda") -> list[display.PlanRow]:
    by_label: dict[str, list[Run]] = {}
    for each in agenda.runs:
        by_label.setdefault(each.variant.label, []).append(each)
    return [_row(agenda, runs) for runs in by_label.values()]


def _row(agenda: "Agenda", runs: Sequence["Run"]) -> display.PlanRow:
    from headtohead.experiments.runs import learning_rate, one_line

    variant = runs[0].variant
    row = display.PlanRow(
        label=variant.label,
        trains=variant.strategy.describe(),
        learning_rate=learning_rate(variant.strategy),
        to_run=sum(each.finished is None and each.run_id not in agenda.elsewhere for each in runs),
        of=len(runs),
        kept=tuple(each.seed for each in runs if each.finished),
    )
    known = next((each.finished for each in runs if each.finished), None)
    if known is not None:
        return replace(row, trainable=known.trainable_params, total=known.total_params)
    try:
        seen = agenda.engine.inspect(variant)
    except Exception as error:  # noqa: BLE001 - shown here; its runs will fail with the same error and be recorded so
        return replace(row, trouble=f"will fail: {one_line(error)}")
    return replace(row, trainable=seen.trainable_params, total=seen.total_params, how=tuple(seen.words))
