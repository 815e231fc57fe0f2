"""The words of docs/reproduction.md: a pure function from what was measured to Markdown.

Every number of ours comes from the measurements; the published ones stand here, once.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from prohibit_jax.active.mixture import RANDOM

Found = Any
"""What the JSON file of a measurement holds."""

Results = Mapping[str, Found]
"""By the name of the measurement; one that is missing has not been made."""

Row = Sequence[Any]

ARTICLE = (
    "https://www.besthub.dev/articles/designing-a-scalable-image-classification-system-for-prohibited-item-detection-"
    "in-a-second-hand-e-commerce-platform-40b95ab27105"
)
PUBLISHED_MS = {12: 132, 20: 208, 30: 302, 40: 484}  # five photos, on a TITAN V
PUBLISHED_LARGE_MS = 115  # one Inception-ResNet-v2
PUBLISHED_HEAD_MB = 16.5
FLOOR_MS, FLOOR_LARGE_MS = 18.6, 9.6  # of 20 heads and of the large one: a TITAN V's bandwidth and float32 peak
PUBLISHED_NEGATIVES = (20_000, 200_000)
CAP = 20

MIXTURE = "positives=0.45,uncertainty=0.45,random=0.1"
STRATEGIES = {
    RANDOM: "random",
    "uncertainty": "nearest 0.5",
    "positives": "above 0.5, highest first",
    MIXTURE: "**both, and a tenth at random**",
}
ROUND = {"weapon": 20, "cash": 20, "wildlife": 40}  # labels, as bench/labels.py asks them
FOUR = ("weapon", "cash", "wildlife", "blade")
IMPORTED = ("96 px, trunk through s7", "96 px, whole network", "lite0, trunk through s7", "lite0, whole network")
KINDS = {"whole": "whole network", "top": "on the frozen trunk", "merged": "merged into one network"}


def page(results: Results, commands: Mapping[str, str]) -> str:
    """The whole page; `commands` say by the name of a measurement how it is made."""

    def part(name: str, text: Callable[[Found], str]) -> str:
        return text(results[name]) if name in results else f"*Not measured yet: `{commands[name]}`.*"

    blocks = [
        *opening(results),
        *quality(part),
        *latency(part),
        *negatives(part),
        *isolation(part),
        *days(part, results.get("labels")),
        *past_twenty(part),
    ]
    return "\n\n".join(blocks) + "\n"


Part = Callable[[str, Callable[[Found], str]], str]
"""What a function says of a measurement, or how the measurement is made."""


# Claim by claim ------------------------------------------------------------------------------------------------------


def opening(results: Results) -> list[str]:
    """What the page is, and the claims in one table."""
    cores = results.get("cpu_heads", {}).get("cores", "some")
    claims = (quality_claim, latency_claim, size_claim, negatives_claim, isolation_claim, days_claim, cap_claim)
    rows = [(what, published, here or "not measured yet") for what, published, here in (one(results) for one in claims)]
    return [
        "# The published claims, measured again",
        prose(f"""
            The system that this one follows was described by Zhuanzhuan Tech in
            [an article on prohibited items in a second-hand marketplace]({ARTICLE}): a small binary EfficientNet-B0
            for each category in place of one multi-class Inception-ResNet-v2, and labels that active learning asks for.
            Its photographs, code and weights are not public. So what can be reproduced is what it claims, on other
            photographs: the 6,382 photographs of Caltech-101 (Li, Andreetto, Ranzato, Perona; CC BY
            4.0) of [quality.md](quality.md), where revolvers stand for weapons, dollar bills for cash, scissors for
            blades and eight kinds of animals for wildlife; and on a processor with {cores} cores, shared with other
            work, so that ratios within a run say more than times. Intervals are 95%."""),
        prose("""
            `python -m bench.reproduction --data folder:PHOTOS --store STORE` measures whatever `bench/results/` lacks
            and writes this page from the files there."""),
        table(("claim", "published", "here"), rows),
    ]


def quality(part: Part) -> list[str]:
    """Point 1."""
    return [
        "## 1. Quality: small binary networks against one multi-class network",
        prose("""
            Published: the binary networks took the multi-class one's place so that a class can be improved, or added,
            alone. We know of no published figure of either's quality, so there is only ours to show."""),
        part("multiclass", from_scratch),
        prose("""
            **From imported weights.** There are no imported weights of Inception-ResNet-v2 here, so this has no
            counterpart: it says what the same four classes reach on the same split when a small network,
            EfficientNet-Lite0, begins with ImageNet's weights and not with nothing. [quality.md](quality.md) has every
            recipe and its intervals."""),
        part("quality", imported),
    ]


