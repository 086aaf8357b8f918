"""Benchmarks: each script yields facts; `python -m tests.bench` runs them all and keeps docs/performance.md true.

A script is a module here with `def facts() -> Iterator[Fact]`. What a fact must reach stands in `promises`.
"""
