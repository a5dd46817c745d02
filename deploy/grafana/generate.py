#!/usr/bin/env python3
"""Writes deploy/grafana/dashboards/*.json. A test holds the committed files equal to what this writes.

    python3 deploy/grafana/generate.py
"""

import argparse
import json
import pathlib
import sys

from panels import BAD, WARN, Panel, dashboard, objective

FOLDER = pathlib.Path(__file__).resolve().parent / "dashboards"
SELECTED = '{instance=~"$instance"}'


def selected(metric, matchers=""):
    """The metric of the servers that the dashboard's variable selects."""
    return f'{metric}{{{matchers}, instance=~"$instance"}}' if matchers else metric + SELECTED


def total(metric, by="", matchers=""):
    """Summed over the servers; `by` keeps a label."""
    return f"sum{f' by ({by})' if by else ''} ({selected(metric, matchers)})"


def by_device(metric, label):
    """Summed over the servers by a label and by the device that holds the cache, which the metric itself does not name."""
    device = f"""0 * {selected('sieve_memory_bytes', 'purpose="kv"')} + 1"""
    return f"sum by ({label}, device) ({selected(metric)} * on (job, instance) group_left (device) ({device}))"


def rate(metric, by="", matchers=""):
    """Increase a second, summed over the servers."""
    return f"sum{f' by ({by})' if by else ''} (rate({selected(metric, matchers)}[$__rate_interval]))"


def quantile(percent, histogram):
    return (f"histogram_quantile({percent / 100}, "
            f"sum by (le) (rate({histogram}_bucket{SELECTED}[$__rate_interval])))")


def percentiles(histogram, *percents):
    return tuple((f"p{percent}", quantile(percent, histogram)) for percent in percents)


def mean(histogram, count=None):
    return f"{rate(histogram + '_sum')} / {rate((count or histogram) + '_count')}"


def buckets(histogram):
    return (("{{le}}", rate(f"{histogram}_bucket", by="le")),)


def stat(title, unit, description, expression, **options):
    return Panel(title, unit, description, ((title, expression),), kind="stat", **options)


TTFT = "sieve_time_to_first_token_seconds"
ITL = "sieve_inter_token_latency_seconds"
OF_OBJECTIVE = ((0.8, WARN), (1, BAD))
OVERLOAD_REASONS = 'reason=~"queue_full|queued_tokens|late"'
OWN_FAULTS = 'code=~"INTERNAL|UNKNOWN|DATA_LOSS"'

REQUESTS_BY_CODE = Panel(
    "Requests by code", "reqps",
    "Requests that ended, refused ones included. RESOURCE_EXHAUSTED and UNAVAILABLE are refusals for load "
    "and while draining; INTERNAL is the server's own fault.",
    (("{{code}}", rate("sieve_requests_total", by="code") + " > 0"),), stacked=True)
QUEUE_SECONDS = Panel(
    "Time in the queue", "s",
    "From arrival until a request first takes part in a step. Grows with load before anything else does.",
    percentiles("sieve_request_queue_seconds", 50, 95, 99))
PREFIX_HITS = Panel(
    "Prefix reuse", "percentunit",
    "Requests that found a beginning of their prompt in the cache, and prompt tokens that need not be computed.",
    (("requests with a hit",
      f"{rate('sieve_prefix_cache_hits_total')} / {rate('sieve_prefix_cache_queries_total')}"),
     ("prompt tokens from the cache",
      rate("sieve_prompt_tokens_total", matchers='source="cached"')
      + f" / {rate('sieve_prompt_tokens_total')}")),
    maximum=1)
RUNNING_AND_WAITING = Panel(
    "Running and waiting", "short",
    "Sequences that take part in steps, and requests that wait for room. A request with n samples runs as n sequences.",
    (("running sequences", total("sieve_requests_running")),
     ("waiting requests", total("sieve_requests_waiting"))))

