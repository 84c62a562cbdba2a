"""Kubernetes would take what the values and manifests of ``deploy/helm`` say: validated against its schemas.

The chart's own templates are not rendered here: it is in no package registry. What matters most of it, the Job that a run
becomes, is made by what makes it in a cluster, Dagster's own package, from the values that the chart hands on to it.
"""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job
from kubernetes import client

from sora_pipeline_tests.deploy.places import DEPLOY, ROOT, procfile, read_yaml

VERSIONS = ("1.30", "1.35")
MANIFESTS = ("helm/settings.yaml", "helm/secrets.example.yaml")


@pytest.fixture
def values() -> dict[str, Any]:
    return dict(read_yaml("helm/values.yaml"))


def job_of_a_run(values: dict[str, Any]) -> dict[str, Any]:
    """As Dagster's launcher makes it in a cluster."""
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"]["enabled"]
    context = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "image_pull_policy": given["imagePullPolicy"],
                "resources": given["resources"],
                "security_context": given["securityContext"],
                "env_config_maps": [each["name"] for each in deployment["envConfigMaps"]],
                "env_secrets": [each["name"] for each in deployment["envSecrets"]],
                "run_k8s_config": {snake(name): part for name, part in given["runK8sConfig"].items()},
            }
        }
    )
    config = DagsterK8sJobConfig(
        job_image="{repository}:{tag}".format(**deployment["image"]),
        dagster_home=values["global"]["dagsterHome"],
        instance_config_map="sora-dagster-instance",
        postgres_password_secret=values["global"]["postgresqlSecretName"],
    )
    job = construct_dagster_k8s_job(
        config,
        ["dagster", "api", "execute_run"],
        "dagster-run-1",
        user_defined_k8s_config=context.run_k8s_config,
        pod_name="dagster-run-1",
        component="run_worker",
    )
    return dict(client.ApiClient().sanitize_for_serialization(job))


def snake(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_becomes_a_job_that_kubernetes_takes(values: dict[str, Any], version: str) -> None:
    job = job_of_a_run(values)
    kubernetes_validate.validate(job, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == values["runLauncher"]["config"]["k8sRunLauncher"]["resources"]
    assert {"secretRef": {"name": "sora-pipeline"}} in container["envFrom"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("relative", MANIFESTS)
def test_kubernetes_takes_the_manifests(relative: str, version: str) -> None:
    for manifest in yaml.safe_load_all((DEPLOY / relative).read_text()):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_values_name_what_the_manifests_and_the_image_have(values: dict[str, Any]) -> None:
    made = {
        (each["kind"], each["metadata"]["name"])
        for relative in MANIFESTS
        for each in yaml.safe_load_all((DEPLOY / relative).read_text())
    }
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    named = {("ConfigMap", each["name"]) for each in deployment["envConfigMaps"]}
    named |= {("Secret", each["name"]) for each in deployment["envSecrets"]}
    named.add(("Secret", values["global"]["postgresqlSecretName"]))
    assert named == made
    module = deployment["dagsterApiGrpcArgs"][1]
    assert module in procfile()["code"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"DAGSTER_HOME={values['global']['dagsterHome']}" in dockerfile
    assert f"USER {deployment['podSecurityContext']['runAsUser']}" in dockerfile
    assert re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M) == [
        deployment["image"]["tag"]
    ]
