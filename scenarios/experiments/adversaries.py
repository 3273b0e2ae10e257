"""What each adversary does to cost, to the end of the run and to leakage, for every solver.

Every registered solver solves the same random problems (DiMES: one event of four people on a chain, who must agree on
one of four slots and have private costs 1 to 9), once with everybody honest and once under each attack. One agent,
drawn by lot for each instance, is the adversary; seed, network and parameters are the same, so that every difference is
one to the honest run of the same instance. Costs are the true ones, whatever was claimed.

Columns: `ended`, the share of runs that ended by themselves with an assignment that is not forbidden; `statuses` has
how the others did. Differences of costs count the `n` instances where both runs did. `cost_diff`, to everybody;
`own_diff`, to the adversary by its own private costs; `others_diff`, the rest. `messages_ratio`, of attacked to honest.
`to`, what the adversary learnt of the honest agents' private costs, and `of`, what they learnt of its own, each as a
share of all there is to know (observer `vps`, rule `tight`, which is sound where nobody lies): the mean over the honest
agents, and `_max`, the most. `false`, the share of what the others believe of the adversary's costs that excludes the
truth.

All are medians over the instances; `_low` and `_high` bound the median with 95 % confidence, whatever the law (none for
fewer than six instances). Differences also have their `_mean`, which notes and figure show, since many are 0, and `_p`,
that of the exact two-sided sign test, zeros left out. Rows with solver `all` take each instance's mean over the solvers
first, since runs on one instance are not independent.

Passive adversaries change nothing: their `to` is what they learn together, and `to_diff` how much more that is than
what the best of their agents alone learnt of the same subject. An eavesdropper is no agent: its `to_diff` is most often
negative, since the receiver hears as much and knows its own costs besides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from scenarios.adversaries import (
    Adversary,
    Coalition,
    Delayer,
    Eavesdropper,
    FalseBounds,
    FreeRider,
    Liar,
    Passive,
    Replayer,
    private_cost,
)
from scenarios.experiments.base import Experiment, main_of
from scenarios.generators.dimes import Dimes, DimesParams
from scenarios.reports.statistics import median

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from agentsim.dcop.problem import Problem
    from agentsim.runtime.result import Result

Row: TypeAlias = dict[str, Any]

INSTANCES: Final = 12
FULL_INSTANCES: Final = 60
MAX_MESSAGES: Final = 20_000
PARAMS: Final = DimesParams(people=4, d=4, u=9, shape="C")
SIGNIFICANT: Final = 0.05
HONEST: Final = "honest"
ENDED: Final = ("optimal", "finished")

ARMS: Final[Mapping[str, Adversary | None]] = {
    HONEST: None,
    "liar, overstates": Liar(factor=3),
    "liar, understates": Liar(factor=1 / 3),
    "liar, hides": Liar("hide"),
    "liar, inverts": Liar("invert"),
    "false bounds": FalseBounds(),
    "free rider": FreeRider(),
    "delayer": Delayer(),
    "delayer, never first": Delayer(when="never-first"),
    "replayer": Replayer(),
    "eavesdropper": Eavesdropper(),
    "coalition": Coalition(),
}
"""Adversaries by the name in the rows."""

MEASURES: Final = ("cost_diff", "own_diff", "others_diff", "messages_ratio", "to", "to_diff", "of", "of_diff", "false")


@dataclass(frozen=True)
class Task:
    """One solver on one instance, under one attack."""

    solver: str
    arm: str
    seed: int


@dataclass(frozen=True)
class Found:
    """What a run was like.

    Args:
        status: how it ended; "refused" where it did not begin, "violated" if by itself, with a forbidden assignment.
        cost: true cost of everybody, None unless the run ended by itself with an assignment that is allowed.
        own: of this the adversary's true private costs.
        messages: sent.
        to: by subject, the share of its private costs that the adversary learnt.
        alone: the same for the best of a passive adversary's agents.
        of: by honest agent, the share of the adversary's private costs that it learnt.
        false: share of beliefs on the adversary's costs that exclude the truth.
        error: why it did not begin or end.
    """

    status: str
    cost: float | None = None
    own: float | None = None
    messages: int = 0
    to: Mapping[str, float] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    of: Mapping[str, float] = field(default_factory=dict)
    false: float = 0.0
    error: str = ""


class Adversaries(Experiment):
    """Adversaries by solver."""

    name = "adversaries"
    columns = ("solver", "adversary", "ended", *MEASURES, "n")
    key_columns = 2

    def solvers(self) -> Sequence[str]:
        """Return the names of all solvers there are."""
        from agentsim.runtime import registry

        return registry.names("solvers")

    def tasks(self) -> Sequence[Task]:
        """Return every solver on every instance, under every attack."""
        count = self.options.instances or (FULL_INSTANCES if self.options.full else INSTANCES)
        seeds = range(self.options.seed, self.options.seed + count)
        return [Task(solver, arm, seed) for solver in self.solvers() for arm in ARMS for seed in seeds]

    @staticmethod
    def run_task(task: Task) -> Found:
        """Run a solver once under an attack, watched by everybody."""
        from agentsim.errors import RunError, UserError
        from agentsim.runtime import registry
        from agentsim.runtime.streams import Stream
        from privacy.vps.metrics import full_loss
        from scenarios.sweeps.recording import Origin, simulate

        problem = Dimes.generate(PARAMS, task.seed)
        agent = Stream(task.seed, "adversaries").choice(problem.agents)
        adversary = ARMS[task.arm]
        agents = (agent, partner(problem, agent)) if isinstance(adversary, Passive) else (agent,)
        try:
            known = {f.name for f in fields(registry.find("solvers", task.solver).Params)}
            params = {"randomness": "seed"} if "randomness" in known else {}
            options = adversary.attack(problem, task.solver, agents, **params) if adversary else {}
            options["max_messages"] = MAX_MESSAGES
            options["observers"] = [*options.get("observers", ()), (_watch(), {"rule": "tight", "as": "watch"})]
            origin = Origin("dimes", parameters=vars(PARAMS), seed=task.seed)
            result = simulate(problem, task.solver, origin=origin, seed=task.seed, log=False, **options, **params)
        except RunError as error:
            return Found("error", error=" ".join(str(error).split())[:200])
        except UserError as error:
            return Found("refused", error=str(error))
        full = full_loss("entropy", PARAMS.d, PARAMS.u)
        watched = result.findings["watch"]
        matrix: Mapping[str, Mapping[str, float]] = watched["matrix"]
        to, alone = {a: bits / full for a, bits in matrix.get(agent, {}).items()}, {}
        if isinstance(adversary, Passive):
            learned = adversary.learned(result.findings, agents)
            to = {row["subject"]: row["together"] / full for row in learned}
            alone = {row["subject"]: (row["together"] - row["beyond"]) / full for row in learned}
        of = {observer: row[agent] / full for observer, row in matrix.items() if agent in row}
        cost, own = _costs(problem, result, agent)
        violated = result.status in ENDED and result.cost is not None and cost is None
        return Found(
            "violated" if violated else result.status, cost, own, result.messages, to, alone, of,
            watched["excluded"].get(agent, 0.0), str(result.deadlock or result.limit or ""),
        )  # fmt: skip

    def rows(self, results: Sequence[Found]) -> list[Row]:
        """Return a row for each attack on all solvers, then one for each attack on each solver."""
        found: dict[str, dict[str, dict[int, Found]]] = {}
        for task, result in zip(self.tasks(), results, strict=True):
            found.setdefault(task.solver, {}).setdefault(task.arm, {})[task.seed] = result
        measured: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
        rows: list[Row] = []
        for solver, arms in found.items():
            refusal = next((f.error for f in arms[HONEST].values() if f.status == "refused"), "")
            if refusal:
                rows.append({"solver": solver, "adversary": "none", "ended": 0.0, "refusal": refusal, "n": 0})
                continue
            for arm, runs in arms.items():
                values = {seed: _measured(run, arms[HONEST][seed]) for seed, run in runs.items()}
                measured.setdefault(arm, {})[solver] = values
                rows.append({"solver": solver, "adversary": arm, **_told(runs.values()), **_medians(values.values())})
        over_all = []
        for arm, solvers in measured.items():
            runs_of_all = [run for solver in solvers for run in found[solver][arm].values()]
            seeds = dict.fromkeys(seed for values in solvers.values() for seed in values)
            by_seed = [
                {key: _mean(own) for key, own in _by_key(values[seed] for values in solvers.values()).items()}
                for seed in seeds
            ]
            over_all.append({"solver": "all", "adversary": arm, **_told(runs_of_all), **_medians(by_seed)})
        return [*over_all, *rows]

    def notes(self, rows: list[Row]) -> list[str]:
        """Return whom attacks pay, whom they cost, how runs end, and who learns more."""
        notes = [f"{row['solver']} did not begin: {row['refusal']}" for row in rows if row.get("refusal")]
        each = [row for row in rows if not row.get("refusal")]
        arms = [arm for arm in ARMS if arm != HONEST]
        honest = {row["solver"]: row["ended"] for row in each if row["adversary"] == HONEST}
        active = [arm for arm in arms if not isinstance(ARMS[arm], Passive)]
        for arm in active:
            mine = [row for row in each if row["adversary"] == arm]
            said = []
            for words, key, below in (
                ("pays the adversary with", "own_diff", True),
                ("costs the adversary itself with", "own_diff", False),
                ("costs the others with", "others_diff", False),
                ("spares the others with", "others_diff", True),
                ("learns more with", "to_diff", False),
                ("is learnt more of with", "of_diff", False),
            ):
                names = [
                    f"{row['solver']} ({row[f'{key}_mean']:+.2g})" for row in mine if _differs(row, key, below=below)
                ]
                said += [f"{words} {', '.join(names)}"] if names else []
            notes.append(f"{arm}: {'; '.join(said) or 'no difference that the instances can tell from chance'}")
            bad = [f"{row['solver']} ({row['statuses']})" for row in mine if row["ended"] < honest[row["solver"]]]
            notes += [f"{arm}: fewer runs end with an allowed assignment: {', '.join(bad)}"] if bad else []
            wrong = [f"{row['solver']} {row['false']:.0%}" for row in mine if row.get("false")]
            notes += (
                [f"{arm}: what others believe of the adversary excludes the truth: {', '.join(wrong)}"] if wrong else []
            )
        for arm in arms[len(active) :]:
            names = [
                f"{row['solver']} ({row['to_diff_mean']:+.2g})"
                for row in each
                if row["adversary"] == arm and _differs(row, "to_diff", below=False)
            ]
            notes.append(f"{arm}: learns more than its agents alone with {', '.join(names) or 'no solver'}")
        notes.append(
            f"named are mean differences where the sign test has p < {SIGNIFICANT:g}; {len(active) * 4} tests are made "
            "for each solver, and of those without an effect one in twenty or fewer passes by chance"
        )
        return notes

    def figure(self, rows: list[Row]) -> Figure | None:
        """Return, for each measure, solvers by adversaries, coloured by the mean difference to the honest run."""
        from matplotlib.figure import Figure

        each = [row for row in rows if not row.get("refusal")]
        solvers = list(dict.fromkeys(row["solver"] for row in each))
        arms = [arm for arm in ARMS if arm != HONEST]
        cell = {(row["solver"], row["adversary"]): row for row in each}
        panels = {
            "own_diff": "the adversary's own cost", "others_diff": "the others' cost", "ended": "runs that end",
            "to_diff": "what the adversary learns", "of_diff": "what is learnt of it", "false": "of this, false",
        }  # fmt: skip
        figure = Figure(figsize=(17, 11), layout="constrained")
        for k, (key, title) in enumerate(panels.items()):
            axes = figure.add_subplot(2, 3, k + 1)
            means = f"{key}_mean" if key.endswith("_diff") else key
            values = [[_number(cell.get((solver, arm), {}).get(means)) for arm in arms] for solver in solvers]
            most = max((abs(v) for line in values for v in line if math.isfinite(v)), default=0.0) or 1.0
            signed = key.endswith("_diff")
            mesh = axes.pcolormesh(
                values, cmap="RdBu_r" if signed else "Blues", vmin=-most if signed else 0, vmax=most,
                edgecolors="white", linewidth=0.5,
            )  # fmt: skip
            for i, line in enumerate(values):
                for j, value in enumerate(line):
                    if math.isfinite(value) and value:
                        colour = "white" if abs(value) > 0.6 * most else "black"
                        axes.text(j + 0.5, i + 0.5, f"{value:.2g}", ha="center", va="center", fontsize=6, color=colour)
            axes.set_title(title + (", difference to the honest run" if signed else ""), fontsize=10)
            axes.set_xticks([j + 0.5 for j in range(len(arms))], arms, rotation=60, ha="right", fontsize=7)
            axes.set_yticks([i + 0.5 for i in range(len(solvers))], solvers, fontsize=7)
            axes.invert_yaxis()
            figure.colorbar(mesh, ax=axes, shrink=0.7)
        return figure


def partner(problem: Problem, agent: str) -> str:
    """Return the first agent that shares a constraint with this one."""
    for c in problem.constraints.values():
        owners = [problem.variables[name].agent for name in c.scope]
        if agent in owners and set(owners) != {agent}:
            return next(owner for owner in owners if owner != agent)
    return next(other for other in problem.agents if other != agent)


def _watch() -> type[Any]:
    """Return the observer `vps`, which also finds how much of what is believed of each agent excludes the truth."""
    from privacy.vps.observer import Vps, exclusions

    class Watch(Vps):
        """Everybody's beliefs, and by subject the share of pairs of observer and value that exclude the true cost."""

        name = "watch"

        def findings(self) -> dict[str, Any]:
            wrong = Counter(line.split(" on ")[1].partition(":")[0] for line in exclusions(self) if ": value " in line)
            pairs = {v: (len(self.viewers) - 1) * self.public.size[v] for v in self.public.owner}
            share = {self.public.owner[v]: wrong[v] / pairs[v] for v in pairs if pairs[v]}
            return {**super().findings(), "excluded": share}

    return Watch