LATENCY = dashboard(
    "latency", "How long requests wait: first token, tokens, whole requests, and where that time goes.", (
        (stat("First token, median", "s", "Median of the time from arrival to the first token.",
              quantile(50, TTFT)),
         stat("First token p95 / objective", "percentunit",
              "The 95th percentile over five minutes as a part of its objective (rules/recording.yml), worst server.",
              f"max (instance:{TTFT}:p95_5m{SELECTED}) / scalar(sieve:objective_time_to_first_token_seconds)",
              thresholds=OF_OBJECTIVE),
         stat("Token gap, median", "s", "Median of the time between two tokens of a stream.",
              quantile(50, ITL)),
         stat("Token gap p99 / objective", "percentunit",
              "The 99th percentile over five minutes as a part of its objective (rules/recording.yml), worst server.",
              f"max (instance:{ITL}:p99_5m{SELECTED}) / scalar(sieve:objective_inter_token_latency_seconds)",
              thresholds=OF_OBJECTIVE),
         stat("Whole request, median", "s", "Median of the time from arrival to the end, whatever the code.",
              quantile(50, "sieve_request_seconds")),
         stat("In the queue, p99", "s", "99th percentile of the time before a request is first scheduled.",
              quantile(99, "sieve_request_queue_seconds"))),
        (Panel("Time to first token", "s",
               "From arrival to the first token: queue and prefill together. The dashed line is the objective for p95.",
               percentiles(TTFT, 50, 95, 99) + (objective("time_to_first_token_seconds"),)),
         Panel("Time between tokens", "s",
               "Between two tokens of a stream. Prompts computed in the same steps and large batches lengthen it. The dashed "
               "line is the objective for p99.",
               percentiles(ITL, 50, 95, 99) + (objective("inter_token_latency_seconds"),))),
        (Panel("Time to first token, distribution", "s",
               "First tokens a second by how long they took. Two bands: prompts found in the cache and prompts computed.",
               buckets(TTFT), kind="heatmap", minimum=None),
         Panel("Time between tokens, distribution", "s",
               "Tokens a second by the time since the one before. A second band far above is steps that also computed a prompt.",
               buckets(ITL), kind="heatmap", minimum=None)),
        (Panel("Where the time goes", "s",
               "Mean seconds of a request in the queue, until its first token, and from there to its end.",
               tuple((phase, mean(f"sieve_request_{phase}_seconds", "sieve_request_seconds"))
                     for phase in ("queue", "prefill", "decode")), stacked=True),
         QUEUE_SECONDS,
         Panel("Whole requests", "s", "From arrival to the end, whatever the code.",
               percentiles("sieve_request_seconds", 50, 95, 99))),
        (Panel("Engine step by phase", "s",
               "Mean seconds of a step: planning it, running the model, drawing tokens. All but `forward` should be next to nothing.",
               (("{{phase}}", rate("sieve_engine_step_seconds_sum", by="phase") + " / "
                 + rate("sieve_engine_step_seconds_count", by="phase")),), stacked=True),
         Panel("Prefill", "s",
               "From a request's first step to its first token. Depends on the prompt's length, less what the cache had of it.",
               percentiles("sieve_request_prefill_seconds", 50, 95, 99)),
         Panel("Decode", "s", "From a request's first token to its end.",
               percentiles("sieve_request_decode_seconds", 50, 95, 99))),
    ))

