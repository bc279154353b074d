"""`python fuzz/fuzz_expression.py [corpus] [-max_total_time=60]`: see `targets.expression`."""

from driver import drive

drive("expression")
