#!/usr/bin/env python3
"""Writes prometheus_rule.yaml, the rules of deploy/prometheus/rules as the Prometheus operator takes them. A test compares.

  python3 deploy/kubernetes/components/prometheus-operator/generate.py
"""

import pathlib
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
RULES = HERE.parents[2] / "prometheus/rules"
HEAD = """\
# Written by generate.py from deploy/prometheus/rules: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sieve-server
  labels: {app.kubernetes.io/name: sieve-server, app.kubernetes.io/part-of: sieve}
spec:
  groups:
"""


def text():
    """The file's content: the groups of every file as they are, further to the right. Expressions of several lines
    become literal blocks, for kustomize adds empty lines to folded ones."""
    groups = [file.read_text().partition("\ngroups:\n")[2].replace("expr: >\n", "expr: |\n")
              for file in sorted(RULES.glob("*.yml"))]
    return HEAD + "\n".join(textwrap.indent(group, "  ") for group in groups)


if __name__ == "__main__":
    (HERE / "prometheus_rule.yaml").write_text(text())
