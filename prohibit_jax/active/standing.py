"""Where a class stands: its rounds, what they found, what is left to find, and whether to go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
from etils import epath
from matplotlib.figure import Figure

from prohibit_jax.active import stopping
from prohibit_jax.active.curve import curve, expected_gain
from prohibit_jax.active.estimate import Draw, left_by_draws
from prohibit_jax.active.loop import settle, stand
from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.active.pool import askable
from prohibit_jax.active.queue import Ask
from prohibit_jax.active.rounds import Round, Rounds
from prohibit_jax.active.stopping import Verdict
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.data.label_store import Resolved, open_label_store
from prohibit_jax.evaluate.metrics import Interval
from prohibit_jax.evaluate.plots import CURVE, FAINT, FOUND, STYLE, save
from prohibit_jax.heads.quick import LEAST
from prohibit_jax.types import InputError, Line, silent


@dataclass(frozen=True)
class Yield:
    """What became of photos that were asked about.

    A photo that several rounds asked counts as answered in the round and for the strategy of its first answer.
    """

    asked: int
    answered: int  # yes or no
    positives: int

    @property
    def per_hundred(self) -> float | None:
        """Photos of the class in a hundred answered ones."""
        return 100 * self.positives / self.answered if self.answered else None


@dataclass(frozen=True)
class Point:
    """A round as it stands today: its photos by strategy, and its head on the honest sample."""

    round: Round
    strategies: dict[str, Yield]
    quality: Interval | None

    @property
    def chosen(self) -> Yield:
        """Of all strategies but random."""
        return _sum(found for name, found in self.strategies.items() if name != RANDOM)

    @property
    def random(self) -> Yield:
        """Of the random share."""
        return self.strategies.get(RANDOM, Yield(0, 0, 0))


@dataclass(frozen=True)
class Standing:
    """Where a class stands.

    Attributes:
        name: the class.
        answers: photos by resolved answer.
        points: its rounds, oldest first.
        strategies: what became of each strategy's photos, all rounds together.
        sample: photos of the class and others on the honest sample.
        found: photos of the class known in the pool.
        unanswered: photos of the pool without an answer.
        drawn: photos of the class among those, from the random draws.
        scored: the same by the last head's scores; a model's number.
        gain: of average precision, expected from as many labels as the last round asks for.
        verdicts: of the stopping rules.
        decision: what they say together.
        advice: what to do next, in one sentence.
    """

    name: str
    answers: dict[str, int]
    points: tuple[Point, ...]
    strategies: dict[str, Yield]
    sample: tuple[int, int]
    found: int
    unanswered: int
    drawn: Interval | None
    scored: Interval | None
    gain: Interval | None
    verdicts: tuple[Verdict, ...]
    decision: Verdict
    advice: str


def look(
    name: str,
    store: Store | epath.PathLike,
    *,
    labels: str | None = None,
    stop: str | None = None,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Standing:
    """Reads the rounds and the labels of a class. Raises InputError where there is no round, in one line.

    Args:
        name: the class.
        store: where its rounds and heads are.
        labels: address of the label store, by default that of the last round.
        stop: the rules by which to stop, by default those of the last round.
        progress: opens a progress bar.
        warn: told in one line what is worth knowing.
    """
    store = open_store(store)
    rounds = Rounds(store, name)
    made = rounds.all()
    if not made:
        raise InputError(f"class {name}: no round yet; begin with launch loop next --class {name} --pool SCORES")
    settings = settle(made, {"labels": labels, "stop": stop})
    ground = stand(name, store, settings, progress=progress, warn=warn)
    answers = {answer.sha256: answer for answer in ground.answers}
    queues = {one.number: rounds.queue(one.number) for one in made}
    course = curve(made, rounds, ground.labelled, store, ground.pool, ground.config)
    points = tuple(
        Point(one, _yields(one.number, queues[one.number], answers), course.quality.get(one.number)) for one in made
    )

    first: dict[str, datetime] = {}
    for label in open_label_store(settings.labels, store).stream(name):
        first.setdefault(label.sha256, label.time)
    found = int(ground.labelled.labels[ground.labelled.rows >= 0].sum())
    unanswered = len(askable(ground.pool, answers, ()).rows)
    drawn = left_by_draws(_draws(made, queues, answers, first), found, unanswered)
    scored = _fewer(made[-1].left, found - made[-1].found)
    verdicts = _verdicts(settings.stop, made[-1], found, scored, drawn, len(answers), min(first.values(), default=None))
    decision = stopping.decide(settings.stop, verdicts)
    return Standing(
        name,
        dict(Counter(answer.answer for answer in answers.values())),
        points,
        _by_strategy(points),
        course.sample,
        found,
        unanswered,
        drawn,
        scored,
        expected_gain(made, course.quality, made[-1].asked),
        tuple(verdicts.values()),
        decision,
        _advice(rounds, queues, answers, decision),
    )


def as_json(standing: Standing) -> dict[str, Any]:
    """The same as plain dicts, for --json."""

    def interval(found: Interval | None) -> dict[str, float] | None:
        return None if found is None else {"value": found.value, "low": found.low, "high": found.high}

    def yields(found: Mapping[str, Yield]) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "asked": one.asked,
                "answered": one.answered,
                "positives": one.positives,
                "positives_per_100": one.per_hundred,
            }
            for name, one in found.items()
        }

    rounds = [
        {
            "round": point.round.number,
            "created": point.round.created,
            "head": point.round.head,
            "labels": point.round.labels,
            "answers": point.round.answers,
            "strategies": yields(point.strategies),
            "expected_positives": interval(point.round.expected),
            "average_precision": interval(point.quality),
        }
        for point in standing.points
    ]
    return {
        "class": standing.name,
        "answers": standing.answers,
        "rounds": rounds,
        "strategies": yields(standing.strategies),
        "honest_sample": {"positives": standing.sample[0], "negatives": standing.sample[1]},
        "pool": {
            "found": standing.found,
            "unanswered": standing.unanswered,
            "left_by_draws": interval(standing.drawn),
            "left_by_scores": interval(standing.scored),
        },
        "expected_gain": interval(standing.gain),
        "rules": [{"rule": one.rule, "stop": one.stop, "reason": one.reason} for one in standing.verdicts],
        "stop": standing.decision.stop,
        "stop_rule": standing.decision.rule,
        "reason": standing.decision.reason,
        "next": standing.advice,
    }


def standing_plot(path: epath.PathLike, standing: Standing) -> None:
    """Quality against labels with its interval, and over it what the answers found beside what random ones would."""
    judged = [(point.round.labels, point.quality) for point in standing.points if point.quality]
    answered, found, chance = [0], [0], [0.0]
    rate = standing.strategies.get(RANDOM, Yield(0, 0, 0)).per_hundred
    for point in standing.points:
        both = _sum(point.strategies.values())
        answered.append(answered[-1] + both.answered)
        found.append(found[-1] + both.positives)
        chance.append(answered[-1] * (rate or 0) / 100)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.4 if judged else 3.6), layout="constrained")
        above, *below = figure.subplots(2 if judged else 1, 1, squeeze=False)[:, 0]
        above.plot(answered, found, color=FOUND, marker="o", markeredgecolor="white", label="found by the rounds")
        if rate is not None:
            above.plot(answered, chance, color=FAINT, linestyle=(0, (4, 3)), label="at the random draws' rate")
        above.set(
            title=f"{standing.name}, round {standing.points[-1].round.number}", ylabel="photos of the class found"
        )
        above.set(xlabel="photos answered")
        above.set_ylim(bottom=0)
        above.legend(loc="upper left")
        for axes in below:
            labels, quality = [one for one, _ in judged], [one for _, one in judged]
            low, high = [one.low for one in quality], [one.high for one in quality]
            axes.fill_between(labels, low, high, color=CURVE, alpha=0.16, linewidth=0, label="95% interval")
            middle = [one.value for one in quality]
            axes.plot(labels, middle, color=CURVE, marker="o", markeredgecolor="white", label="average precision")
            axes.legend(loc="lower right")
            axes.set(xlabel="labels", ylabel="average precision", ylim=(0, 1.02))
        yes, no = standing.sample
        held = f"held out: {yes} photos of the class and {no} others"
        note = held if judged else f"quality is not measured: {held}, at least {LEAST} of each are needed"
        figure.supxlabel(note, fontsize=9, color=FAINT)
        save(figure, path)


def _yields(number: int, queue: Sequence[Ask], answers: Mapping[str, Resolved]) -> dict[str, Yield]:
    """What became of a round's photos, by strategy."""
    found: dict[str, Yield] = {}
    for name in dict.fromkeys(ask.strategy for ask in queue):
        photos = [ask.sha256 for ask in queue if ask.strategy == name]
        first = [answers[photo] for photo in photos if photo in answers]
        said = [one.answer for one in first if (one.round, one.strategy) == (number, name)]
        found[name] = Yield(len(photos), sum(one in ("yes", "no") for one in said), said.count("yes"))
    return found


