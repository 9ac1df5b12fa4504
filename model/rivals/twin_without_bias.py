"""Ablation: TWIN without the cross features' bias (TWIN, section 4.7, "TWIN w/o Bias")."""

from model.twin import TWIN


class TwinWithoutBias(TWIN):
    """TWIN whose relevance is the inner product of inherent features alone, in both stages.

        alpha_a = (K_h W_a^h)(q^T W_a^q)^T / sqrt(d_k)        (Eq. 6 without (K_c W_a^c) beta)

    The values K W^v of Eq. 7 keep the cross features: what is measured is the bias and nothing else. (The paper says
    "without using the user-item cross features in MHTA", which could also mean the values.)
    """

    bias = False
