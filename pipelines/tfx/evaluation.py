"""What the Evaluator measures and demands."""

import tensorflow_model_analysis as tfma
from google.protobuf import text_format

from model.config import TwinConfig
from pipelines.tfx.target_scorer import BASELINE_PREDICTION, PREDICTION

CANDIDATE, BASELINE = "candidate", "baseline"
# TFMA's type for predictions that lie ready in the Examples, for either model.
_CONFIG = """
model_specs {{
  name: "{candidate}" label_key: "label" prediction_key: "{prediction}" model_type: "materialized_prediction"
}}
model_specs {{
  name: "{baseline}" label_key: "label" prediction_key: "{baseline_prediction}" model_type: "materialized_prediction"
  is_baseline: true
}}
slicing_specs {{}}
slicing_specs {{ feature_keys: "history_length" }}
metrics_specs {{
  metrics {{
    class_name: "AUC"
    config: '"num_thresholds": 10000'
    per_slice_thresholds {{
      slicing_specs {{}}
      threshold {{
        value_threshold {{ lower_bound {{ value: {min_auc} }} }}
        change_threshold {{ direction: HIGHER_IS_BETTER absolute {{ value: {max_change} }} }}
      }}
    }}
  }}
  metrics {{ class_name: "Gauc" module: "{metrics}" }}
  metrics {{ class_name: "LogLoss" module: "{metrics}" }}
  metrics {{ class_name: "TargetCount" module: "{metrics}" }}
  metrics {{ class_name: "PositiveCount" module: "{metrics}" }}
  metrics {{ class_name: "Calibration" }}
}}
"""


def evaluation_config(config: TwinConfig) -> tfma.EvalConfig:
    """AUC, GAUC, log loss and calibration of the eval targets, overall and by history length.

    A model is blessed when its AUC over all targets is at least `min_auc` and, where there is a blessed model before
    it, at most `max_auc_drop` below that one's on the same targets. Thresholds hold for the whole, not for every slice:
    a slice may be a handful of users.

    Args:
        config: `min_auc`, `max_auc_drop`.
    """
    text = _CONFIG.format(
        candidate=CANDIDATE,
        baseline=BASELINE,
        prediction=PREDICTION,
        baseline_prediction=BASELINE_PREDICTION,
        min_auc=config.min_auc,
        max_change=-config.max_auc_drop,
        metrics="pipelines.tfx.ranking_metrics",
    )
    return text_format.Parse(text, tfma.EvalConfig())
