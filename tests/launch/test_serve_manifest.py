"""launch/gke/serve.yaml agrees with itself and with the command line."""

import pathlib

import yaml

from recalign.cli import build_parser

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_deployment():
    deployment, service = yaml.safe_load_all((ROOT / "launch" / "gke" / "serve.yaml").read_text())
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    options = build_parser().parse_args(container["args"])
    assert (options.verb, options.host) == ("serve", "0.0.0.0")
    (port,) = container["ports"]
    assert port["containerPort"] == options.port
    (mount,) = container["volumeMounts"]
    assert options.token_file.startswith(f"{mount['mountPath']}/")
    assert {volume["name"] for volume in template["spec"]["volumes"]} == {mount["name"]}
    for probe, path in (
        ("startupProbe", "/ready"),
        ("readinessProbe", "/ready"),
        ("livenessProbe", "/health"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    # Prometheus brings no token, and asks for /metrics where no annotation names another path.
    asked = template["metadata"]["annotations"]
    assert asked == {"prometheus.io/scrape": "true", "prometheus.io/port": str(options.port)}
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    labels = template["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == deployment["spec"]["selector"]["matchLabels"]
    # A pod is given longer than the sleep before the end and the server's own patience.
    server = (ROOT / "recalign" / "serve" / "server.py").read_text()
    longest = int(server.partition("_LONGEST_END_S = ")[2].split()[0])
    sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert template["spec"]["terminationGracePeriodSeconds"] > sleep + longest
