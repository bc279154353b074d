"""`python fuzz/fuzz_plan.py [corpus] [-max_total_time=60]`: see `targets.plan`."""

from driver import drive

drive("plan")
