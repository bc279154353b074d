"""`python fuzz/fuzz_pattern.py [corpus] [-max_total_time=60]`: see `targets.pattern`."""

from driver import drive

drive("pattern")
