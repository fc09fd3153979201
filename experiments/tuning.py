"""Every strategy tuned with the same budget, on validation messages alone.

A budget of N trials is a grid that is known before anything runs (``core/search.py``): all N are trained for a few
epochs under the tune seeds, the best of them and the strategy's defaults for all epochs (successive halving, in two
rounds that wait for all of their trials, so that nothing depends on the order in which they end: Jamieson and
Talwalkar 2016, arXiv:1502.07943). The highest mean validation accuracy is chosen. A trial is a run without test
messages and without a classifier; it is finished once and kept, as every run.

What is chosen is worked out from the records of the trials, here for the runner and for the report alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from headtohead.core.errors import InputError, shown
from headtohead.core.search import trials
from headtohead.experiments.record import RunRecord
from headtohead.strategies import configure, did_you_mean

if TYPE_CHECKING:
    from headtohead.core.config import GPTConfig
    from headtohead.core.strategy import Method, Strategy, Variant

FIRST_ROUND = 5  # the first round trains for this part of the epochs
FINALISTS = 6  # and this part of the trials goes on


# --- what is tried ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """What is tried for one variant.

    Attributes:
        variant: with its defaults.
        tried: variants whose labels say what was set; none where nothing is searched.
        fields: what they differ in, the most important first.
        default: which of them is the variant itself; None in a grid by hand without it.
    """

    variant: "Variant"
    tried: "tuple[Variant, ...]" = ()
    fields: tuple[str, ...] = ()
    default: int | None = None

    def named(self, label: str) -> "Variant":
        """The variant that is to run where the trial ``label`` was chosen: under the label of the tuned one."""
        chosen = next(each for each in self.tried if each.label == label)
        return replace(chosen, label=self.variant.label)


def read_sweeps(texts: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """``["lora.r=4/8"]`` -> ``{"lora": {"r": ("4", "8")}}``.

    Raises:
        InputError: a text of another form, a field that is swept twice, or fewer than two different values.
    """
    sweeps: dict[str, dict[str, tuple[str, ...]]] = {}
    for text in texts:
        place, equals, listed = text.partition("=")
        name, dot, field = place.partition(".")
        values = tuple(dict.fromkeys(value.strip() for value in listed.split("/")))
        if not (name and dot and field and equals):
            raise InputError(
                f"--sweep {shown(text)}: not NAME.FIELD=A/B/C, as in lora.learning_rate=1e-4/3e-4/1e-3"
            )
        if len(values) < 2 or not all(values):
            raise InputError(
                f"--sweep {shown(text)}: a sweep needs at least two different values, as in 1e-4/3e-4/1e-3"
            )
        if field in sweeps.setdefault(name, {}):
            raise InputError(
                f"--sweep {shown(text)}: {name}.{field} is swept already; give all its values at once"
            )
        sweeps[name][field] = values
    return sweeps


def candidates(
    variants: "Sequence[Variant]", budget: int | None, sweeps: Sequence[str], config: "GPTConfig"
) -> list[Candidates]:
    """What is tried for each variant: its sweep by hand, or ``budget`` trials of what it declares.

    Fields that a label sets are not searched, nor are settings that the model cannot take.

    Raises:
        InputError: a sweep of a strategy or a field that is not there, or of values that it cannot take.
    """
    by_hand = read_sweeps(sweeps)
    names = {variant.name for variant in variants}
    for name in sorted(set(by_hand) - names):
        raise InputError(
            f"--sweep {shown(name)}...: no such strategy is compared; {did_you_mean(name, names)}"
        )
    return [_candidates(variant, budget, by_hand.get(variant.name), config) for variant in variants]


def _candidates(
    variant: "Variant", budget: int | None, sweep: dict[str, tuple[str, ...]] | None, config: "GPTConfig"
) -> Candidates:
    from headtohead.core.strategy import Strategy

    strategy = variant.strategy
    found: list[Method]
    if sweep is not None:
        fields, found = tuple(sweep), _swept(variant, sweep, config)
    elif budget is not None and isinstance(strategy, Strategy):
        fixed = _set_by_label(variant.label)
        search = {name: space for name, space in type(strategy).search.items() if name not in fixed}
        defaults = {name: getattr(strategy, name) for name in search}
        fields = tuple(search)
        found = list(_possible(strategy, trials(search, defaults, budget), config)) if search else []
    else:
        return Candidates(variant)
    tried = []
    for each in found:
        label = _label(variant.label, {name: getattr(each, name) for name in fields})
        tried.append(replace(variant, label=label, strategy=each))
    return Candidates(variant, tuple(tried), fields, found.index(strategy) if strategy in found else None)


def _swept(variant: "Variant", sweep: dict[str, tuple[str, ...]], config: "GPTConfig") -> "list[Method]":
    """The whole product of a sweep by hand; a setting that cannot be is an error, not left out."""
    from headtohead.core.strategy import Strategy

    if both := sorted(_set_by_label(variant.label) & set(sweep)):
        raise InputError(f"--sweep {variant.name}.{both[0]}: {variant.label} sets it already; leave out one")
    found = [
        configure(variant.strategy, dict(zip(sweep, values, strict=True)), variant.name)
        for values in product(*sweep.values())
    ]
    for each in found:
        if isinstance(each, Strategy):
            each.check(config)
    return found


def _possible(
    strategy: "Strategy", settings: Iterable[dict[str, Any]], config: "GPTConfig"
) -> "Iterable[Strategy]":
    """The strategy under those settings that its fields and the model allow."""
    for setting in settings:
        try:
            found = replace(strategy, **setting)
            found.check(config)
        except InputError:  # outside of a field's range: the grid ends there
            continue
        yield found


def _set_by_label(label: str) -> set[str]:
    _, _, options = label.partition("@")
    return {option.partition("=")[0].strip() for option in options.split("+") if option}


def _label(label: str, values: dict[str, Any]) -> str:
    texts = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    ]
    return "+".join([f"{label}{'+' if '@' in label else '@'}{texts[0]}", *texts[1:]])


# --- rounds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuning:
    """What is tried for all variants, and how.

    Attributes:
        seeds: under each of which every setting is tried.
        epochs: the protocol's.
        full: no trial ends early.
    """

    candidates: tuple[Candidates, ...]
    seeds: tuple[int, ...]
    epochs: int
    full: bool = False

    def first(self, each: Candidates) -> int:
        """Epochs of the first round: all of them where few are tried or each shall be trained to its end."""
        return self.epochs if self.full or len(each.tried) <= 2 else max(1, self.epochs // FIRST_ROUND)

    def first_round(self) -> "list[tuple[Candidates, Variant, int]]":
        """Every trial, with its epochs."""
        return [(each, trial, self.first(each)) for each in self.candidates for trial in each.tried]

    def second_round(self, records: Sequence[RunRecord]) -> "list[tuple[Candidates, Variant, int]]":
        """The best of those that ended early, and the defaults beside them, with all epochs."""
        done = tried(records)
        found = []
        for each in self.candidates:
            if self.first(each) < self.epochs:
                ranked = [one.label for one in ranking(one for one in done if one.of == each.variant.label)]
                labels = set(ranked[: self.places(each)])
                if each.default is not None:
                    labels.add(each.tried[each.default].label)
                found += [(each, trial, self.epochs) for trial in each.tried if trial.label in labels]
        return found

    @staticmethod
    def places(each: Candidates) -> int:
        """How many of the first round's best go on."""
        return max(2, len(each.tried) // FINALISTS)

    def chosen(self, records: Sequence[RunRecord]) -> "list[Variant]":
        """The variants as they are to be compared; one of which every trial failed keeps its defaults."""
        done = tried(records)
        variants = []
        for each in self.candidates:
            found = best([one for one in done if one.of == each.variant.label])
            variants.append(each.variant if found is None else each.named(found.label))
        return variants

    def facts(self, trial_ids: Sequence[str]) -> dict[str, Any]:
        """What experiment.json says of it."""
        return {
            "seeds": list(self.seeds),
            "epochs": self.epochs,
            "full": self.full,
            "trials": list(trial_ids),
            "variants": [
                {
                    "label": each.variant.label,
                    "strategy": each.variant.name,
                    "tried": len(each.tried),
                    "first_epochs": self.first(each),
                    "fields": list(each.fields),
                    "default": None if each.default is None else each.tried[each.default].label,
                    "hyperparameters": asdict(each.variant.strategy),
                }
                for each in self.candidates
            ],
        }


# --- what came out ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """One setting: means over the tune seeds; None where a seed failed.

    Attributes:
        of: the label of the variant that is tuned.
        epochs: how long it was trained.
        loss_fell: whether the training loss fell under every seed; None where that is not known.
    """

    of: str
    label: str
    epochs: int
    hyperparameters: dict[str, Any]
    accuracy: float | None
    loss: float | None
    seeds: int
    loss_fell: bool | None


def tried(records: Iterable[RunRecord]) -> list[Tried]:
    """The trials among the records, the seeds of one setting and one length together."""
    groups: dict[tuple[str, str, int], list[RunRecord]] = {}
    for record in records:
        if record.role == "trial" and record.trial_of is not None:
            key = record.trial_of, record.label, int(record.train_config.get("epochs", 0))
            groups.setdefault(key, []).append(record)
    return [_mean(*key, group) for key, group in groups.items()]


def _mean(of: str, label: str, epochs: int, group: Sequence[RunRecord]) -> Tried:
    accuracies = [record.validation_accuracy for record in group if record.ok]
    losses = [record.validation_loss for record in group if record.ok]
    fell = [record.loss_fell for record in group]
    known = len(accuracies) == len(group) and None not in accuracies
    return Tried(
        of,
        label,
        epochs,
        group[0].hyperparameters,
        float(np.mean(np.array(accuracies, dtype=float))) if known else None,
        float(np.mean(np.array(losses, dtype=float))) if known and None not in losses else None,
        len(group),
        None if None in fell else all(fell),
    )


def ranking(tried: Iterable[Tried]) -> list[Tried]:
    """The best first: by validation accuracy, then by validation loss; those that failed are left out."""
    known = [each for each in tried if each.accuracy is not None]
    return sorted(known, key=lambda each: (-(each.accuracy or 0), np.inf if each.loss is None else each.loss))


def best(tried: Sequence[Tried]) -> Tried | None:
    """What is chosen for one variant: the best of those that were trained longest; None where all failed."""
    longest = max((each.epochs for each in tried), default=0)
    return next(iter(ranking(each for each in tried if each.epochs == longest)), None)


def expected_best(accuracies: Sequence[float]) -> list[float]:
    """The expected highest of n of these N values drawn without replacement, for n = 1 .. N.

    The unbiased estimator of Tang et al. (2020), arXiv:2004.13705, of what Dodge et al. (2019), arXiv:1909.03004,
    report: each value is the highest of n in C(rank - 1, n - 1) of the C(N, n) draws.
    """
    ordered, count = sorted(accuracies), len(accuracies)
    return [
        sum(comb(rank, drawn - 1) * value for rank, value in enumerate(ordered)) / comb(count, drawn)
        for drawn in range(1, count + 1)
    ]


def on_edge(values: Sequence[float], chosen: float) -> str | None:
    """ "lowest" or "highest" where the chosen number is the end of what was tried, else None."""
    if len(set(values)) < 2:
        return None
    return {min(values): "lowest", max(values): "highest"}.get(chosen)
