"""Variants of GraSP: the greedy choice that grasp-log's scores stand for, written out weight by weight."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from Layers import layers
from Pruners.grasp import GraSPAbs, GraSPLog
from Utils import generator


def _scored(kind, seed=0):
    torch.manual_seed(seed)
    convolution = [layers.Conv2d(1, 3, 3), torch.nn.Tanh(), torch.nn.Flatten()]
    model = torch.nn.Sequential(*convolution, layers.Linear(48, 5), torch.nn.Tanh(), layers.Linear(5, 4)).double()
    batch = torch.randn(8, 1, 6, 6, dtype=torch.float64), torch.arange(8) % 4
    pruner = kind(generator.masked_parameters(model, bias=True))
    pruner.score(model, F.cross_entropy, [batch], torch.device("cpu"))
    return pruner


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_are_the_sizes_by_what_a_unit_keeps_already(seed):
    sizes, found = _scored(GraSPAbs, seed).scores, _scored(GraSPLog, seed).scores
    for name, size in sizes.items():
        if size.dim() == 1:
            assert torch.equal(found[name], size)  # of a bias each entry is a unit of its own
            continue
        for row, scores in zip(size.flatten(1).tolist(), found[name].flatten(1).tolist(), strict=True):
            for one, score in zip(row, scores, strict=True):
                kept = math.fsum(other for other in row if other >= one)
                assert score == pytest.approx(one * math.fsum(row) / kept, rel=1e-9)


def test_every_unit_worth_more_than_the_least_score_keeps_a_weight():
    pruner = _scored(GraSPLog)
    sizes = _scored(GraSPAbs).scores
    for density in (0.9, 0.5, 0.2, 0.1, 0.05):
        pruner.mask(density)
        masks = {name: mask for name, (mask, _) in zip(pruner.names, pruner.masked_parameters, strict=True)}
        least = min(pruner.scores[name][mask != 0].min() for name, mask in masks.items() if mask.any())
        for name, mask in masks.items():
            if mask.dim() > 1:
                worth = sizes[name].flatten(1).sum(1)
                kept = mask.flatten(1).sum(1)
                assert (kept[worth > least] > 0).all() and not kept[worth < least].any()
        for mask, _ in pruner.masked_parameters:
            mask.fill_(1)


def test_a_larger_weight_of_a_unit_goes_first_and_zeros_last():
    pruner = _scored(GraSPLog)
    sizes = copy.deepcopy(_scored(GraSPAbs).scores)
    for name, size in sizes.items():
        if size.dim() > 1:
            for row, scores in zip(size.flatten(1), pruner.scores[name].flatten(1), strict=True):
                assert torch.equal(row.argsort(), scores.argsort())
                assert not scores[row == 0].any()