THROUGHPUT = dashboard(
    "throughput", "How much gets done: tokens, requests, batches, and what prefix reuse saves.", (
        (stat("Generated", "suffix: tokens/s", "Tokens generated a second, all servers together.",
              rate("sieve_generated_tokens_total"), decimals=0),
         stat("Prompts", "suffix: tokens/s", "Prompt tokens a second, computed and found in the cache.",
              rate("sieve_prompt_tokens_total"), decimals=0),
         stat("Requests that ended OK", "reqps", "Requests a second that ended with code OK.",
              rate("sieve_requests_total", matchers='code="OK"'), decimals=2),
         stat("Running sequences", "short", "Samples that take part in engine steps.",
              total("sieve_requests_running")),
         stat("Engine busy", "percentunit", "Part of the time in which a step is computed, mean over the servers.",
              f"avg (instance:sieve_engine_busy:ratio_rate1m{SELECTED})", maximum=1),
         stat("Servers up", "short", "Servers whose metrics port answers.",
              total("up", matchers='job="sieve"'))),
        (Panel("Tokens", "suffix: tokens/s",
               "Tokens generated, prompt tokens computed, and prompt tokens found in the cache, which cost nothing.",
               (("generated", rate("sieve_generated_tokens_total")),
                ("prompt, {{source}}", rate("sieve_prompt_tokens_total", by="source")))),
         Panel("Goodput", "suffix: tokens/s",
               "Generated tokens that belong to requests which ended OK, over five minutes, and those lost with requests "
               "that did not, by their code.",
               (("useful", f"sum (instance:sieve_goodput_tokens:rate5m{SELECTED})"),
                ("wasted, {{code}}", f"sum by (code) (rate(sieve_wasted_tokens_total{SELECTED}[5m])) > 0")),
               stacked=True)),
        (REQUESTS_BY_CODE, RUNNING_AND_WAITING),
        (Panel("Sequences in a step", "short",
               "How many samples a step serves together: the larger, the less a token costs.",
               (("mean", mean("sieve_engine_batch_sequences")),)
               + percentiles("sieve_engine_batch_sequences", 95)),
         Panel("Tokens in a step", "short",
               "Prompt tokens and generated ones in a step. The upper bound is --max_step_tokens.",
               (("mean", mean("sieve_engine_batch_tokens")),)
               + percentiles("sieve_engine_batch_tokens", 95)),
         Panel("Engine time by phase", "percentunit",
               "Part of the time in each phase of a step; what is missing to the number of servers is idle.",
               (("{{phase}}", rate("sieve_engine_step_seconds_sum", by="phase")),), stacked=True)),
        (Panel("Prompt lengths", "suffix: tokens", "Prompt tokens of requests that ended.",
               percentiles("sieve_request_prompt_tokens", 50, 95, 99)),
         Panel("Output lengths", "suffix: tokens", "Tokens generated for requests that ended, all samples together.",
               percentiles("sieve_request_output_tokens", 50, 95, 99)),
         PREFIX_HITS),
        (Panel("Measured prefill rate", "suffix: tokens/s",
               "Prompt tokens a second while prompts are computed: what estimates of waiting times rest on.",
               (("{{instance}}", f"sieve_prefill_tokens_per_second{SELECTED}"),)),
         Panel("Processor use", "suffix: cores", "Cores kept busy by a server.",
               (("{{instance}}", f"rate(process_cpu_seconds_total{SELECTED}[$__rate_interval])"),)),
         Panel("Start-up", "s", "What each phase of the last start took, slowest server.",
               (("{{phase}}", f"max by (phase) (sieve_startup_seconds{SELECTED})"),),
               kind="bargauge")),
    ))

