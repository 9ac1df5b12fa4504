"""The part of the Kubernetes API that the manifests use: which field may stand where, and of what type.

Kubernetes refuses unknown fields only when the manifests are applied; this finds a misspelt or misplaced one before.
"""

from typing import Any

FREE: dict[str, Any] = {}
"""Names of one's own: labels, annotations, resources."""
_SELECTOR = {"matchLabels": FREE}
_META = {"name": str, "labels": FREE, "annotations": FREE}
_PROBE = {
    "exec": {"command": [str]},
    "tcpSocket": {"port": str},
    "periodSeconds": int,
    "timeoutSeconds": int,
    "failureThreshold": int,
}
_CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "ports": [{"name": str, "containerPort": int}],
    "resources": {"requests": FREE, "limits": FREE},
    "startupProbe": _PROBE,
    "readinessProbe": _PROBE,
    "livenessProbe": _PROBE,
    "lifecycle": {"preStop": {"exec": {"command": [str]}}},
    "securityContext": {
        "allowPrivilegeEscalation": bool,
        "readOnlyRootFilesystem": bool,
        "capabilities": {"drop": [str]},
    },
    "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool}],
}
_POD = {
    "metadata": _META,
    "spec": {
        "restartPolicy": str,
        "automountServiceAccountToken": bool,
        "securityContext": {
            "runAsNonRoot": bool,
            "runAsUser": int,
            "runAsGroup": int,
            "fsGroup": int,
            "seccompProfile": {"type": str},
        },
        "topologySpreadConstraints": [
            {"maxSkew": int, "topologyKey": str, "whenUnsatisfiable": str, "labelSelector": _SELECTOR}
        ],
        "terminationGracePeriodSeconds": int,
        "containers": [_CONTAINER],
        "volumes": [{"name": str, "configMap": {"name": str}, "persistentVolumeClaim": {"claimName": str}}],
    },
}
_SCALING = {"stabilizationWindowSeconds": int, "policies": [{"type": str, "value": int, "periodSeconds": int}]}
_SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("apps/v1", "Deployment"): {
        "selector": _SELECTOR,
        "strategy": {"type": str, "rollingUpdate": {"maxSurge": int, "maxUnavailable": int}},
        "minReadySeconds": int,
        "progressDeadlineSeconds": int,
        "template": _POD,
    },
    ("v1", "Service"): {
        "clusterIP": str,
        "selector": FREE,
        "ports": [{"name": str, "port": int, "targetPort": str}],
    },
    ("policy/v1", "PodDisruptionBudget"): {"maxUnavailable": int, "selector": _SELECTOR},
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {
        "scaleTargetRef": {"apiVersion": str, "kind": str, "name": str},
        "minReplicas": int,
        "maxReplicas": int,
        "metrics": [
            {"type": str, "resource": {"name": str, "target": {"type": str, "averageUtilization": int}}},
        ],
        "behavior": {"scaleUp": _SCALING, "scaleDown": _SCALING},
    },
    ("batch/v1", "CronJob"): {
        "suspend": bool,
        "schedule": str,
        "concurrencyPolicy": str,
        "startingDeadlineSeconds": int,
        "jobTemplate": {"spec": {"backoffLimit": int, "activeDeadlineSeconds": int, "template": _POD}},
    },
}


def wrong_fields(manifest: dict[str, Any]) -> list[str]:
    """What does not belong where it stands, as paths."""
    spec = _SPECS.get((manifest.get("apiVersion", ""), manifest.get("kind", "")))
    if spec is None:
        return [f"{manifest.get('apiVersion')} {manifest.get('kind')}"]
    return _wrong(manifest, {"apiVersion": str, "kind": str, "metadata": _META, "spec": spec}, manifest["kind"])


def _wrong(value: Any, expected: Any, path: str) -> list[str]:
    if isinstance(expected, type):
        return [] if type(value) is expected else [f"{path}: {value!r} is no {expected.__name__}"]
    if isinstance(expected, list):
        if not isinstance(value, list) or not value:
            return [f"{path}: {value!r} is no list"]
        return [wrong for item in value for wrong in _wrong(item, expected[0], path)]
    if not isinstance(value, dict) or not value:
        return [f"{path}: {value!r} is no object"]
    if expected is FREE:
        # A number or boolean where a string belongs is the usual mistake in YAML.
        return [wrong for name, item in value.items() for wrong in _wrong(item, str, f"{path}.{name}")]
    return [
        wrong
        for name, item in value.items()
        for wrong in (_wrong(item, expected[name], f"{path}.{name}") if name in expected else [f"{path}.{name}"])
    ]
