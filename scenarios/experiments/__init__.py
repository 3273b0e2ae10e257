"""Experiments: each reproduces a table or figure of a paper and shows the paper's numbers beside ours."""
