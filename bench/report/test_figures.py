"""Tests of figures.py: python3 bench/report/test_figures.py"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import figures  # noqa: E402


def rounds(*seconds):
    return [None if value is None else {"seconds": value, "peak_rss_kib": 100} for value in seconds]


class FiguresTest(unittest.TestCase):
    def test_ratio_is_of_medians(self):
        row = {"a": rounds(1, 100, 2), "b": rounds(4, 4, 4)}
        self.assertEqual(figures.ratio(row, "a", "b", "seconds"), 0.5)

    def test_failed_rounds_do_not_count(self):
        row = {"a": rounds(None, 2, None), "b": rounds(4, 4, 4)}
        self.assertEqual(figures.ratio(row, "a", "b", "seconds"), 0.5)
        self.assertEqual(figures.spread(row, "a", "b", "seconds"), (0.5, 0.5))

    def test_no_good_round_is_no_ratio(self):
        row = {"a": rounds(None, None), "b": rounds(4, 4)}
        self.assertIsNone(figures.ratio(row, "a", "b", "seconds"))
        self.assertIsNone(figures.ratio(row, "absent", "b", "seconds"))

    def test_the_spread_is_on_both_sides_of_the_ratio(self):
        row = {"a": rounds(1, 2, 9), "b": rounds(4, 1, 2)}
        low, high = figures.spread(row, "a", "b", "seconds")
        self.assertLessEqual(low, figures.ratio(row, "a", "b", "seconds"))
        self.assertGreaterEqual(high, figures.ratio(row, "a", "b", "seconds"))

    def test_geometric_mean(self):
        self.assertAlmostEqual(figures.geometric_mean([0.5, 2, None]), 1)
        self.assertIsNone(figures.geometric_mean([None]))

    def test_quartiles(self):
        self.assertEqual(figures.quartiles([1, 2, 3, 4, 5]), (2, 4))
        self.assertEqual(figures.quartiles([7]), (7, 7))
        self.assertIsNone(figures.quartiles([]))

    def test_group_mean_says_of_how_many(self):
        table = {"x": {"a": rounds(1), "b": rounds(2)}, "y": {"a": rounds(None), "b": rounds(2)}}
        self.assertEqual(figures.group_mean(table, ["x", "y"], "a", "b", "seconds"), (0.5, 1))

    def test_noise(self):
        table = {"x": {"a": rounds(1), "b": rounds(2)}, "y": {"a": rounds(4), "b": rounds(2)}}
        mean, low, high = figures.noise(table, "a", "b", "seconds")
        self.assertAlmostEqual(mean, 1)
        self.assertEqual((low, high), (0.5, 2))


if __name__ == "__main__":
    unittest.main()
