import unittest

from greeter import greet


class GreeterTest(unittest.TestCase):
    def test_names_whoever_is_there(self) -> None:
        self.assertEqual(greet("Ada"), "Good morning, Ada.")

    def test_an_empty_name_is_a_stranger(self) -> None:
        self.assertEqual(greet("  "), "Good morning, stranger.")
