"""Who is cheapest once lost privacy is paid for, and which reward keeps everybody in (Doshi et al., DPCOP, section 2).

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization": Definition 2, and the
comparison that the paper proposes after it but does not print: the share of problems solved, and who abandons.

All registered solvers solve the same problems: one event of DiMES (four people on a chain, three slots, costs 1 to 10);
two events of three people; stable matchings of the paper, RPSX and STM 4/2 and RPSX 4/3. A private entry has a price
for each peer, a random whole number around the *mean price*: 10 for DiMES, as much as a slot may cost; 50 for
matchings, the paper's. Solvers have their default parameters.

Rows by `part`:

* `total`: cost, price of privacy and their sum by problem, solver and pricing: means over the instances for which the
  solver found a solution without violations. Solvers that found one for all are ranked. `behind` is the mean difference
  to the cheapest of them on the same instances; `cheapest` is "yes", or "tied" if that is within two standard errors.
* `price`: who is cheapest at which mean price, in multiples of the one used: costs do not depend on prices, and prices
  multiply, so totals are straight lines.
* `solved`: share of instances solved with rational agents by policy of W and reward U, and who abandons first: what it
  is to the solver, the message it was about to send, and when. `reward` counts mean prices. From one run of each solver
  on each instance, see `scenarios.experiments.dpcop_meter`: the run for another U is the same until somebody abandons.
* `needed`: the reward above which nobody abandons, in mean prices.

What is priced follows with certainty, or (bits, probability) is more likely if all costs that remain possible are
equally likely. What a viewer could guess from the chances of a random choice, and statements that are not analysed,
count for nothing: `lower_bound` says where more may be known than is priced. That the solution forbids nothing is
told by `leader` and `n-leaders`, which end with a solution or without one, and priced there; what else follows from a
final assignment's being the best, or from the run's having ended, is priced nowhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from privacy.dpcop.model import Policy, Pricing
from scenarios.experiments.base import Experiment, main_of
from scenarios.experiments.dpcop_meter import POLICIES, PRICINGS, Peak, Peaks, first_to_abandon, meter

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

INSTANCES: Final = 12
FULL_INSTANCES: Final = 50
MAX_MESSAGES: Final = 50_000
REWARDS: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
"""Rewards, in mean prices."""

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of problems; `price` is the mean price of a secret."""

    name: str
    generator: str
    params: tuple[tuple[str, Any], ...]
    price: int

    @classmethod
    def of(cls, name: str, generator: str, price: int, **params: Any) -> Kind:  # noqa: ANN401  # the generator's
        """Return the kind with these parameters of its generator."""
        return cls(name, generator, tuple(params.items()), price)


KINDS: Final = (
    Kind.of("DiMES", "dimes", 10, people=4, d=3, u=10, shape="C"),
    Kind.of("DiMES, 2 events", "dimes", 10, people=3, d=3, u=10, shape="C", events=2),
    Kind.of("RPSX 4/2", "stable-matching", 50, form="RPSX"),
    Kind.of("STM 4/2", "stable-matching", 50, form="STM"),
    Kind.of("RPSX 4/3", "stable-matching", 50, form="RPSX", values=3),
)
FULL_KINDS: Final = (*KINDS, Kind.of("DiMES, 6 people", "dimes", 10, people=6, d=3, u=10, shape="T"))


@dataclass(frozen=True)
class Task:
    """One solver on one instance."""

    kind: Kind
    solver: str
    seed: int


@dataclass(frozen=True)
class Found:
    """What a run was like.

    Args:
        status: how it ended; "refused" where it did not begin.
        cost: of the solution, None where there is none without violations.
        privacy: price of what was revealed, by pricing.
        exact: whether beliefs account for all statements.
        unanalysed: kinds of things said that no statement covers, over all viewers.
        peaks: by pricing and policy, see `dpcop_meter`.
        refusal: why it did not begin.
    """

    status: str
    cost: float | None = None
    privacy: Mapping[str, float] = field(default_factory=dict)
    exact: bool = True
    unanalysed: tuple[str, ...] = ()
    peaks: Mapping[Pricing, Mapping[Policy, Sequence[Peak]]] = field(default_factory=dict)
    refusal: str = ""

    @property
    def solved(self) -> bool:
        """Whether it ended by itself with a solution."""
        return self.status in ("optimal", "finished") and self.cost is not None


