"""ETA: end-to-end target attention by locality-sensitive hashing (Chen et al., 2021)."""

import tensorflow as tf

from model.history import History
from model.rivals.behaviours import only_visible
from model.rivals.lsh import count_bits, differing_bits_of_items
from model.rivals.two_stage import TwoStage


class ETA(TwoStage):
    """The GSU ranks behaviours by the Hamming distance of their embeddings' signatures to the target's.

    SimHash by fixed random hyperplanes turns an embedding into m bits (ETA, Algorithm 1); the top K by Hamming distance
    replace the top K by inner product; multi-head target attention follows. Signatures are made from the current
    embeddings of all inherent features, so search and attention are trained end to end, though not through the bits.

    Differences from the paper: m = 64, the finest distance that one integer holds, at no cost over fewer bits.
    Signatures are made in the request, not kept in a table beside the embeddings, so they are never stale; features
    weigh in them by their width (`model.rivals.lsh`). The ESU is TWIN's, as for every two-stage model.
    """

    bits = 64

    def scores(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """Minus the Hamming distance."""
        del row
        differing = differing_bits_of_items(self.inherent, self.table, target, history, self.bits)
        return only_visible(-count_bits(differing), history)