MEMORY = dashboard(
    "memory", "Where the bytes are: cache pages by state, what a request costs, resident memory and what it is for.", (
        (stat("Cache in use", "percentunit", "Part of the cache's pages that live requests hold, fullest server.",
              f"max (sieve_kv_utilization_ratio{SELECTED})", maximum=1,
              thresholds=((0.75, WARN), (0.9, BAD))),
         stat("Cache bytes a token", "bytes", "Keys, values and summaries of one token, all layers.",
              f"max (sieve_kv_bytes_per_token{SELECTED})"),
         stat("Compression", "suffix: ×", "Bytes of a token in a dense bf16 cache to those in this one; below 1 it is larger.",
              f"min (sieve_kv_compression_ratio{SELECTED})", decimals=2),
         stat("Cache a request, median", "bytes", "Median of the most bytes that a request held at a time.",
              quantile(50, "sieve_request_kv_bytes")),
         stat("Resident memory", "bytes", "Of all selected servers together, mapped files included.",
              total("process_resident_memory_bytes")),
         stat("Preemptions", "suffix: /s", "Sequences a second that lost their pages, to be computed again.",
              rate("sieve_preemptions_total"), thresholds=((0.1, WARN), (1, BAD)), decimals=2)),
        (Panel("Cache bytes by state", "bytes",
               "Held by requests (active), kept for prefix reuse and given up when wanted (cached), unused (free).",
               tuple((state, total("sieve_kv_bytes", matchers=f'state="{state}"'))
                     for state in ("active", "cached", "free")), stacked=True),
         Panel("Cache in use", "percentunit",
               "Pages held by live requests. Close to 1, sequences lose their pages and are computed again.",
               (("{{instance}}", f"sieve_kv_utilization_ratio{SELECTED}"),), maximum=1,
               thresholds=((0.9, BAD),))),
        (Panel("Memory by purpose", "bytes",
               "What the server set aside, on the host or a GPU (cuda:0): on a GPU all of it at the start, so that these lines are "
               "level. On the host weights are mapped from files and the cache is reserved, so the sum may exceed resident memory.",
               (("{{purpose}} ({{device}})",
                 total("sieve_memory_bytes", by="device, purpose")),), stacked=True),
         Panel("Cache by device", "bytes",
               "Cache bytes by state, and whose memory they are: the host's or a GPU's (cuda:0).",
               (("{{state}} ({{device}})", by_device("sieve_kv_bytes", "state")),), stacked=True),
         Panel("Resident and accounted", "bytes",
               "Resident memory of the host, and the part of it beyond weights, cache and workspace. The second should not grow over hours.",
               (("resident, {{instance}}", f"process_resident_memory_bytes{SELECTED}"),
                ("unaccounted, {{instance}}", f"instance:sieve_memory_unaccounted_bytes{SELECTED}")))),
        (Panel("Cache bytes a request", "bytes",
               "The most that a request held at a time; a page shared by several counts in equal parts.",
               percentiles("sieve_request_kv_bytes", 50, 95, 99)),
         Panel("Attribution", "bytes",
               "Bytes that live requests account for, and bytes that are active. The two lines are one line when the books are right.",
               (("active", total("sieve_kv_bytes", matchers='state="active"')),
                ("attributed to requests", total("sieve_kv_attributed_bytes")))),
         PREFIX_HITS),
        (Panel("Density by adapter", "percentunit",
               "Part of the keys before and at a token that attention reads exactly, all layers. Without an adapter it is 1.",
               (("{{adapter}}", f"""{rate('sieve_attention_keys_total', by='adapter', matchers='read="exact"')} / """
                 + rate("sieve_attention_keys_total", by="adapter")),), maximum=1),
         Panel("Cache read by kind", "suffix: bytes/s",
               "Keys and values, the summaries by which adapters choose blocks, and the compressed entries of the other blocks. Each "
               "token counts for itself: what the tokens of a prompt share is fetched less often.",
               (("{{kind}}", rate("sieve_kv_read_bytes_total", by="kind")),), stacked=True),
         Panel("Summaries in the cache", "bytes",
               "The part of the cache's bytes that is room for what adapters keep of blocks.",
               (("{{state}}", total("sieve_kv_summary_bytes", by="state")),), stacked=True)),
        (Panel("Preemptions", "suffix: /s",
               "Sequences that lost their pages to more important ones. Answers stay the same; time is lost.",
               (("{{instance}}", f"rate(sieve_preemptions_total{SELECTED}[$__rate_interval])"),)),
         Panel("Descriptors", "short", "Open file descriptors: connections, mostly.",
               (("{{instance}}", f"process_open_fds{SELECTED}"),)),
         Panel("Threads", "short", "Threads of the process; constant but for gRPC's own.",
               (("{{instance}}", f"process_threads{SELECTED}"),))),
    ))