def _costs(problem: Problem, result: Result, agent: str) -> tuple[float | None, float | None]:
    if result.status not in ENDED or result.cost is None or not math.isfinite(result.cost):
        return None, None
    return float(result.cost), private_cost(problem, result, agent)


def _measured(run: Found, honest: Found) -> dict[str, float]:
    """Return what can be measured of a run beside the honest one of the same seed."""
    found: dict[str, float] = {}
    if "error" in (run.status, honest.status):  # nothing is known of it but that
        return found
    if run.cost is not None and run.own is not None and honest.cost is not None and honest.own is not None:
        found = {
            "cost": run.cost,
            "cost_diff": run.cost - honest.cost,
            "own_diff": run.own - honest.own,
            "others_diff": run.cost - run.own - honest.cost + honest.own,
        }
    base = run.alone or honest.to
    found |= {"messages_ratio": run.messages / max(1, honest.messages), "false": run.false}
    for key, mine, other in (("to", run.to, base), ("of", run.of, honest.of)):
        found |= {key: _mean(mine.values()), f"{key}_max": max(mine.values(), default=0.0)}
        found[f"{key}_diff"] = found[key] - _mean(other.values())
        found[f"{key}_max_diff"] = found[f"{key}_max"] - max(other.values(), default=0.0)
    return found


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return math.fsum(known) / len(known) if known else 0.0


