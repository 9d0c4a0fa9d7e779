"""Medians, ratios to the baseline, spreads, geometric means: pure functions over the samples.

A table is {item: {allocator: [sample or None, a round each]}}; a sample is a dict with seconds and peak_rss_kib. Rounds that
failed are None. Ratios are of medians; the spread is the quartiles of the rounds, over the same median of the baseline's.
"""
import math
import statistics


def values(samples, field):
    return [sample[field] for sample in samples if sample is not None]


def median(samples, field):
    got = values(samples, field)
    return statistics.median(got) if got else None


def ratio(row, name, base, field):
    """Median over median, or None where one of them has no good run."""
    mine, theirs = median(row.get(name, []), field), median(row.get(base, []), field)
    return mine / theirs if mine is not None and theirs else None


def quartiles(numbers):
    """(first, third); of fewer than two numbers, those themselves."""
    if not numbers:
        return None
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    first, _, third = statistics.quantiles(numbers, n=4, method="inclusive")
    return first, third


def spread(row, name, base, field):
    """The quartiles of one's own rounds over the base's median, so that they are on both sides of the ratio; None without a good run."""
    theirs = median(row.get(base, []), field)
    around = quartiles(values(row.get(name, []), field))
    return (around[0] / theirs, around[1] / theirs) if theirs and around else None


def geometric_mean(numbers):
    got = [number for number in numbers if number is not None and number > 0]
    return math.exp(sum(math.log(number) for number in got) / len(got)) if got else None


def group_mean(table, items, name, base, field):
    """Over the items for which there is a ratio; with how many those were."""
    ratios = [ratio(table[item], name, base, field) for item in items]
    got = [number for number in ratios if number is not None]
    return geometric_mean(got), len(got)


def noise(table, again, base, field):
    """Of the baseline against itself: geometric mean, and the widest of the single ratios, or None."""
    ratios = [ratio(row, again, base, field) for row in table.values()]
    got = [number for number in ratios if number is not None]
    return (geometric_mean(got), min(got), max(got)) if got else None
