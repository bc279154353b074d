"""`python fuzz/fuzz_template.py [corpus] [-max_total_time=60]`: see `targets.template`."""

from driver import drive

drive("template")
