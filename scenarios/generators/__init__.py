"""Generators of random problems: each a class with `Params`, a frozen dataclass, and `generate(params, seed)`."""
