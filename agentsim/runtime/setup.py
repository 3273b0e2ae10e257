"""Making a problem ready for a solver: owners compiled in, a tree or order chosen, parameters resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentsim.dcop.compile_owners import compile_owners
from agentsim.dcop.ordering import HEURISTICS, build_orders, order_places
from agentsim.dcop.problem import Problem
from agentsim.dcop.pseudotree import PseudoTree, build_tree
from agentsim.dcop.tree_search import smallest_table_tree
from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.agent import Agent
from agentsim.runtime.view import Setup


@dataclass(frozen=True)
class TreeParams:
    """Parameters of every solver on a pseudo-tree.

    Args:
        root: the variable at the root of its component.
        order: a heuristic (degree, mcn, min-domain, max-domain, lexical), or names to prefer, between commas.
        tree: "computed" beforehand, or found by "messages" between the agents (distributed DFS).
    """

    root: str | None = None
    order: str | None = None
    tree: Literal["computed", "messages"] = "computed"


@dataclass(frozen=True)
class OrderParams:
    """Parameters of every solver on a total order.

    Args:
        root: the first variable of its component.
        order: a method (mcn, degree, lexical, tree, smallest-last), or names to go first, between commas.
    """

    root: str | None = None
    order: str | None = None


def find_solver(solver: str | type[Agent]) -> tuple[str, type[Agent]]:
    """Return a solver's name and class; UserError if nothing is registered under the name."""
    if isinstance(solver, str):
        cls = registry.find("solvers", solver)
        if not (isinstance(cls, type) and issubclass(cls, Agent)):
            raise UserError(f"solver {solver} is not a subclass of Agent")
        return solver, cls
    return str(getattr(solver, "name", "") or solver.__name__), solver


def prepare(
    problem: Problem, solver: type[Agent], solver_name: str, given: Mapping[str, Any], *, places: bool = True
) -> Setup:
    """Return the setup of `solver` on `problem`; with places=False without tree or order, for those of a log.

    Raises:
        UserError: a parameter is unknown or out of range.
        SolverRefusal: the solver cannot do this problem.
    """
    params = registry.make_params(solver.Params, given, f"solver {solver_name}")
    compiled, copies = compile_owners(problem) if solver.knows == "neighbours" else (problem, {})
    setup = Setup(compiled, problem, copies, solver.costs, params=params, knows=solver.knows)
    if not places:
        return setup
    root, order = getattr(params, "root", None), getattr(params, "order", None)
    if solver.place == "tree":
        by_messages = getattr(params, "tree", "computed") == "messages"
        if order is None and solver.tree_choice == "smallest-table" and not by_messages:
            tree = smallest_table_tree(compiled, root=root)
        elif order in HEURISTICS:
            tree = build_tree(compiled, heuristic=order, root=root)
        else:
            tree = build_tree(compiled, root=root, order=order)
        setup = dataclasses.replace(setup, tree=tree, tells_place=not by_messages)
    elif solver.place == "order":
        setup = with_orders(setup, build_orders(compiled, order=order, root=root))
    if solver.knows == "neighbours":
        setup.check_evaluators()
    solver.refuse(setup)
    return setup


def with_orders(setup: Setup, orders: list[tuple[str, ...]]) -> Setup:
    """Return the setup with total orders and each node's place in its own."""
    return dataclasses.replace(setup, orders=tuple(orders), order_places=order_places(orders))


def encode_places(setup: Setup) -> dict[str, Any]:
    """Return the tree or orders as plain data for a log's header."""
    return {
        "tree": setup.tree.encode() if setup.tree is not None else None,
        "orders": [list(o) for o in setup.orders] if setup.orders is not None else None,
        "tells_place": setup.tells_place,
    }


def decode_places(setup: Setup, data: Mapping[str, Any]) -> Setup:
    """Return the setup with the places of a log's header; UserError if they do not fit the problem."""
    try:
        if data["tree"] is not None:
            tree = PseudoTree.decode(data["tree"])
            if set(tree) != set(setup.problem.variables):
                raise ValueError("tree of other variables")
            return dataclasses.replace(setup, tree=tree, tells_place=bool(data["tells_place"]))
        if data["orders"] is not None:
            orders = [tuple(map(str, o)) for o in data["orders"]]
            if sorted(n for o in orders for n in o) != sorted(setup.problem.variables):
                raise ValueError("orders of other variables")
            return with_orders(setup, orders)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the log's header has a malformed tree or order ({error})") from None
    return setup