def from_scratch(found: Found) -> str:
    """Both systems on the same budget."""
    seeds, overall = list(found["seeds"].values()), found["overall"]
    rows = []
    for name, row in [*overall["classes"].items(), ("mean", overall["mean"])]:
        each = [one["mean"] if name == "mean" else one["classes"][name] for one in seeds]
        cells = [ranged(row[kind]["value"], [one[kind]["value"] for one in each]) for kind in ("large", "small")]
        rows.append((name, row.get("positives", ""), *cells, difference(row["difference"]), ahead(row["difference"])))
    large, small = (
        f"{one['model']} ({one['parameters'] / 1e6:.1f} million parameters)"
        for one in (found["systems"]["large"], found["systems"]["small"])
    )
    steps = [one["large"]["steps"] for one in seeds], [own["steps"] for one in seeds for own in one["small"].values()]
    reading = {
        "small": "At this budget the small networks are ahead of the large one",
        "large": "At this budget the large network is ahead of the small ones",
        "neither": "At this budget neither is ahead by more than the interval",
    }[ahead(overall["mean"]["difference"])]
    return blocks(
        prose(f"""
            **From scratch, on the same budget.** One {large} with a softmax of {len(found["classes"])} classes and
            everything else, against {len(found["classes"])} {small} of one logit each. {found["train"]:,} training
            photos and {found["test"]:,} test photos of {found["size"]} px, the same augmentation,
            {count(len(seeds), "seed")}. Each system has {found["budget_seconds"]:.0f} s of processor time for its
            training steps, every small network an equal part of them: {span(steps[0])} steps of the large one,
            {span(steps[1])} of each small one, 32 photos a step. Average precision on the test photos, mean over the
            seeds and their range; the interval of the difference is over the test photos, where both systems and all
            seeds meet the same resamples."""),
        table(("class", "test positives", "one large", "small", "small - large (95%)", "ahead"), rows),
        prose(f"""
            {reading}: {difference(overall["mean"]["difference"])} in mean average precision. It is a small budget. It
            says which of the two learns more in minutes on a processor, which is how a new class is made here, and
            nothing about days on a GPU."""),
    )


def imported(found: Found) -> str:
    """Lite0 from ImageNet's weights."""
    rows = []
    for recipe in IMPORTED:
        values = [[one["average_precision"]["value"] for one in runs(found, recipe, name)] for name in FOUR]
        size, _, kind = recipe.partition(", ")
        cells = [ranged(mean(own), own) if own else "" for own in values]
        rows.append((f"{'160 px' if size == 'lite0' else size}, {kind}", *cells))
    return table(("Lite0 from ImageNet's weights, mean and range of the seeds", *FOUR), rows)


def latency(part: Part) -> list[str]:
    """Point 2."""
    return [
        "## 2. Latency and size against the number of heads",
        prose("""
            Five photos of 300 by 300 in one call, float32. The published times are of a TITAN V, ours of a processor:
            only ratios can be compared. *Of one large* is the time as a multiple of one Inception-ResNet-v2's on the
            same device."""),
        part("cpu_heads", heads),
        "`launch plan` predicts such times from two measured points for each trunk:",
        part("plan", predictions),
    ]


