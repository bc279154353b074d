"""`python fuzz/fuzz_error_type.py [corpus] [-max_total_time=60]`: see `targets.error_type`."""

from driver import drive

drive("error_type")
