import unittest

from greeter import greet


class GreeterTest(unittest.TestCase):
    def test_names_whoever_is_there(self) -> None:
        assert greet("Ada") == "Good morning, Ada."

    def test_an_empty_name_is_a_stranger(self) -> None:
        assert greet("  ") == "Good morning, stranger."
