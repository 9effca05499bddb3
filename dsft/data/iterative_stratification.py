"""Iterative stratification: split multi-label images so that all parts have the labels in the same proportions."""

from __future__ import annotations

from collections.abc import Sequence

from dsft.data.labels import Target, classes_of, count_classes


def stratify_iteratively(
    indices: Sequence[int], targets: Sequence[Target], num_classes: int, shares: Sequence[float]
) -> list[list[int]]:
    """Divide images into parts by iterative stratification.

    Sechidis, Tsoumakas and Vlahavas 2011 (On the Stratification of Multi-label Data, algorithm 1): the label with the
    fewest remaining images is distributed first. Each of its images goes to the part with the largest demand for the
    label; ties are resolved by the demand for images, then by the order of the parts. Images without labels come last.
    Of few images a part may get none; it then takes the last one that was dealt to the largest part.

    Args:
        indices: The images, in the order in which they are distributed.
        targets: Labels of every image, by its index.
        num_classes: Number of classes.
        shares: Fraction of the images for each part; the sum is 1.

    Returns:
        Indices of the images of each part.
    """
    left = count_classes((targets[index] for index in indices), num_classes)
    wanted = [share * len(indices) for share in shares]
    wanted_labels = [[share * count for count in left] for share in shares]
    parts: list[list[int]] = [[] for _ in shares]
    remaining = list(indices)
    while remaining:
        rarest = min((number for number in range(num_classes) if left[number]), key=left.__getitem__, default=None)
        chosen = [index for index in remaining if rarest is None or rarest in classes_of(targets[index])]
        for index in chosen:
            lacks = [0.0 if rarest is None else labels[rarest] for labels in wanted_labels]
            part = max(range(len(shares)), key=lambda part: (lacks[part], wanted[part], -part))
            parts[part].append(index)
            wanted[part] -= 1
            for number in classes_of(targets[index]):
                wanted_labels[part][number] -= 1
                left[number] -= 1
        used = set(chosen)
        remaining = [index for index in remaining if index not in used]
    for empty in [found for found in parts if not found]:
        largest = max(parts, key=len)
        if len(largest) > 1:
            empty.append(largest.pop())
    return parts