def _sum(parts: Any) -> Yield:
    """Of several."""
    every = list(parts)
    return Yield(*(sum(getattr(one, field) for one in every) for field in ("asked", "answered", "positives")))


def _by_strategy(points: Sequence[Point]) -> dict[str, Yield]:
    names = dict.fromkeys(name for point in points for name in point.strategies)
    return {name: _sum(point.strategies[name] for point in points if name in point.strategies) for name in names}


def _draws(
    made: Sequence[Round],
    queues: Mapping[int, Sequence[Ask]],
    answers: Mapping[str, Resolved],
    first: Mapping[str, datetime],
) -> list[Draw]:
    """The random draws of each round; what was known beside them is what was known then, and what waited then.

    A photo counts as drawn where its first answer came through the draw: one that a strategy chose again, or that is
    answered by another way, says nothing of the others.
    """
    draws, asked = [], set[str]()
    for one in made:
        created = datetime.fromisoformat(one.created)
        waited = asked if not one.again else set[str]()
        late = sum(photo in answers and answers[photo].answer == "yes" and first[photo] > created for photo in waited)
        queue = queues[one.number]
        taken = _yields(one.number, queue, answers).get(RANDOM, Yield(0, 0, 0))
        draws.append(Draw(one.candidates, taken.answered, taken.positives, one.found + late))
        asked |= {ask.sha256 for ask in queue}
    return draws


