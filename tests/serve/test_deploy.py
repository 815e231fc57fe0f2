"""What puts the service into production fits the service: names of metrics, probes, times, extras."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from serve.metrics import Metrics
from serve.settings import load_serve_config
from tests.waiting import TIMEOUT

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROCESS = (
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_start_time_seconds",
)
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$class": ".*", "$version": ".*"}
STRINGS = re.compile(r'"[^"]*"')
NAME = re.compile(r"\b(?:prohibit|process)_[a-z_]+|\bprohibit:[a-z_:0-9]+")
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool: apt-get install prometheus")


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
    return content


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


def series() -> set[str]:
    """The names that Prometheus will know."""
    metrics = Metrics()
    names = {"prohibit_score_bucket", "prohibit_score_sum", "prohibit_score_count", *PROCESS}
    for metric in vars(metrics).values():
        if isinstance(metric, Histogram):
            names |= {f"{metric._name}_{part}" for part in ("bucket", "sum", "count")}
        elif isinstance(metric, MetricWrapperBase):
            names.add(metric._name + ("_total" if metric._type == "counter" else ""))
    return names


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    """What the dashboard asks Prometheus, its variables filled in."""
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    for expression in asked:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        assert "$" not in expression, expression
        yield expression


def named(expression: str) -> set[str]:
    return set(NAME.findall(STRINGS.sub('""', expression)))


def test_the_dashboard_asks_for_what_there_is(dashboard: dict[str, Any]) -> None:
    asked = set().union(*map(named, expressions(dashboard)))
    assert asked <= series()
    own = {name.removesuffix("_bucket") for name in series() if not name.endswith(("_sum", "_count"))}
    assert own - {name.removesuffix("_bucket") for name in asked} <= set(PROCESS), "all is shown"
    for variable in dashboard["templating"]["list"]:
        assert named(variable.get("definition", "")) <= series()


def test_the_dashboard_is_laid_out(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_ask_for_what_there_is(rules: list[dict[str, Any]]) -> None:
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        assert named(rule["expr"]) <= series() | recorded, rule["expr"]


def test_an_alert_says_what_to_do(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        if "alert" in rule:
            assert rule["annotations"].keys() == {"summary", "description", "runbook"}
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert headings(rule["annotations"]["runbook"]), rule["annotations"]["runbook"]


def headings(anchor: str) -> bool:
    """Whether the section that `FILE#anchor` names is there, as GitHub names sections."""
    file, _, section = anchor.partition("#")
    found = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.MULTILINE)
    return section in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in found}


def test_the_slow_alert_is_at_the_budget_and_on_a_bucket(rules: list[dict[str, Any]]) -> None:
    budget = load_serve_config().service.budget_ms / 1e3
    slow = next(rule for rule in rules if rule.get("alert") == "ProhibitSlow")
    assert slow["expr"].endswith(f"> {budget:g}")
    assert budget in Metrics().request_seconds._upper_bounds


@needs_promtool
def test_alerts_fire_when_they_must() -> None:
    promtool("check", "rules", str(DEPLOY / "alerts.yaml"))
    promtool("test", "rules", "tests/serve/alerts.yaml", "tests/serve/alerts_slow.yaml")


@needs_promtool
def test_every_expression_of_the_dashboard_is_valid(dashboard: dict[str, Any], tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions(dashboard))]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_kubernetes_waits_for_the_drain(kubernetes: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    pod, container = pod_of(kubernetes)
    file = tmp_path / "serve.toml"
    file.write_text(kubernetes["ConfigMap"]["data"]["serve.toml"])
    service = load_serve_config(file).service
    assert pod["terminationGracePeriodSeconds"] >= service.drain_seconds + service.stop_seconds + 10
    readiness = container["readinessProbe"]
    assert service.drain_seconds > readiness["periodSeconds"] * readiness["failureThreshold"]
    assert service.workers == int(container["resources"]["limits"]["cpu"])


def test_kubernetes_asks_what_there_is(kubernetes: dict[str, dict[str, Any]]) -> None:
    _, container = pod_of(kubernetes)
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert container["ports"][0]["containerPort"] == int(container["args"][container["args"].index("--port") + 1])
    label = {"app": "prohibit"}
    assert kubernetes["Deployment"]["spec"]["template"]["metadata"]["labels"] == label
    assert kubernetes["Service"]["spec"]["selector"] == label
    for kind in ("PodDisruptionBudget", "Deployment"):
        assert kubernetes[kind]["spec"]["selector"] == {"matchLabels": label}
    assert kubernetes["NetworkPolicy"]["spec"]["podSelector"] == {"matchLabels": label}
    assert kubernetes["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "prohibit"
    assert set(kubernetes["Secret"]["stringData"]) == {"PROHIBIT_KEYS", "PROHIBIT_ADMIN_KEYS"}


def test_a_container_may_do_nothing_but_serve(kubernetes: dict[str, dict[str, Any]]) -> None:
    pod, container = pod_of(kubernetes)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {"/store": True, "/config": True, "/cache": False, "/tmp": False}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def pod_of(kubernetes: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def test_the_image_is_made_of_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = {extra for group in re.findall(r"'\.\[([a-z0-9,]+)\]'", text) for extra in group.split(",")}
    assert {"serve", "cpu", "cuda12"} == extras
    assert extras <= project["project"]["optional-dependencies"].keys()
    for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in line.split()), line
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert text.count(f"COPY {package} {package}\n") == 2, "into either image"
    assert (ROOT / re.findall(r"--constraint (\S+)", text)[0]).exists()
    stages = set(re.findall(r"^FROM .+ AS (\S+)$", text, re.MULTILINE))
    assert {"cpu", "cuda"} <= stages
    assert set(re.findall(r"--from=(\S+)", text)) <= stages
    assert text.index("USER 10001") < text.index("ENTRYPOINT")
    assert "://" not in text.replace("http://127.0.0.1:8000/healthz", ""), "no host but the images' names"


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