OVERLOAD = dashboard(
    "overload", "What happens when more comes in than is done: queue, refusals, deadlines, work lost.", (
        (stat("Waiting requests", "short", "Requests that wait for room, all priorities.",
              total("sieve_requests_waiting")),
         stat("Waiting prompt tokens", "suffix: tokens", "Prompt tokens of the requests that wait.",
              total("sieve_queued_prompt_tokens")),
         stat("Refused / objective", "percentunit",
              "Part of the requests refused for load over five minutes, as a part of its objective (rules/recording.yml), worst server.",
              f"max (instance:sieve_overload_rejections:ratio_rate5m{SELECTED}) / scalar(sieve:objective_rejection_ratio)",
              thresholds=OF_OBJECTIVE),
         stat("Out of time", "percentunit", "Part of the requests whose deadline passed, over five minutes, worst server.",
              f"max (instance:sieve_deadline_expiries:ratio_rate5m{SELECTED})",
              thresholds=((0.01, WARN), (0.05, BAD))),
         stat("Useful work", "percentunit", "Part of the tokens generated over five minutes that belong to requests which ended OK.",
              f"sum (instance:sieve_goodput_tokens:rate5m{SELECTED}) / "
              f"sum (rate(sieve_generated_tokens_total{SELECTED}[5m]))", maximum=1),
         stat("Draining servers", "short", "Servers that take no new requests because they are about to stop.",
              total("sieve_draining"), thresholds=((1, WARN),))),
        (Panel("Queue by priority", "short",
               "Waiting requests, and samples that lost their pages: it may pass --max_queued_requests by those. A priority is worth "
               "some waiting time, not the right to pass for ever.",
               tuple((priority, total("sieve_requests_waiting", matchers=f'priority="{priority}"'))
                     for priority in ("high", "normal", "low")), stacked=True),
         Panel("Prompt tokens in the queue", "suffix: tokens",
               "Waiting work in the unit that prefill is measured in. The bound is --max_queued_prompt_tokens.",
               (("{{instance}}", f"sieve_queued_prompt_tokens{SELECTED}"),))),
        (Panel("Refusals by reason", "reqps",
               "queue_full, queued_tokens and late are load; too_large, invalid and unauthenticated are the request's own; "
               "draining and loading are the server coming or going.",
               (("{{reason}}", rate("sieve_admission_rejections_total", by="reason") + " > 0"),),
               stacked=True),
         Panel("Part refused for load", "percentunit",
               "Of all requests, those turned away because of queue_full, queued_tokens or late.",
               (("refused", rate("sieve_admission_rejections_total", matchers=OVERLOAD_REASONS)
                 + f" / {rate('sieve_requests_total')}"), objective("rejection_ratio")),
               maximum=1)),
        (Panel("Deadline expiries by phase", "reqps",
               "Where requests were when their time ran out: still waiting, computing the prompt, or generating.",
               (("{{phase}}", rate("sieve_deadline_expiries_total", by="phase")),), stacked=True),
         QUEUE_SECONDS,
         Panel("Tokens wasted", "suffix: tokens/s",
               "Tokens of requests that did not end OK, counted when they ended, by their code.",
               (("{{code}}", rate("sieve_wasted_tokens_total", by="code") + " > 0"),), stacked=True)),
        (REQUESTS_BY_CODE, RUNNING_AND_WAITING),
        (Panel("Failures of the server's own", "reqps",
               "Requests that ended with INTERNAL, UNKNOWN or DATA_LOSS. Anything above 0 wants a look at the request log.",
               (("{{code}}", rate("sieve_requests_total", by="code", matchers=OWN_FAULTS)),)),
         Panel("Log lines dropped", "suffix: /s",
               "Given up because what takes the log is too slow; requests do not wait for it.",
               (("{{instance}}", f"rate(sieve_log_lines_dropped_total{SELECTED}[$__rate_interval])"),))),
    ))

DASHBOARDS = {"latency": LATENCY, "throughput": THROUGHPUT, "memory": MEMORY, "overload": OVERLOAD}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true",
                        help="write nothing; exit status 1 when a file is not what would be written")
    check = parser.parse_args().check
    old = []
    for name, board in DASHBOARDS.items():
        file, text = FOLDER / f"{name}.json", json.dumps(board, indent=2, ensure_ascii=False) + "\n"
        if not check:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            old.append(file.name)
    if old:
        sys.exit(f"not what the generator writes: {', '.join(old)}; run {__file__}")


if __name__ == "__main__":
    main()
