r"""Score functions of text retrieval, s(x, y) of token states E of an input and F of a label.

One general form covers them:

    s(x, y) = sum_ij A_ij (E C)_i . (F D)_j

with columns of C that attend over input tokens, columns of D that attend over label tokens, and A
that says which pairs count. `Score.form` gives C, D and A, `general` evaluates them; each score
computes the same value more directly.

======= ========================================= ============================ =========
name    definition                                C, D                         A
======= ========================================= ============================ =========
`Dual`  E_1 . F_1                                 `first`, `first`             1
`Multi` max_{j <= m} E_1 . F_j                    `first`, `hard`              1
`Som`   sum_i max_j E_i . F_j                     all tokens, `hard` for each  identity
`Poly`  F_1 . P softmax(P^T F_1),                 `soft`, `first`              `soft`
        P = E softmax(E^T O)
`Joint` w . encode(x, y)_1                        `first` of the pair's states 1
======= ========================================= ============================ =========

States are stored tokens first, E `[T, H]` and F `[T', H]`, each with a boolean mask, True for a
real token. `pairs` scores candidates of each example, `against` every label.

Source: Zhang & Stratos (2021), section 4.
"""

from nce_bias.scores.attention import first, hard, soft
from nce_bias.scores.base import Form, Pooled, Score, general, real
from nce_bias.scores.batch import against, pairs
from nce_bias.scores.dual import Dual
from nce_bias.scores.joint import Joint
from nce_bias.scores.multi import Multi
from nce_bias.scores.poly import Poly
from nce_bias.scores.som import Som

#: Name in tables -> what makes the score.
SCORES = {"dual": Dual, "multi": Multi, "som": Som, "poly": Poly, "joint": Joint}

__all__ = [
    "SCORES",
    "Dual",
    "Form",
    "Joint",
    "Multi",
    "Poly",
    "Pooled",
    "Score",
    "Som",
    "against",
    "first",
    "general",
    "hard",
    "pairs",
    "real",
    "soft",
]
