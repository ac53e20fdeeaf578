"""Reads a run's files with what others wrote: HdrHistogram's own reader for Python, and the schema that Jenkins keeps for JUnit.

Usage: read.py RUN_DIR JUNIT_XSD; prints what agreed, ends with 1 and the difference where something doesn't.
"""
import json
import sys

import xmlschema
from hdrh.histogram import HdrHistogram

run, xsd = sys.argv[1:]
with open(f"{run}/result.json", encoding="utf-8") as file:
    (scenario,) = json.load(file)["scenarios"]

by_phase = {}
with open(f"{run}/latency.hlog", encoding="ascii") as file:
    for line in file:
        if line.startswith("Tag="):
            tag, _, _, _, encoded = line.strip().split(",")
            phase, _, _ = tag.removeprefix("Tag=").rpartition("/")
            by_phase.setdefault(phase, []).append(HdrHistogram.decode(encoded))

agreed = 0
for phase, figures in scenario["phases"].items():
    histograms = by_phase.get(phase, [])
    latency = figures["latency_ms"]
    if not histograms:
        assert latency["n"] == 0, f"{phase}: {latency['n']} events and no histogram"
        continue
    # Events that never came are in `n` and in no histogram.
    most = max(histogram.get_total_count() for histogram in histograms)
    assert most <= latency["n"], f"{phase}: {most} delays of {latency['n']} events"
    if most < latency["n"]:
        continue
    agreed += 1
    for name, percentile, needs in [("p50", 50, 1), ("p95", 95, 59), ("p99", 99, 299), ("p99_9", 99.9, 2995)]:
        ours = latency[name].get("v")
        if ours is None:
            continue
        # Of the worst sink among those whose sample carries it.
        carry = [histogram for histogram in histograms if histogram.get_total_count() >= needs]
        theirs = max(histogram.get_value_at_percentile(percentile) for histogram in carry) / 1000
        # Both round to three digits, each in its own way.
        assert abs(ours - theirs) <= 0.006 * max(ours, theirs), f"{phase} {name}: {ours} here, {theirs} there"
        agreed += 1
assert agreed > 5, f"only {agreed} figures were compared"

xmlschema.XMLSchema(xsd).validate(f"{run}/junit.xml")
print(f"{agreed} figures of latency.hlog agree, junit.xml is valid")
