"""Dense retrieval, text embeddings and entity linking."""

from functools import partial

from nce_bias.losses import bpr, infonce
from nce_bias.presets._convention import IN_BATCH, READ, Convention, batch_of, halves, rest
from nce_bias.presets._losses import mean_bpr
from nce_bias.presets._score_proposals import ambiguous_best
from nce_bias.presets._side_proposals import (
    below_gold_by,
    best_by,
    denoised,
    sides,
    softmax_of_best,
)
from nce_bias.proposals import model, popularity, uniform
from nce_bias.samplers import Sampler, iid, in_batch, top, without_replacement

row = partial(Convention, family="retrieval")
ROWS = [
    row(
        name="paper",
        year=2021,
        of=lambda m, temperature=1.0: (without_replacement(model(temperature), m), infonce),
        words="m distinct wrong labels drawn from the model; softmax over the candidates, no "
        "correction",
        source="Zhang & Stratos (2021), default of the public code",
        status=READ,
    ),
    row(
        name="paper_replacement",
        year=2021,
        of=lambda m, temperature=1.0: (iid(model(temperature), m), infonce),
        words="m wrong labels drawn from the model, repetitions allowed; no correction",
        source="Zhang & Stratos (2021), --replacement of the public code",
        status=READ,
    ),
    row(
        name="random_negatives",
        year=2021,
        of=lambda m: (without_replacement(uniform(), m), infonce),
        words="m distinct wrong labels, uniform; no correction",
        source="Zhang & Stratos (2021), random negatives",
    ),
    row(
        name="hardest",
        year=2021,
        of=lambda m: (top(m), infonce),
        words="the m best wrong labels, the same in every step; no correction",
        source="Zhang & Stratos (2021), the law of m distinct labels with the largest loss",
        status=READ,
    ),
    row(
        name="mixed_50",
        year=2021,
        of=lambda m: (_best_and_random(*halves(m)), infonce),
        words="half of the negatives the best wrong labels, half random and distinct",
        source="Zhang & Stratos (2021), mixed negatives",
        differs="A label in both halves counts twice here.",
    ),
    row(
        name="hard_nce",
        year=2019,
        of=lambda m, temperature=1.0: (without_replacement(model(temperature), m), infonce),
        words="m distinct wrong labels from the model as it was when the epoch began",
        source="Gillick et al. (2019), with the model of the moment",
        status=READ,
        differs="The model is older than the scores: here it is the same.",
        same_as="paper",
    ),
    row(
        name="in_batch_infonce",
        year=2018,
        of=lambda m: (iid(popularity(), m, hits="keep"), infonce),
        words="golds of m other examples, hits kept; no correction",
        source="van den Oord et al. (2018), and most code for dual encoders",
        status=READ,
        differs=IN_BATCH,
        popular=True,
    ),
    row(
        name="henderson_2017",
        year=2017,
        of=lambda m: (iid(popularity(), m, hits="keep"), infonce),
        words="golds of the batch's other rows, hits kept, no correction",
        source="Henderson et al. (2017), dot products",
        differs=IN_BATCH,
        popular=True,
        same_as="in_batch_infonce",
    ),
    row(
        name="multiple_negatives_ranking",
        year=2019,
        of=lambda m: (iid(popularity(), m, hits="keep"), infonce),
        words="golds of the batch's other rows, hits kept; softmax of 20 times the cosine",
        source="Sentence Transformers, MultipleNegativesRankingLoss with pairs; the factor is in "
        "the scores",
        status=READ,
        differs="Its sampler NO_DUPLICATES changes the law; with hard negatives all rows share "
        "them: dpr. With both directions in one softmax the gold stands there twice.",
        popular=True,
        same_as="in_batch_infonce",
    ),
    row(
        name="dpr_in_batch",
        year=2020,
        of=lambda m: (iid(popularity(), m, hits="keep"), infonce),
        words="passages of the batch's other questions, hits kept, no correction",
        source="Karpukhin et al. (2020), in-batch negatives alone",
        status=READ,
        differs="The default adds a BM25 negative to each row, which all rows of the batch share: "
        "dpr.",
        popular=True,
        same_as="in_batch_infonce",
    ),
    row(
        name="dpr",
        year=2020,
        of=lambda m: (in_batch(batch_of(m, 2), hard="mined"), infonce),
        words="golds of the m / 2 other rows and the passage mined for each, all shared by the "
        "batch, and the one mined for the row's own gold; no correction",
        source="Karpukhin et al. (2020), in-batch negatives and one of BM25; Sentence "
        "Transformers, MultipleNegativesRankingLoss with triplets; supervised SimCSE (2021)",
        status=READ,
        differs="Passages are mined for questions: here for golds, as where each has one question. "
        "Other rows are independent draws.",
        popular=True,
        sides=sides("mined"),
    ),
    row(
        name="blink",
        year=2020,
        of=lambda m, hard=10: (
            iid(popularity(), rest(m, hard, "hard"), hits="keep") + top(hard),
            infonce,
        ),
        words="golds of the batch, and the ten best wrong entities; no correction",
        source="Wu et al. (2020), BLINK, its second round",
        differs="The ten are mined once, with the model of the first round.",
        popular=True,
        on_example={"hard": 1},
    ),
    row(
        name="ance",
        year=2021,
        of=lambda m, depth=200: (without_replacement(best_by("stale", depth), m), bpr),
        words="m distinct passages of the 200 best by a stale index; a softmax of two for each",
        source="Xiong et al. (2021), ANCE",
        status=READ,
        differs="The code's default is the 500 best, five of them for each question.",
        sides=sides("stale"),
        on_example={"depth": 3},
    ),
    row(
        name="adore",
        year=2021,
        of=lambda m: (top(m), bpr),
        words="the m best of the current query encoder on a frozen index, 200 in the paper; a "
        "softmax of two for each",
        source="Zhan et al. (2021), ADORE",
        status=READ,
        differs="Pairs are weighted by rank where the code's option says so.",
    ),
    row(
        name="star",
        year=2021,
        of=lambda m: (in_batch(batch_of(m, 2), hard="mined"), mean_bpr),
        words="as dpr, with static negatives of a first model mined; a softmax of two for each, "
        "their mean",
        source="Zhan et al. (2021), STAR; jingtaozhan/DRhard",
        status=READ,
        differs="Passages are mined for questions: here for golds, as where each has one question. "
        "The mean is over the pairs that are not masked.",
        popular=True,
        sides=sides("mined"),
    ),
    row(
        name="rocketqa",
        year=2021,
        of=lambda m, hard=4, depth=50, below=0.1: (
            iid(popularity(), rest(m, hard, "hard"), hits="keep")
            + iid(denoised("stale", "teacher", depth, below), hard),
            infonce,
        ),
        words="golds of the batches on all devices, and passages among the best of an earlier "
        "model that a cross-encoder scores low; no correction",
        source="Qu et al. (2021), RocketQA; how many are mined and how deep is the user's",
        differs=IN_BATCH,
        popular=True,
        sides=sides("stale", "teacher"),
        on_example={"hard": 1, "depth": 4, "below": 0.7},
    ),
    row(
        name="ar2",
        year=2022,
        of=lambda m, depth=100: (iid(softmax_of_best("generator", depth), m), infonce),
        words="m of the best passages of the retriever, by its softmax over them; softmax of the "
        "ranker over gold and negatives",
        source="Zhang et al. (2022), AR2, the ranker's step at a frozen retriever; the depth is "
        "the user's",
        sides=sides("generator"),
        on_example={"depth": 3},
    ),
    row(
        name="simans",
        year=2022,
        of=lambda m, a=1.0, b=0.0, depth=100: (iid(ambiguous_best(a, b, depth), m), infonce),
        words="m of the best passages in proportion to exp(-a (s_y - s_gold - b)^2)",
        source="Zhou et al. (2022), SimANS; a, b and the depth are the user's",
        status=READ,
        differs="The code has two other weights, and joins draws into a set until it has m.",
        on_example={"depth": 3},
    ),
    row(
        name="nv_retriever",
        year=2024,
        of=lambda m, share=0.95: (
            without_replacement(below_gold_by("teacher", share, m), m),
            infonce,
        ),
        words="a teacher's m best passages of those below 95 % of the gold's score",
        source="Moreira et al. (2024), TopK-PercPos; Sentence Transformers, mine_hard_negatives",
        differs="Cosines are above 0 there: of a negative score 95 % is more than it.",
        sides=sides("teacher"),
    ),
]


def _best_and_random(best: int, random: int) -> Sampler:
    return top(best) + without_replacement(uniform(), random)
