"""The judging of anyone's own answer to the assignment, part by part: what check_solution.py stands on.

Everything in here is imported relatively and loads this repo's files under names of its own, because it runs in one
process with somebody else's `modules.py`.
"""