def _told(runs: Iterable[Found]) -> Row:
    """Return how runs ended."""
    known = list(runs)
    statuses = Counter(run.status for run in known)
    return {
        "ended": sum(run.cost is not None for run in known) / len(known),
        "statuses": ", ".join(f"{status} {count}" for status, count in sorted(statuses.items())),
        "error": next((run.error for run in known if run.error), ""),
    }


def _medians(values: Iterable[Mapping[str, float]]) -> Row:
    """Return each measure's median, the ends of its interval and, of differences, the sign test's p."""
    known = list(values)
    row: Row = {"n": sum("cost" in one for one in known)}
    for key, own in _by_key(known).items():
        found = median(own)
        row |= {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
        if key.endswith("_diff"):
            row |= {f"{key}_mean": _mean(own), f"{key}_p": sign_test(own)}
    return row


def _by_key(values: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in values:
        for key, value in one.items():
            found.setdefault(key, []).append(value)
    return found


def sign_test(differences: Iterable[float]) -> float:
    """Return the p of the exact two-sided sign test: how likely as uneven signs are by chance. Zeros are left out."""
    signs = [value > 0 for value in differences if abs(value) > 1e-12]
    fewer = min(sum(signs), len(signs) - sum(signs))
    chance = 2.0 * sum(math.comb(len(signs), k) for k in range(fewer + 1)) * 0.5 ** len(signs)
    return min(1.0, chance)


def _differs(row: Row, key: str, *, below: bool) -> bool:
    mean, p = row.get(f"{key}_mean"), row.get(f"{key}_p")
    return mean is not None and p is not None and p < SIGNIFICANT and (mean < 0) == below


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


if __name__ == "__main__":
    main_of(Adversaries.name)
