"""The commands of `agentsim`, a module for each group of them."""