def heads(found: Found) -> str:
    """The published table, and ours."""
    ours, large = rows_of_heads(found), row_of_large(found)
    rows: list[Row] = [
        ("one Inception-ResNet-v2", PUBLISHED_LARGE_MS, "1.0", round(large["p50_ms"]), "1.0", *sizes(large)),
    ]
    for row in ours:
        published = None if row["trunk"] else PUBLISHED_MS.get(row["heads"])
        title = f"{row['heads']} on a trunk through {row['trunk']}" if row["trunk"] else f"{row['heads']} whole heads"
        times = f"{published / PUBLISHED_LARGE_MS:.1f}" if published else ""
        here = round(row["p50_ms"]), f"{row['p50_ms'] / large['p50_ms']:.1f}"
        rows.append((title, published or "", times, *here, *sizes(row)))
    whole = {row["heads"]: row for row in ours if not row["trunk"]}
    head_mb = whole[CAP]["weights_mb"] / CAP
    each = per_head(PUBLISHED_MS), per_head({number: row["p50_ms"] for number, row in whole.items()})
    columns = ("", "published, ms", "of one large", "here, ms", "of one large", "weights, MB", "peak memory, MB")
    return blocks(
        table(columns, rows),
        "![Latency against the number of heads](images/reproduction_latency.png)",
        bullets(
            f"""The same: time grows with the number of heads, by {each[0]:.0f} ms a head published and
            {each[1]:.0f} ms here. A head's weights take {head_mb:.1f} MB, {PUBLISHED_HEAD_MB} published.""",
            f"""Different: {CAP} whole heads take {twenty(found):.1f} times one Inception-ResNet-v2, published
            {PUBLISHED_MS[CAP] / PUBLISHED_LARGE_MS:.1f} times. By our estimate, the memory and the arithmetic of a
            TITAN V allow {FLOOR_MS} ms for the {CAP} heads and {FLOOR_LARGE_MS} for the large one: both published times
            are more than ten times that, as the overhead of many small calls would make them, and it hides how much
            arithmetic there is. Without it, {CAP} small networks have more of it than one large one.""",
            """New: a trunk that heads share. What was a cap is a question of how much of a network a class needs for
            itself.""",
        ),
    )


def predictions(found: Found) -> str:
    """Of `launch plan`."""
    rows = [
        (
            row["heads"],
            row["trunk"] or "none",
            f"{row['predicted_ms']:.0f}",
            f"{row['measured_ms']:.0f}",
            f"{row['off']:+.1%}",
        )
        for row in found["rows"]
    ]
    worst = max(abs(row["off"]) for row in found["rows"])
    columns = ("heads", "trunk through", "predicted, ms", "measured, ms", "off")
    return blocks(table(columns, rows), f"The worst of them is {worst:.1%} off.")


def negatives(part: Part) -> list[str]:
    """Point 3."""
    few, many = PUBLISHED_NEGATIVES
    return [
        "## 3. Negatives needed with and without active learning",
        prose(f"""
            Published: {few:,} negatives that were asked for do the work of {many:,}, a tenth. Here, as there, every
            positive is known and labels are spent on negatives. After each batch a linear classifier is fitted on
            Lite0's features. *Within 0.01* counts the labels until the mean average precision over the seeds is within
            a point of that of all negatives."""),
        part("labels", asked),
    ]


def asked(found: Found) -> str:
    """Each strategy for each class."""
    rows, shares = [], {}
    for name, protocols in found["classes"].items():
        known = protocols["known"]
        every = known["all"]["labels"]
        for strategy, title in STRATEGIES.items():
            figures = known["strategies"][strategy]
            full = figures["labels_to_full"]
            share = f"{full['value'] / every:.1%}" if full else ""
            rows.append((name, title, every, interval(full, 0), share, interval(figures["ratio_to_random"], 1)))
        if full := known["strategies"][MIXTURE]["labels_to_full"]:
            shares[name] = full["value"] / every
    few, many = PUBLISHED_NEGATIVES
    holds = len(shares) == len(found["classes"]) and max(shares.values()) <= few / many
    listed = ", ".join(f"{share:.1%} for {name}" for name, share in shares.items())
    columns = ("class", "asked by", "all negatives", "labels within 0.01", "of all", "times fewer than random")
    return blocks(
        f"{count(found['seeds'], 'seed')}:",
        table(columns, rows),
        "![Average precision against labels](images/reproduction_labels.png)",
        bullets(
            f"""The published tenth {"holds" if holds else "does not hold for every class"}: the mixture that
            `launch loop` asks by needs {listed or "more than was asked"}.""",
            """Different: beside random negatives, the fairer rival, active learning saves less than beside all of
            them, since most negatives say nothing.""",
            """The pool has thousands of photos, not millions: shares can be compared, numbers cannot. Wrong answers and
            other strategies are in [labelling.md](labelling.md).""",
        ),
    )


