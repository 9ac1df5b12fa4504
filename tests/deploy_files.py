"""The files of serving/deploy as the tests read them."""

from typing import Any

import yaml

from tests.server_models import ROOT

DEPLOY = ROOT / "serving/deploy"
DOCS = (ROOT / "docs/serving.md").read_text()
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def manifests(kind: str) -> list[Any]:
    documents = [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text())]
    return [document for document in documents if document["kind"] == kind]


DEPLOYMENT = manifests("Deployment")[0]
POD = DEPLOYMENT["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
COMPOSE = read("compose.yaml")["services"]["serving"]
ALERTS = [rule for group in read("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]
DASHBOARD = yaml.safe_load((DEPLOY / "grafana/dashboard.json").read_text())
