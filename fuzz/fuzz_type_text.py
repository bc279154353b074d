"""`python fuzz/fuzz_type_text.py [corpus] [-max_total_time=60]`: see `targets.type_text`."""

from driver import drive

drive("type_text")
