"""BLEU against the paper's definition in plain Python (Papineni et al. 2002), and by hand."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Utils.training.bleu import bleu, sacrebleu

EQUAL = (0.25, 0.25, 0.25, 0.25)


def _precision(outputs, references, n):
    """(clipped matches, n-grams of the output) over the corpus: each n-gram counts as often as the reference has it."""
    right = total = 0
    for output, reference in zip(outputs, references, strict=True):
        ours, theirs = (Counter(tuple(r[k : k + n]) for k in range(len(r) - n + 1)) for r in (output, reference))
        right += sum(min(count, theirs[gram]) for gram, count in ours.items())
        total += sum(ours.values())
    return right, total


def _brevity(outputs, references):
    ours, theirs = (sum(map(len, rows)) for rows in (outputs, references))
    if ours == 0:
        return 0.0
    return 1.0 if ours > theirs else math.exp(1 - theirs / ours)


def _papineni(outputs, references, weights):
    """The brevity penalty times the weighted geometric mean of the precisions, in percent (equations 1 to 3)."""
    total = 0.0
    for n, weight in enumerate(weights, 1):
        if weight > 0:
            right, all_ = _precision(outputs, references, n)
            if right == 0:
                return 0.0
            total += weight / sum(weights) * math.log(right / all_)
    return 100 * _brevity(outputs, references) * math.exp(total)


tokens = st.lists(st.sampled_from(["a", "b", "c", ",", "Über"]), max_size=9)


@st.composite
def corpora(draw):
    """Outputs and references; many outputs are a reference with a few tokens changed, so that n-grams match."""
    outputs, references = [], []
    for _ in range(draw(st.integers(1, 5))):
        reference = draw(tokens.filter(bool))
        output = draw(st.one_of(tokens, st.just(reference), st.just(reference[:-1]), st.just([*reference, "d"])))
        outputs.append(output)
        references.append(reference)
    return outputs, references


@settings(max_examples=60)
@given(corpora(), st.lists(st.floats(0.01, 10), min_size=1, max_size=5))
def test_bleu_is_papinenis(corpus, weights):
    """With any weights above zero, of any number of orders, whatever they sum to; its parts too."""
    outputs, references = corpus
    found = bleu(outputs, references, weights)
    assert found["bleu"] == pytest.approx(_papineni(outputs, references, weights), rel=1e-5)
    for n in range(1, 5):
        assert found[f"bleu_{n}"] == pytest.approx(_papineni(outputs, references, [1.0] * n), rel=1e-5)
        right, all_ = _precision(outputs, references, n)
        assert found["precisions"][n - 1] == pytest.approx(100 * right / all_ if all_ else 0.0, rel=1e-6)
    assert found["brevity_penalty"] == pytest.approx(_brevity(outputs, references), rel=1e-6)
    assert list(found) == ["bleu", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "precisions", "brevity_penalty"]
    assert len(found["precisions"]) == 4 and all(type(value) is float for value in found["precisions"])


def test_bleu_by_hand():
    """Two sentences, 11 tokens against 12. "the" is twice in an output and once in its reference: it counts once."""
    outputs = ["the cat is on the mat", "a dog runs in snow"]
    references = ["there is the cat on a mat", "a dog runs in snow"]
    found = bleu([line.split() for line in outputs], [line.split() for line in references], EQUAL)
    precisions = [10 / 11, 5 / 9, 3 / 7, 2 / 5]  # 5 + 5 words; the cat, and 4; 3 and 2 of the second sentence alone
    assert found["precisions"] == pytest.approx([100 * p for p in precisions])
    penalty = math.exp(1 - 12 / 11)
    assert found["brevity_penalty"] == pytest.approx(penalty)
    product = 1.0
    for n, p in enumerate(precisions, 1):
        product *= p
        assert found[f"bleu_{n}"] == pytest.approx(100 * penalty * product ** (1 / n), rel=1e-5)
    assert found["bleu"] == pytest.approx(found["bleu_4"])
    weighted = 100 * penalty * (10 / 11) ** 0.75 * (5 / 9) ** 0.25
    other = bleu([line.split() for line in outputs], [line.split() for line in references], (3, 1))
    assert other["bleu"] == pytest.approx(weighted, rel=1e-5)
    assert other["bleu_4"] == found["bleu_4"] and other["precisions"] == found["precisions"]


def test_a_perfect_translation_has_100():
    """If its n-grams are in it at all: of sentences below four tokens there are no 4-grams to match."""
    lines = [["a", "small", "dog", "."], ["a", "dog"]]
    found = bleu(lines, lines, EQUAL)
    assert found["bleu"] == found["bleu_1"] == found["bleu_4"] == pytest.approx(100)
    assert found["precisions"] == [100.0] * 4 and found["brevity_penalty"] == 1.0
    short = bleu(lines[1:], lines[1:], EQUAL)
    assert short["bleu_2"] == pytest.approx(100) and short["bleu"] == short["bleu_3"] == 0
    assert short["precisions"] == [100.0, 100.0, 0.0, 0.0]


def test_nothing_said_has_nothing():
    references = [["a", "dog"], ["b"]]
    expected = {"bleu": 0.0, **{f"bleu_{n}": 0.0 for n in range(1, 5)}}
    expected |= {"precisions": [0.0] * 4, "brevity_penalty": 0.0}
    assert bleu([[], []], references, EQUAL) == expected
    # One empty output among others is counted with its reference's length.
    found = bleu([["a", "dog"], []], references, (1,))
    assert found["bleu"] == pytest.approx(100 * math.exp(1 - 3 / 2), rel=1e-5)


def test_only_what_is_too_short_is_punished_for_its_length():
    reference = [["a", "dog", "runs", "home"]]
    longer = bleu([["a", "dog", "runs", "home", "now"]], reference, (1,))
    assert longer["brevity_penalty"] == 1.0 and longer["bleu"] == pytest.approx(80)
    shorter = bleu([["a", "dog"]], reference, (1,))
    assert shorter["brevity_penalty"] == pytest.approx(math.exp(-1))
    assert shorter["precisions"][0] == 100 and shorter["bleu"] == pytest.approx(100 * math.exp(-1), rel=1e-5)


def test_the_order_of_words_counts_from_two_on_and_their_case_always():
    found = bleu([["home", "runs", "dog", "A"]], [["a", "dog", "runs", "home"]], EQUAL)
    assert found["precisions"] == [75.0, 0.0, 0.0, 0.0]


def test_an_order_of_weight_zero_does_not_count():
    """Also where it has no match."""
    outputs, references = [["a", "dog", "sleeps"]], [["a", "dog", "runs", "home"]]
    for weights in ((1, 0, 0, 0), (1, 1, 0, 0), (0, 1), (0, 2, 0)):
        found = bleu(outputs, references, weights)["bleu"]
        assert found == pytest.approx(_papineni(outputs, references, weights), rel=1e-5) and found > 0


def test_an_order_of_weight_zero_that_has_matches_does_not_count():
    lines = [["a", "dog", "runs", "home", "now"]], [["a", "dog", "runs", "home", "again", "."]]
    for weights in ((1, 0, 0, 0), (0, 1, 0, 3), (0, 0, 1)):
        assert bleu(*lines, weights)["bleu"] == pytest.approx(_papineni(*lines, weights), rel=1e-5)


def test_sacrebleu_by_hand():
    """Its tokenizer takes marks off the words, whatever the case; then the same definition with N = 4.

    "The dog runs home." is five tokens; a comma inside a number stays there.
    """
    outputs = ["The dog runs home.", "It has 1,000 teeth, of course."]
    references = ["The dog runs home now.", "It has 1,000 teeth, of course!"]
    split = [
        ["The dog runs home .", "It has 1,000 teeth , of course ."],
        ["The dog runs home now .", "It has 1,000 teeth , of course !"],
    ]
    tokenised = [[line.split() for line in lines] for lines in split]
    # 5 + 7 of 13 words; 3 + 6 of 11 pairs; 2 + 5 of 9; 1 + 4 of 7; 13 tokens against 14.
    truth = 100 * math.exp(1 - 14 / 13) * (12 / 13 * 9 / 11 * 7 / 9 * 5 / 7) ** 0.25
    assert _papineni(*tokenised, EQUAL) == pytest.approx(truth)
    assert sacrebleu(outputs, references) == pytest.approx(truth, rel=1e-5)
    assert sacrebleu(references, references) == pytest.approx(100)
    assert sacrebleu(["", ""], references) == 0.0
    assert sacrebleu([line.lower() for line in outputs], references) < sacrebleu(outputs, references)
