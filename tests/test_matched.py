"""Networks for texts and images: what enters, that nothing else does, and that both kinds get the same core."""

import nets
import pytest
import torch

from Layers.bags import Bags
from Models.matched import POSITIONS, MatchedMLP, MatchedTransformer, Patches, Words
from Utils import generator

BOTH = [MatchedTransformer, MatchedMLP]
TEXT, DIGIT, PHOTO = (50,), (1, 28, 28), (3, 32, 32)


def _bags(texts):
    lengths = torch.tensor([len(text) for text in texts])
    return Bags(torch.tensor([word for text in texts for word in text], dtype=torch.int64), lengths.cumsum(0) - lengths)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("shape", [TEXT, DIGIT, PHOTO])
def test_the_core_is_the_same_for_texts_and_images(make, shape):
    """Names, shapes and, from one seed, values: all but the front end and the classifier's size."""
    cores = [nets.drawn(3, make, shape, 10).state_dict() for shape in (shape, DIGIT)]
    names = [[name for name in core if not name.startswith("front.")] for core in cores]
    assert names[0] == names[1] and all(cores[0][name].shape == cores[1][name].shape for name in names[0])
    prunable = [p.numel() for _, p in generator.masked_parameters(make(shape, 10))]
    assert sum(prunable) == 73_728 + (640 if make is MatchedTransformer else 1920)
    if make is MatchedTransformer:
        assert sum(p.numel() for _, p in generator.masked_parameters(make(shape, 10), attention="all")) == 98_944


@pytest.mark.parametrize("make", BOTH)
def test_a_text_counts_by_its_first_32_words_wherever_it_is_in_a_batch(make):
    model = nets.drawn(0, make, TEXT, 4).eval()
    draw = torch.Generator().manual_seed(0)
    texts = [torch.randint(50, (length,), generator=draw).tolist() for length in (3, 40, 32, 1, 33)]
    together = model(_bags(texts))
    for k, text in enumerate(texts):
        assert torch.allclose(model(_bags([text])), together[k], atol=1e-6)
        assert torch.equal(model(_bags([text])), model(_bags([text[:POSITIONS]])))
        other = [*text[:POSITIONS], 7, 7, 7]
        assert len(text) < POSITIONS or torch.equal(model(_bags([other])), model(_bags([text])))
        changed = [(text[0] + 1) % 50, *text[1:]]
        assert not torch.allclose(model(_bags([changed])), together[k], atol=1e-4)


@pytest.mark.parametrize("make", BOTH)
def test_a_text_without_words_is_an_example_like_others(make):
    model = nets.drawn(0, make, TEXT, 4).eval()
    texts = [[3, 1], [], [2]]
    together = model(_bags(texts))
    together.sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    for k, text in enumerate(texts):
        assert torch.allclose(model(_bags([text])), together[k], atol=1e-6) and together.isfinite().all()


@pytest.mark.parametrize("make", BOTH)
def test_the_order_of_words_counts(make):
    model = nets.drawn(0, make, TEXT, 4).eval()
    assert not torch.allclose(model(_bags([[1, 2, 3]])), model(_bags([[3, 2, 1]])), atol=1e-4)


def test_words_are_looked_up_and_zero_after_the_end():
    front = Words(50, 3)
    vectors, real = front(_bags([[4, 5], [6]]))
    assert real.sum(1).tolist() == [2, 1] and real[:, 0].all()
    assert torch.equal(vectors[0, :2], front.embedding.weight[[4, 5]]) and torch.equal(
        vectors[1, 0], front.embedding.weight[6]
    )
    assert not vectors[~real].any()


@pytest.mark.parametrize("shape", [DIGIT, PHOTO])
def test_patches_are_cut_row_by_row_and_projected(shape):
    front, image = Patches(shape[0], 5), torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    vectors, real = front(image)
    whole = torch.zeros(2, shape[0], 32, 32)
    border = (32 - shape[1]) // 2
    whole[:, :, border : border + shape[1], border : border + shape[2]] = image
    for position in range(POSITIONS):
        down, right = 4 * (position // 4), 8 * (position % 4)
        patch = whole[:, :, down : down + 4, right : right + 8].flatten(1)
        expected = patch @ front.embedding.weight.T + front.embedding.bias
        assert torch.allclose(vectors[:, position], expected, atol=1e-5)
    assert real.all() and real.shape == (2, POSITIONS)


def test_the_weights_before_training_are_drawn_by_the_seed_alone():
    for make in BOTH:
        one, other, third = (nets.drawn(seed, make, DIGIT, 10).state_dict() for seed in (1, 1, 2))
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert not torch.equal(one["fc.weight"], third["fc.weight"])


@pytest.mark.parametrize("model", ["transformer", "mlp"])
@pytest.mark.parametrize("dataset", ["agnews", "mnist"])
def test_a_run_on_texts_and_on_images(cli, model, dataset):
    """Every pruner's common flags work, the counts are exact, and two epochs beat guessing."""
    arguments = f"--model-class matched --model {model} --dataset {dataset} --pruner synflow --compression 0.5"
    outcome = cli(f"{arguments} --post-epochs 2 --train-size 1500 --train-batch-size 32")
    counts, final = outcome.result["parameters"], outcome.result["final"]
    assert counts["prunable"] == 73_728 + (64 if model == "transformer" else 192) * (4 if dataset == "agnews" else 10)
    assert counts["prunable_kept"] == counts["prunable"] - int((1 - 10**-0.5) * counts["prunable"])
    assert final["test_top1"] > (35 if dataset == "agnews" else 20)
    assert outcome.result["signal"]["before"] > 0