def isolation(part: Part) -> list[str]:
    """Point 4."""
    return [
        "## 4. Improving or adding a class leaves the others as they were",
        prose("""
            Published: the networks share nothing, so improving one cannot make another worse. Here the files are
            compared by SHA-256 and every score by its bits, after one class was trained again and after another was
            added."""),
        "**Heads on a shared trunk**, which is frozen:",
        part("isolation", isolated),
        "**Whole heads**, trained for a moment only: bits do not depend on how well.",
        part("isolation_whole", isolated),
    ]


def isolated(found: Found) -> str:
    """What became of every head in each step."""
    texts = []
    for step in found["steps"]:
        rows = [
            (
                row["class"],
                row["before"] or "none",
                row["after"],
                {True: "yes", False: "no"}.get(row.get("files_same"), ""),
                row.get("scores_changed", ""),
            )
            for row in step["heads"]
        ]
        texts += [
            f"{step['what']}, {found['photos']:,} photos:",
            table(("class", "head before", "after", "files the same", "scores that differ by any bit"), rows),
        ]
    same = all(row["files_same"] for row in others(found))
    untouched = "Their files are the same to the byte." if same else "But not all their files are the same."
    if changed := others_changed(found):
        most = max(row["largest_change"] for row in others(found))
        reading = f"""
            {changed:,} scores of other classes differ, by at most {most:.0e}: a bundle of another shape is another
            program to the compiler, which may add the same numbers in another order. {untouched}"""
    else:
        reading = f"No score of another class differs by any bit. {untouched}"
    return blocks(*texts, prose(reading))


def days(part: Part, labels: Found) -> list[str]:
    """Point 5."""
    return [
        '## 5. From "a new category is wanted" to serving it',
        prose("""
            Published: to add a class to the multi-class network about 200,000 photos had to be labelled again; a binary
            network needs its own labels only. How many days either took is not said. (Mercari, another marketplace,
            reports months before and weeks after a search for architectures did the work of people.) Below is the
            machine's part, commands as they are typed, start and all. The people's part is counted in labels."""),
        part("newclass", typed),
        part("round", lambda found: loop(found, labels)),
    ]


def typed(found: Found) -> str:
    """The commands and their seconds."""

    def rows(which: str) -> list[Row]:
        return [(f"`{row['command']}`", f"{row['seconds']:.1f}") for row in found[which]]

    return blocks(
        prose(f"""
            **Photos that lie in folders.** Three classes serve; then `{found["class"]}` is wanted. The last line is the
            wait until the service, which runs all the while and follows the store, answers with the class's score:"""),
        table(("command", "seconds"), [*rows("new"), ("**in all**", f"**{took(found['new']):.1f}**")]),
        "What was there before was made so too; the first training also runs all photos through the trunk, once:",
        table(("command", "seconds"), rows("before")),
    )