def _fewer(left: Interval | None, since: int) -> Interval | None:
    """What is left of an estimate after so many were found."""
    return None if left is None else Interval(*(max(one - since, 0.0) for one in (left.value, left.low, left.high)))


def _verdicts(
    stop: str,
    last: Round,
    found: int,
    scored: Interval | None,
    drawn: Interval | None,
    answered: int,
    begun: datetime | None,
) -> dict[str, Verdict]:
    """Of every rule; of the budgets, those that are named."""
    budgets = {name: budget for group in stopping.parse(stop) for name, budget in group if budget}
    verdicts = [
        stopping.plateau(last.change),
        stopping.stable(last.change),
        stopping.few(found, scored, drawn),
    ]
    if "labels" in budgets:
        verdicts.append(stopping.labels_spent(answered, budgets["labels"]))
    if "days" in budgets:
        verdicts.append(stopping.days_spent(begun, datetime.now(UTC), budgets["days"]))
    return {verdict.rule: verdict for verdict in verdicts}


def _advice(
    rounds: Rounds, queues: Mapping[int, Sequence[Ask]], answers: Mapping[str, Resolved], decision: Verdict
) -> str:
    """What to do next."""
    if decision.stop:
        return f"stop: {decision.reason}"
    open_ = {number: sum(ask.sha256 not in answers for ask in queue) for number, queue in queues.items()}
    turn = max(queues)
    over = not queues[turn]  # nothing was left to ask
    if over:
        turn = max((number for number, count in open_.items() if count), default=turn)
    if over and not open_[turn]:
        return "stop: nothing is left to ask"
    if over or open_[turn] >= len(queues[turn]) / 2:
        return (
            f"answer the {open_[turn]} open photos of round {turn}: launch label --class {rounds.name} "
            f"--queue {rounds.queue_path(turn)}"
        )
    return f"go on: launch loop next --class {rounds.name}"
