"""Benchmarks: what the platform takes, against a hand-written script and plain dlt, by `make benchmark`.

Every contender is a process of its own and reads the same API from the same server. Not part of the tests:
figures depend on the machine. What must hold on any machine is tested in `messaging_assets_tests`.
"""
