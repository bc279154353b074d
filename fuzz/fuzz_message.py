"""`python fuzz/fuzz_message.py [corpus] [-max_total_time=60]`: see `targets.message`."""

from driver import drive

drive("message")
