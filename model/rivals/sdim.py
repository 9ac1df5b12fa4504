"""SDIM: sampling by multi-round hash collision (Cao et al., CIKM 2022)."""

import tensorflow as tf

from model.history import History
from model.rivals.behaviours import only_visible
from model.rivals.lsh import count_bits, differing_bits_of_items
from model.rivals.two_stage import TwoStage


class SDIM(TwoStage):
    """The GSU samples the behaviours whose hash signature equals the target's, in many rounds.

    m hash functions sign(x r_i) make m / tau rounds of tau bits each (the paper's m = 48, tau = 3); in every round the
    behaviours that agree with the target in all tau bits are sampled, so a behaviour at angle t is sampled with
    probability (1 - t / pi)^tau a round.

    Differences from the paper: its ESU averages the sampled behaviours linearly; TWIN's authors put the target
    attention of the other methods in its place "for fair comparison" (TWIN, section 4.2), and so does this. Attention
    reads K behaviours: those sampled in most rounds, which are the ones with the largest weight in SDIM's own average.
    Hyperplanes are fixed, signatures made from current embeddings of all inherent features, which weigh in them by
    their width (`model.rivals.lsh`): training is end to end.
    """

    bits = 48
    width_of_round = 3

    def scores(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """Number of rounds in which a behaviour is sampled, -inf for none."""
        del row
        differing = differing_bits_of_items(self.inherent, self.table, target, history, self.bits)
        rounds = collisions(differing, self.bits, self.width_of_round)
        return only_visible(tf.where(rounds > 0, rounds, -float("inf")), history)


def collisions(differing: tf.Tensor, bits: int, width: int) -> tf.Tensor:
    """Number of rounds of `width` bits without a difference, float32 [...], of differing bits int64 [...]."""
    folded = differing
    for step in range(1, width):
        folded = tf.bitwise.bitwise_or(folded, tf.bitwise.right_shift(differing, tf.constant(step, tf.int64)))
    first_of_round = sum(1 << at for at in range(0, bits, width))
    return bits // width - count_bits(tf.bitwise.bitwise_and(folded, tf.constant(first_of_round, tf.int64)))