class DpcopSolvers(Experiment):
    """Solvers by total cost, and by the reward that their agents need."""

    name = "dpcop-solvers"
    columns = (
        "part", "problem", "solver", "pricing", "policy", "reward", "cost", "privacy_cost", "total", "rank", "solved",
        "n",
    )  # fmt: skip
    key_columns = 5

    def kinds(self) -> Sequence[Kind]:
        """Return the kinds of problems."""
        return FULL_KINDS if self.options.full else KINDS

    def solvers(self) -> Sequence[str]:
        """Return the names of all solvers there are."""
        from agentsim.runtime import registry

        return registry.names("solvers")

    def tasks(self) -> Sequence[Task]:
        """Return every solver on every instance."""
        count = self.options.instances or (FULL_INSTANCES if self.options.full else INSTANCES)
        seeds = range(self.options.seed, self.options.seed + count)
        return [Task(kind, name, seed) for kind in self.kinds() for name in self.solvers() for seed in seeds]

    @staticmethod
    def run_task(task: Task) -> Found:
        """Run a solver once, metered, and watched by an observer for each pricing."""
        from agentsim.dcop.problem import Problem
        from agentsim.errors import UserError
        from agentsim.runtime import registry
        from privacy.dpcop.model import priced
        from scenarios.sweeps.recording import Origin, simulate

        generator = registry.find("generators", task.kind.generator)
        problem: Problem = generator.generate(generator.Params(**dict(task.kind.params)), task.seed)
        if "privacy" not in problem.extras:
            problem = priced(problem, seed=task.seed, mean=task.kind.price).attached()
        observers = [f"dpcop:pricing={pricing},as={pricing}" for pricing in PRICINGS]
        peaks: Peaks = {}
        try:
            known = {f.name for f in fields(registry.find("solvers", task.solver).Params)}
            params = {"randomness": "seed"} if "randomness" in known else {}
            origin = Origin(task.kind.generator, parameters=dict(task.kind.params), seed=task.seed)
            result = simulate(
                problem, task.solver, origin=origin, seed=task.seed, observers=[*observers, "disclosures"],
                gates=meter(peaks), log=False, max_messages=MAX_MESSAGES, **params,
            )  # fmt: skip
        except UserError as error:
            return Found("refused", refusal=str(error))
        cost = result.cost if result.cost is not None and math.isfinite(result.cost) else None
        told = result.findings["disclosures"]
        missed = {label for labels in told["unanalysed"].values() for label in labels} | set(told["unread_fields"])
        priced_all = [result.findings[pricing] for pricing in PRICINGS]
        return Found(
            result.status,
            cost,
            {f["pricing"]: f["privacy_cost"] for f in priced_all},
            all(f["exact"] and not f["contradicted"] for f in priced_all),
            tuple(sorted(missed)),
            {pricing: {policy: peaks[pricing, policy] for policy in POLICIES} for pricing in PRICINGS},
        )

    def rows(self, results: Sequence[Found]) -> list[Row]:
        """Return the rows of all four parts, problem by problem."""
        found: dict[Kind, dict[str, list[Found]]] = {}
        for task, result in zip(self.tasks(), results, strict=True):
            found.setdefault(task.kind, {}).setdefault(task.solver, []).append(result)
        rows: list[Row] = []
        for kind, solvers in found.items():
            for pricing in PRICINGS:
                totals = _totals(kind, pricing, solvers)
                rows += [*totals, *_by_price(totals)]
                rows += [row for name, runs in solvers.items() for row in _sweep(kind, pricing, name, runs)]
        return sorted(rows, key=lambda row: ("total", "price", "solved", "needed").index(row["part"]))

    def notes(self, rows: list[Row]) -> list[str]:
        """Return who is cheapest, at which price, which rewards are needed, and what is not counted."""
        notes = []
        for problem, own in _by(rows, "problem"):
            said: dict[str, list[str]] = {}
            for pricing in PRICINGS:
                said.setdefault(_cheapest(_pick(own, part="total", pricing=pricing)), []).append(pricing)
            notes += [f"{problem}, {' and '.join(pricings)}: {words}" for words, pricings in said.items()]
            spans = [f"{r['solver']} up to {r['price_to']:.3g}" for r in _pick(own, part="price", pricing="full")]
            if len(spans) > 1:
                notes.append(f"{problem}, full: cheapest by price, in multiples of ours: {', '.join(spans)}")
            notes += _policy_notes(problem, _pick(own, part="needed", pricing="full"))
            notes += _leavers(problem, _pick(own, part="solved", pricing="full", policy="zero", reward=1.0))
        if not any(row["solved"] for row in _pick(rows, part="solved", reward=0.0)):
            notes.append("with a reward of 0 everybody abandons before the first message, under every policy")
        totals = _pick(rows, part="total")
        missed = ", ".join(dict.fromkeys(row["solver"] for row in totals if row["unanalysed"])) or "nobody"
        notes.append(f"what no statement covers counts for nothing, so privacy is a lower bound for {missed}")
        for problem, own in _by([row for row in totals if row["exact"] < 1], "problem"):
            names = ", ".join(dict.fromkeys(row["solver"] for row in own))
            notes.append(f"{problem}: statements were left out, more may be known than is priced: {names}")
        notes.append(
            "a random choice says for certain only what it rules out: solvers that choose at random tell more than is "
            "priced to who weighs chances; of p-gibbs and once, epsilon says how much (observer accounting)"
        )
        failed = {row["solver"]: row["refusal"] for row in totals if row["refusal"]}
        notes += [f"{solver} did not begin: {why}" for solver, why in failed.items()]
        cut = dict.fromkeys(f"{r['solver']} on {r['problem']}" for r in totals if "timeout" in r["status"])
        if cut:
            notes.append(f"stopped after {MAX_MESSAGES} messages, unsolved: {', '.join(cut)}")
        return notes

    def show(self, out: Console, rows: list[Row]) -> None:
        """Show a table of totals and one of rewards for each problem."""
        from scenarios.screen import table

        for problem, own in _by(rows, "problem"):
            lines = []
            for name, mine in _by(_pick(own, part="total"), "solver"):
                line = [name, f"{mine[0]['solved']:.0%}", _show(mine[0]["cost"])]
                for row in mine:
                    mark = {"yes": " *", "tied": " ="}.get(row["cheapest"], "")
                    error = "" if row["total_se"] is None else f"±{row['total_se']:.0f}"
                    line += [_show(row["privacy_cost"]), f"{_show(row['total'])}{error}{mark}"]
                lines.append([*line, "≥" if any(row["lower_bound"] for row in mine) else ""])
            heads = [head for pricing in PRICINGS for head in (pricing, "total")]
            title = f"{problem}: cost and privacy. * cheapest, = not distinguishable, ≥ lower bound"
            out.print(table(["solver", "solved", "cost", *heads, ""], lines, title, left=len(heads) + 4))
            lines = []
            for name, mine in _by(_pick(own, part="needed", pricing="full"), "solver"):
                zero = mine[POLICIES.index("zero")]
                who = f"{zero['last']}, {zero['message']}" if zero["last"] else ""
                lines.append([name, who, *(_show(row["needed"]) for row in mine)])
            heads = ["solver", "who needs it (zero)", *POLICIES]
            title = f"{problem}: reward above which nobody abandons, in mean prices, pricing full"
            out.print(table(heads, lines, title, left=len(heads)))

    def figure(self, rows: list[Row]) -> Figure | None:
        """Return, for each problem, cost and privacy by solver under each pricing, and share solved by reward."""
        from matplotlib.figure import Figure

        problems = list(dict.fromkeys(row["problem"] for row in rows))
        figure = Figure(figsize=(18, 3.8 * len(problems)), layout="constrained")
        for k, problem in enumerate(problems):
            own = [row for row in rows if row["problem"] == problem]
            for j, pricing in enumerate(PRICINGS):
                axes = figure.add_subplot(len(problems), len(PRICINGS) + 1, k * (len(PRICINGS) + 1) + j + 1)
                bars = [r for r in own if r["part"] == "total" and r["pricing"] == pricing and r["total"] is not None]
                bars.sort(key=lambda row: (row["rank"] is None, row["total"]))
                names = [r["solver"] + ("" if r["solved"] == 1 else f" ({r['solved']:.0%})") for r in bars]
                costs = [r["cost"] for r in bars]
                axes.bar(names, costs, label="cost", color="C0")
                axes.bar(
                    names, [r["privacy_cost"] for r in bars], bottom=costs, label="privacy", color="C1",
                    yerr=[r["total_se"] or 0.0 for r in bars], capsize=2,
                )  # fmt: skip
                axes.tick_params(axis="x", rotation=90, labelsize=7)
                axes.set_title(f"{problem}: {pricing}")
                if k == j == 0:
                    axes.legend(fontsize=8)
            axes = figure.add_subplot(len(problems), len(PRICINGS) + 1, (k + 1) * (len(PRICINGS) + 1))
            for i, policy in enumerate(POLICIES):
                share = _mean_share(own, policy)
                axes.plot(
                    list(share), list(share.values()), marker="o", markersize=8 - 2 * i, label=policy,
                    linestyle=("-", "--", "-.", ":")[i],
                )  # fmt: skip
            axes.set_title(f"{problem}: W policies, price full")
            axes.set_xlabel("reward in mean prices")
            axes.set_ylabel("share of runs not abandoned")
            axes.set_ylim(-0.05, 1.05)
            if k == 0:
                axes.legend(fontsize=8)
        return figure


