"""`python fuzz/fuzz_flow_file.py [corpus] [-max_total_time=60]`: see `targets.flow_file`."""

from driver import drive

drive("flow_file")
