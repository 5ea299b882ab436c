"""Reads a page of metrics with Prometheus' own parsers: `parse.py prometheus|openmetrics < PAGE` prints JSON, a line a sample."""

import json
import sys

if sys.argv[1] == "openmetrics":
    # Strict: refuses what the specification does not allow.
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(json.dumps([family.type, sample.name, sample.labels, sample.value]))