def _pick(rows: Iterable[Row], **keys: object) -> list[Row]:
    return [row for row in rows if all(row.get(key) == value for key, value in keys.items())]


def _by(rows: Iterable[Row], key: str) -> Iterable[tuple[str, list[Row]]]:
    """Return the rows of each value of a column, in the order in which values first occur."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups.items()


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _cheapest(totals: Sequence[Row]) -> str:
    """Return who is cheapest of all, of complete solvers, and of those whose privacy is no lower bound."""
    ranked = sorted(_pick(totals, refusal=""), key=lambda row: row["rank"] or math.inf)
    ranked = [row for row in ranked if row["rank"] is not None]
    if not ranked:
        return "no solver solved every instance"
    tied = ", ".join(row["solver"] for row in ranked if row["cheapest"] == "tied")
    words = f"cheapest is {_sum(ranked[0])}" + (f"; not distinguishable from it: {tied}" if tied else "")
    groups = {
        "of complete solvers": [row for row in ranked if row["status"] == f"optimal {row['n']}"],
        "of those whose privacy is no lower bound": [row for row in ranked if not row["lower_bound"]],
    }
    return words + "".join(
        f"; {name} {_sum(own[0])}" for name, own in groups.items() if own and own[0] is not ranked[0]
    )


def _sum(row: Row) -> str:
    least = " at least" if row["lower_bound"] else ""
    return f"{row['solver']}, {_show(row['cost'])} +{least} {_show(row['privacy_cost'])}"


def _policy_notes(problem: str, needed: Sequence[Row]) -> list[str]:
    """Return, by policy, the reward that everybody needs, and whom no reward keeps; policies alike in one sentence."""
    found: dict[str, list[str]] = {}
    for policy, own in _by(needed, "policy"):
        most = {row["solver"]: row["needed_most"] for row in own if row["needed_most"] is not None}
        never = [solver for solver, reward in most.items() if math.isinf(reward)]
        enough = {solver: reward for solver, reward in most.items() if solver not in never}
        said = "no finite reward keeps anybody's agents in all runs"
        if enough:
            last = max(enough, key=lambda solver: enough[solver])
            said = f"a reward above {_show(enough[last])} mean prices lets everybody through ({last} needs it)"
        if enough and never:
            said += f", but no finite one does in all runs of {', '.join(never)}"
        found.setdefault(said, []).append(policy)
    return [f"{problem}, full, W = {' or '.join(policies)}: {said}" for said, policies in found.items()]


def _leavers(problem: str, rows: Sequence[Row]) -> list[str]:
    """Return who abandons first at the reward of these rows, by solver."""
    left = [f"{r['solver']} {r['abandoned']:.0%} ({r['first']}, {r['message']})" for r in rows if r["abandoned"]]
    return [f"{problem}, full, W = zero, a reward of one mean price: abandoned {', '.join(left)}"] if left else []


def _mean_share(rows: Iterable[Row], policy: str) -> dict[float, float]:
    """Return the share of runs not abandoned, over all solvers, by finite reward."""
    shares: dict[float, list[float]] = {}
    for row in rows:
        if row["part"] == "solved" and row["policy"] == policy and row["pricing"] == "full" and row["n"]:
            shares.setdefault(row["reward"], []).append(1 - row["abandoned"])
    return {u: math.fsum(values) / len(values) for u, values in shares.items() if math.isfinite(u)}


def _totals(kind: Kind, pricing: str, solvers: Mapping[str, Sequence[Found]]) -> list[Row]:
    """Return a row for each solver, those that solved everything ranked."""
    totals = {
        name: [None if run.cost is None or not run.solved else run.cost + run.privacy[pricing] for run in runs]
        for name, runs in solvers.items()
    }
    means = {name: math.fsum(t for t in own if t is not None) for name, own in totals.items() if None not in own}
    ranked = sorted(means, key=lambda name: means[name])
    rows = []
    for name, runs in solvers.items():
        done = [run for run in runs if run.solved]
        row: Row = {"part": "total", "problem": kind.name, "solver": name, "pricing": pricing, "n": len(runs)}
        row["status"] = ", ".join(
            f"{status} {count}" for status, count in sorted(Counter(r.status for r in runs).items())
        )
        row["solved"] = len(done) / len(runs)
        row |= _mean("cost", [run.cost for run in done if run.cost is not None])
        row |= _mean("privacy_cost", [run.privacy[pricing] for run in done])
        row |= _mean("total", [total for total in totals[name] if total is not None])
        row["privacy_all"] = _average([run.privacy[pricing] for run in runs if run.privacy])
        row["rank"] = ranked.index(name) + 1 if name in ranked else None
        row |= {"behind": None, "behind_se": None, "cheapest": ""}
        if name in ranked:
            pairs = zip(totals[name], totals[ranked[0]], strict=True)
            row |= _mean("behind", [a - b for a, b in pairs if a is not None and b is not None])
            tied = row["behind"] <= 2 * (row["behind_se"] or 0.0)
            row["cheapest"] = "yes" if name == ranked[0] else "tied" if tied else ""
        row["exact"] = sum(run.exact for run in runs if run.privacy) / max(1, sum(bool(run.privacy) for run in runs))
        row["unanalysed"] = sorted({label for run in runs for label in run.unanalysed})
        row["lower_bound"] = row["exact"] < 1 or bool(row["unanalysed"])
        row["refusal"] = next((run.refusal for run in runs if run.refusal), "")
        rows.append(row)
    return rows


def _by_price(totals: Sequence[Row]) -> list[Row]:
    """Return the solvers that are cheapest at some price: the lower envelope of cost + price * privacy, price >= 0."""
    ranked = [row for row in totals if row["rank"] is not None]
    rows: list[Row] = []
    price = 0.0
    # At one price the flatter line is the cheaper one from there on; further lines are flatter still.
    best = min(ranked, key=lambda row: (row["cost"], row["privacy_cost"]), default=None)
    while best is not None:
        here = best
        meets = [
            ((row["cost"] - here["cost"]) / (here["privacy_cost"] - row["privacy_cost"]), row["privacy_cost"], i)
            for i, row in enumerate(ranked)
            if row["privacy_cost"] < here["privacy_cost"]
        ]
        until, _, following = min(meets, default=(math.inf, 0.0, -1))
        keys = {key: here[key] for key in ("problem", "solver", "pricing", "n")}
        if until > price:
            rows.append({"part": "price", **keys, "price_from": price, "price_to": until})
        price, best = until, ranked[following] if following >= 0 else None
    return rows


def _sweep(kind: Kind, pricing: Any, solver: str, runs: Sequence[Found]) -> list[Row]:  # noqa: ANN401  # Pricing
    """Return the rows `solved` and `needed` of a solver under one pricing."""
    metered = [run for run in runs if run.peaks]
    rows = []
    for policy in POLICIES:
        keys = {"problem": kind.name, "solver": solver, "pricing": pricing, "policy": policy, "n": len(metered)}
        peaks = [run.peaks[pricing][policy] for run in metered]
        for reward in REWARDS:
            first = [first_to_abandon(own, reward * kind.price) for own in peaks]
            left = [peak for peak in first if peak is not None]
            solved = sum(run.solved and peak is None for run, peak in zip(metered, first, strict=True))
            row: Row = {"part": "solved", **keys, "reward": reward, "solved": solved / max(1, len(metered))}
            row["abandoned"] = len(left) / max(1, len(metered))
            row["first"] = _commonest(peak.role for peak in left)
            row["message"] = _commonest(peak.message for peak in left)
            row["time"] = _average([peak.time for peak in left])
            rows.append(row)
        needed = [max(own[-1].reward, 0.0) / kind.price if own else 0.0 for own in peaks]
        row = {"part": "needed", **keys, **_mean("needed", needed), "needed_most": max(needed, default=None)}
        row["last"] = _commonest(own[-1].role for own in peaks if own)
        row["message"] = _commonest(own[-1].message for own in peaks if own)
        rows.append(row)
    return rows


def _average(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _mean(name: str, values: Sequence[float]) -> Row:
    """Return the mean and, as `{name}_se`, its standard error; None where there is none."""
    n, mean = len(values), _average(values)
    row: Row = {name: mean, f"{name}_se": None}
    if mean is not None and math.isfinite(mean) and n > 1:
        row[f"{name}_se"] = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return row


def _commonest(names: Iterable[str]) -> str:
    """Return what occurs most often, with its share; of equals the first by name."""
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    if not counts:
        return ""
    (name, count), total = counts[0], sum(number for _, number in counts)
    return name if count == total else f"{name} {count / total:.0%}"


if __name__ == "__main__":
    main_of(DpcopSolvers.name)