def loop(found: Found, labels: Found) -> str:
    """Labels from people, and the machine's time between them."""
    seconds = max(one["process_seconds"] for one in found["rounds"])
    rows = []
    for name, protocols in (labels or {"classes": {}})["classes"].items():
        if full := protocols["few"]["strategies"][MIXTURE]["labels_to_full"]:
            rounds = math.ceil(full["value"] / ROUND[name])
            every = protocols["few"]["all"]["labels"]
            rows.append((name, interval(full, 0), rounds, f"{rounds * seconds / 60:.1f}", every))
    columns = ("class", "labels by people", "rounds", "machine, minutes", "labels without choosing")
    return blocks(
        prose(f"""
            **Photos that nobody has labelled.** `launch score --embedding lite0` over the pool once, then rounds of
            `launch loop next` and answers on `launch label`'s page. A round takes the machine up to {seconds:.0f} s on
            {found["photos"]:,} photos. With five positives at first, until within a point of labelling everything:"""),
        table(columns, rows) if rows else "*The labels themselves: not measured yet.*",
        "Then `launch train --data labels:` and `launch promote`, as above.",
    )


def past_twenty(part: Part) -> list[str]:
    """What the published system did not do."""
    return [
        "## Past twenty categories",
        prose(f"""
            The published system stopped at {CAP} networks, so as to stay near 200 ms, and merged categories beyond
            that. Here it is a choice with a price: whole heads, heads on a shared trunk, or heads merged into one
            network."""),
        "### What sixty classes cost",
        part("cpu_60_heads", sixty),
        "### Each way, class by class",
        part("classes", each_class),
        "### Merging heads",
        part("merge", merged),
        "### A gate before the heads",
        part("cascade", gates),
    ]


def sixty(found: Found) -> str:
    """Twenty and sixty heads, whole and on trunks."""
    rows = [
        (
            f"{row['heads']} " + (f"on a trunk through {row['trunk']}" if row["trunk"] else "whole"),
            f"{row['p50_ms']:,.0f}",
            f"{row['p50_ms'] / twenty_whole(found)['p50_ms']:.2f}",
            *(f"{number:,}" for number in sizes(row)),
        )
        for row in found["rows"]
    ]
    columns = ("heads", "ms", "of 20 whole", "weights, MB", "peak memory, MB")
    return blocks(
        "Merged heads are heads on a trunk through `top`: so a merged network costs what the last lines say.",
        table(columns, rows),
    )


def twenty_whole(found: Found) -> Any:
    """The row of the published system's cap."""
    return next(row for row in found["rows"] if row["heads"] == CAP and not row["trunk"])


def each_class(found: Found) -> str:
    """Whole, on the trunk, merged."""
    seeds, names, kinds = complete(found)
    means = [(KINDS[kind], over([mean(one[name][kind] for name in names) for one in seeds])) for kind in kinds]
    rows = [
        (
            name,
            span([one[name]["positives"] for one in seeds]),
            *(over([one[name][kind] for one in seeds]) for kind in kinds),
        )
        for name in names
    ]
    return blocks(
        prose(f"""
            {len(names)} folders, each a class of its own; {found["photos"]:,} photos of {found["size"]} px, Lite0,
            {count(len(seeds), "seed")}, each with another split. A whole network goes on from the head on the trunk for
            {found["steps"]} steps. Mean average precision over the classes, and the range of the seeds:"""),
        table(("", "mean average precision"), means),
        *(["![Average precision of each class](images/reproduction_classes.png)"] if len(kinds) > 1 else []),
        *few_merged(seeds, names),
        "<details><summary>Every class</summary>",
        table(("class", "test positives", *(KINDS[kind] for kind in kinds)), rows),
        "</details>",
    )


