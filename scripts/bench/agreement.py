"""How far two groupings of the same viewers agree. Plain Python: no arrays, no other package.

A grouping says of each viewer in which group they are: a dict from viewer to any name. Viewers who
are in one of the two groupings only are left out.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

Grouping = Mapping[str, Hashable]


def adjusted_rand_index(one: Grouping, other: Grouping) -> float | None:
    """1 for equal groupings, 0 for what chance gives on average, below 0 for less than that.

    Hubert and Arabie, Comparing partitions, Journal of Classification 2, 1985. None where there is
    no viewer; 1 where both have one group only, or a group for each viewer, which are equal.
    """
    together = _together(one, other)
    viewers = sum(together.values())
    if not viewers:
        return None
    of_one: Counter[Hashable] = Counter()
    of_other: Counter[Hashable] = Counter()
    for (group, other_group), count in together.items():
        of_one[group] += count
        of_other[other_group] += count
    in_both = sum(map(_pairs, together.values()))
    in_one = sum(map(_pairs, of_one.values()))
    in_other = sum(map(_pairs, of_other.values()))
    by_chance = in_one * in_other / max(1, _pairs(viewers))
    at_most = (in_one + in_other) / 2
    return 1.0 if at_most == by_chance else (in_both - by_chance) / (at_most - by_chance)


def group_stability(original: Grouping, again: Grouping) -> dict[Hashable, float]:
    """For each original group the Jaccard similarity with the most similar group found again.

    0 to 1, over the viewers who are in both groupings; a group without such viewers is left out.
    Hennig, Cluster-wise assessment of cluster stability, Computational Statistics & Data Analysis
    52, 2007: below 0.6 a group should not be trusted, from 0.85 on it is highly stable.
    """
    together = _together(original, again)
    of_original: Counter[Hashable] = Counter()
    of_again: Counter[Hashable] = Counter()
    for (group, again_group), count in together.items():
        of_original[group] += count
        of_again[again_group] += count
    most: dict[Hashable, float] = dict.fromkeys(of_original, 0.0)
    for (group, again_group), count in together.items():
        similarity = count / (of_original[group] + of_again[again_group] - count)
        most[group] = max(most[group], similarity)
    return most


def matched_macro_f1(grouping: Grouping, truth: Grouping) -> float | None:
    """The mean F1 of the true groups, each with the group that is matched to it, one to one.

    The matching is the one with the greatest sum of F1. A true group without a partner has 0. None
    where there is no true group.
    """
    together = _together(grouping, truth)
    sizes: Counter[Hashable] = Counter()
    true_sizes: Counter[Hashable] = Counter()
    for (group, true_group), count in together.items():
        sizes[group] += count
        true_sizes[true_group] += count
    if not true_sizes:
        return None
    groups = sorted(sizes, key=str)
    true_groups = sorted(true_sizes, key=str)
    scores = [
        [
            2 * together[group, true_group] / (sizes[group] + true_sizes[true_group])
            for group in groups
        ]
        for true_group in true_groups
    ]
    return sum(scores[row][column] for row, column in best_matching(scores)) / len(true_groups)


def best_matching(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and column at most once, whose scores have the largest sum.

    Scores are 0 and more; as many pairs as there are rows or columns, whichever are fewer. The
    Hungarian method with potentials: Kuhn, The Hungarian method for the assignment problem, Naval
    Research Logistics Quarterly 2, 1955.
    """
    rows, columns = len(scores), len(scores[0]) if scores else 0
    size = max(rows, columns)
    # a square of costs: whoever is too many is matched with nobody, at the cost of a score of 0
    costs = [
        [-scores[row][column] if row < rows and column < columns else 0.0 for column in range(size)]
        for row in range(size)
    ]
    of_rows, of_columns = [0.0] * size, [0.0] * (size + 1)
    row_of = [-1] * (size + 1)  # the column `size` is where each search begins
    for start in range(size):
        row_of[size] = start
        column = size
        shortest, came_from = [float("inf")] * size, [size] * size
        visited: list[int] = []
        while row_of[column] != -1:
            visited.append(column)
            row = row_of[column]
            for other in set(range(size)) - set(visited):
                cost = costs[row][other] - of_rows[row] - of_columns[other]
                if cost < shortest[other]:
                    shortest[other], came_from[other] = cost, column
            nearest = min(
                set(range(size)) - set(visited), key=lambda other: (shortest[other], other)
            )
            step = shortest[nearest]
            for passed in visited:
                of_rows[row_of[passed]] += step
                of_columns[passed] -= step
            shortest = [distance - step for distance in shortest]
            column = nearest
        while column != size:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    pairs = [(row_of[column], column) for column in range(columns)]
    return sorted((row, column) for row, column in pairs if 0 <= row < rows)


def _together(one: Grouping, other: Grouping) -> Counter[tuple[Hashable, Hashable]]:
    return Counter((one[viewer], other[viewer]) for viewer in one if viewer in other)


def _pairs(number: int) -> int:
    return number * (number - 1) // 2