def few_merged(seeds: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Some whole heads merged into one network, class by class; nothing where no seed has them."""
    having = [one for one in seeds if any("merged_10" in one[name] for name in names)]
    chosen = [name for name in names if having and all("merged_10" in one[name] for one in having)]
    if not chosen:
        return []
    rows = []
    for name in chosen:
        own, taught = ([one[name][kind] for one in having] for kind in ("whole", "merged_10"))
        rows.append((name, over(own), over(taught), f"{mean(taught) - mean(own):+.3f}"))
    down = [row[0] for row in rows if float(row[-1]) < -0.01]
    return [
        prose(f"""
            {len(chosen)} of the whole heads merged into one network, at its cost, {count(len(having), "seed")}; more
            than a point is lost by {len(down)} of them{": " + ", ".join(down) if down else ""}."""),
        table(("class", KINDS["whole"], KINDS["merged"], "difference of the means"), rows),
    ]


def complete(found: Found) -> tuple[list[Any], list[str], list[str]]:
    """The seeds that have begun, and the classes and kinds of heads that all of them have."""
    seeds = [one for one in found["seeds"].values() if one]
    names = [name for name in found["classes"] if seeds and all(name in one for one in seeds)]
    kinds = [kind for kind in KINDS if names and all(kind in one[name] for one in seeds for name in names)]
    return seeds, names, kinds


def merged(found: Found) -> str:
    """What `launch merge` says."""
    rows = [
        (
            one["class"],
            one["positives"],
            f"{one['old_average_precision']['value']:.3f}",
            f"{one['new_average_precision']['value']:.3f}",
            difference(one["difference"]),
            "yes" if one["accepted"] else "no",
        )
        for one in found["classes"]
    ]
    before, after, held = found["before"], found["after"], sum(one["accepted"] for one in found["classes"])
    columns = ("class", "test positives", "own head", "merged", "difference (95%)", "accepted")
    return blocks(
        prose(f"""
            `launch merge` taught {len(rows)} heads to one network by their scores of {found["photos"]:,} photos,
            without a label: {before["networks"]} → {after["networks"]} networks and trunks, {before["megabytes"]:.1f} →
            {after["megabytes"]:.1f} MB of parameters. {held} of the {len(rows)} classes are accepted."""),
        table(columns, rows),
    )


def gates(found: Found) -> str:
    """What a gate costs, clears and gives up, with a few classes and with many."""
    ms, rows, many = found["ms"]["fastest_tenth"], [], []
    for gate, splits in found["gates"].items():
        cleared = [one["cleared"]["4"] for one in splits]
        classes = [own for one in splits for own in one["classes"].values()]
        lost, flagged = (sum(own[key] for own in classes) for key in ("lost", "flagged"))
        parts = f"{mean(cleared):.0%} ({min(cleared):.0%} to {max(cleared):.0%})"
        costs = (f"{gated(ms, gate, mean(cleared), trunk, 4):.1f}" for trunk in (False, True))
        rows.append((gate, f"{ms[gate]:.1f}", parts, *costs, f"{lost} of {flagged}"))
    for gate, (one,) in found["many"].items():
        for number, cleared in one["cleared"].items():
            own = list(one["classes"].values())[: int(number)]
            lost, flagged = sum(of["lost_by_own"] for of in own), sum(of["flagged"] for of in own)
            costs = (f"{gated(ms, gate, cleared, trunk, int(number)):.1f}" for trunk in (False, True))
            many.append((gate, int(number), f"{cleared:.0%}", *costs, f"{lost / flagged:.1%}"))
    counts = list(next(iter(found["many"].values()))[0]["cleared"])
    without = "; ".join(
        f"{number} heads {int(number) * ms['whole head']:,.0f} ms whole, "
        f"{ms['trunk'] + int(number) * ms['head on the trunk']:.0f} on a trunk"
        for number in counts
    )
    best = {key: max(one["cleared"][key] for (one,) in found["many"].values()) for key in counts}
    last = int(counts[-1])
    trunk_only = ms["trunk"] + last * ms["head on the trunk"]
    behind = min(gated(ms, gate, one["cleared"][counts[-1]], True, last) for gate, (one,) in found["many"].items())
    kinds = ("whole heads, ms", "on a trunk, ms")
    return blocks(
        prose(f"""
            A cheap classifier clears the photos that no head would flag; only the others go on. Its thresholds are set
            where at most {found["given_up"]:.0%} of the positives that a head flags is given up; below is what came of
            it on other photos. Times are for {found["batch"]} photos of 160 px, what the fastest tenth of calls took,
            since other work ran beside; without a gate: {without}."""),
        f"Four classes, {count(len(next(iter(found['gates'].values()))), 'split')}:",
        table(("gate", "its ms", "other photos cleared", *kinds, "flagged positives cleared"), rows),
        "Many classes, each given up by its own gate:",
        table(("gate", "classes", "other photos cleared", *kinds, "given up"), many),
        prose(f"""
            The more classes, the fewer photos are clear of all: the better of these gates clears
            {best[counts[0]]:.0%} of the others for {counts[0]} classes and {best[counts[-1]]:.0%} for {counts[-1]}.
            {counts[-1]} classes on a trunk take {trunk_only:.0f} ms without a gate and {behind:.0f} behind the cheaper
            one, for what it gives up."""),
    )


def gated(ms: Mapping[str, float], gate: str, cleared: float, trunk: bool, number: int) -> float:
    """Mean ms of heads behind a gate; one that is a part of their trunk is not run twice."""
    rest = ms.get(f"after {gate}", ms["trunk"]) + number * ms["head on the trunk"]
    return ms[gate] + (1 - cleared) * (rest if trunk else number * ms["whole head"])


# The claims in a line ------------------------------------------------------------------------------------------------

Claim = tuple[str, str, str | None]
"""What is claimed, what was published, and what was found, None where nothing was measured."""


def quality_claim(results: Results) -> Claim:
    """Of point 1."""
    here = None
    if found := results.get("multiclass"):
        row = found["overall"]["mean"]
        values = f"{row['small']['value']:.3f} against {row['large']['value']:.3f}"
        here = f"mean average precision {values} on the same budget from scratch: {difference(row['difference'])}"
    return "small binary networks in place of a multi-class one", "done; no figure known", here


def latency_claim(results: Results) -> Claim:
    """Of point 2, time."""
    here = None
    if found := results.get("cpu_heads"):
        ms = {(row["trunk"], row["heads"]): row["p50_ms"] for row in rows_of_heads(found)}
        here = f"{ms['', CAP]:,.0f} ms, {twenty(found):.1f} times the large network"
        if ("s5", CAP) in ms:
            here += f"; on a trunk through s5 {ms['s5', CAP] / row_of_large(found)['p50_ms']:.1f} times"
    published = f"{PUBLISHED_MS[CAP]} ms, {PUBLISHED_MS[CAP] / PUBLISHED_LARGE_MS:.1f} times the large network"
    return f"{CAP} heads on five photos", published, here


def size_claim(results: Results) -> Claim:
    """Of point 2, size."""
    here = None
    if found := results.get("cpu_heads"):
        row = next(row for row in rows_of_heads(found) if not row["trunk"])
        here = f"{row['weights_mb'] / row['heads']:.1f} MB"
    return "weights of a head", f"{PUBLISHED_HEAD_MB} MB", here


def negatives_claim(results: Results) -> Claim:
    """Of point 3."""
    here = None
    if found := results.get("labels"):
        texts = []
        for name, protocols in found["classes"].items():
            full, every = (
                protocols["known"]["strategies"][MIXTURE]["labels_to_full"],
                protocols["known"]["all"]["labels"],
            )
            texts.append(f"{name} {full['value']:.0f} for {every:,}" if full else f"{name} never")
        here = ", ".join(texts)
    few, many = PUBLISHED_NEGATIVES
    return "negatives with active learning", f"{few:,} for {many:,}", here


def isolation_claim(results: Results) -> Claim:
    """Of point 4."""
    kinds = {"isolation": "on a trunk", "isolation_whole": "whole heads"}
    found = {title: others_changed(results[name]) for name, title in kinds.items() if name in results}
    here = "; ".join(f"{title}: {changed:,} scores of others changed" for title, changed in found.items())
    return "a class is improved or added alone", "no other gets worse", here or None


def days_claim(results: Results) -> Claim:
    """Of point 5."""
    here = None
    if found := results.get("newclass"):
        here = f"{took(found['new']):.0f} seconds of the machine, and its own labels"
    return "a new category", "no 200,000 photos labelled again", here


def cap_claim(results: Results) -> Claim:
    """Of what lies past twenty."""
    here = None
    if found := results.get("classes"):
        seeds, names, kinds = complete(found)
        values = (f"{KINDS[kind]} {mean(one[name][kind] for one in seeds for name in names):.3f}" for kind in kinds)
        here = f"{len(names)} classes, mean average precision: {', '.join(values)}" if kinds else None
    return "how many categories", f"at most {CAP}, then merged", here


# What the measurements say -------------------------------------------------------------------------------------------


def runs(found: Found, recipe: str, name: str) -> list[Any]:
    """The runs of a recipe of bench/quality.py for a class."""
    return [value for key, value in found.items() if key.startswith(f"{recipe} / {name} / ")]


def rows_of_heads(found: Found) -> list[Any]:
    """Our rows of a benchmark of heads, whole ones first, by their number."""
    ours = [row for row in found["rows"] if row["engine"] == "prohibit_jax" and "p50_ms" in row]
    small = [row for row in ours if row["model"] != "inception_resnet_v2"]
    return sorted(small, key=lambda row: (row["trunk"], row["heads"]))


def row_of_large(found: Found) -> Any:
    """Our row of the large network."""
    ours = (row for row in found["rows"] if row["engine"] == "prohibit_jax")
    return next(row for row in ours if row["model"] == "inception_resnet_v2")


def twenty(found: Found) -> float:
    """The time of twenty whole heads as a multiple of the large network's."""
    whole = {row["heads"]: row["p50_ms"] for row in rows_of_heads(found) if not row["trunk"]}
    return float(whole[CAP] / row_of_large(found)["p50_ms"])


def per_head(ms: Mapping[int, float]) -> float:
    """What a head more takes, between the fewest and the most."""
    return (ms[max(ms)] - ms[min(ms)]) / (max(ms) - min(ms))


def sizes(row: Any) -> tuple[int, int]:
    """MB of weights, and at most in memory."""
    return round(row["weights_mb"]), round(row["peak_mb"])


def others_changed(found: Found) -> int:
    """Scores that differ, of the classes that were neither trained nor added."""
    return sum(row["scores_changed"] for row in others(found))


def others(found: Found) -> list[Any]:
    """The rows of heads that were neither trained nor added."""
    return [row for step in found["steps"] for row in step["heads"] if row["before"] == row["after"]]


def took(rows: Sequence[Any]) -> float:
    """Seconds of commands, together."""
    return float(sum(row["seconds"] for row in rows))


def ahead(of: Mapping[str, float]) -> str:
    """Which system a paired difference, small - large, speaks for."""
    return "small" if of["low"] > 0 else "large" if of["high"] < 0 else "neither"


# Markdown ------------------------------------------------------------------------------------------------------------


def table(columns: Row, rows: Sequence[Row]) -> str:
    """Whole numbers with commas between their thousands, all else as it is."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(columns), ["---"] * len(columns), *cells])


def prose(text: str) -> str:
    """A paragraph, filled again."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def bullets(*texts: str) -> str:
    """A list."""
    return "\n".join(textwrap.indent(prose(text), "  ").replace("  ", "- ", 1) for text in texts)


def blocks(*texts: str) -> str:
    """Paragraphs, tables and pictures, one after the other."""
    return "\n\n".join(texts)


def count(number: int, what: str) -> str:
    """As `1 seed`, `3 seeds`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def difference(of: Mapping[str, float]) -> str:
    """With its interval and signs."""
    return f"{of['value']:+.3f} ({of['low']:+.3f} to {of['high']:+.3f})"


def over(values: Sequence[float]) -> str:
    """The mean, and the range."""
    return ranged(mean(values), values)


def ranged(value: float, values: Sequence[float]) -> str:
    """A value, and the range of several."""
    return f"{value:.3f} ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else f"{value:.3f}"


def span(values: Sequence[int]) -> str:
    """From the least to the most."""
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def interval(figure: Mapping[str, float | None] | None, digits: int) -> str:
    """A figure of labels: `never`, or the value and its interval, whose ends may be never too."""
    if figure is None:
        return "never"
    low, high = ("∞" if figure[end] is None else f"{figure[end]:,.{digits}f}" for end in ("low", "high"))
    return f"{figure['value']:,.{digits}f} ({low} to {high})"
