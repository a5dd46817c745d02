"""Rows of bench/results/cuda_*.jsonl: out of what the benchmarks print, and back from the files."""

import json


def from_output(text):
    """The JSON objects among the lines of a program's output. A line cut short, of a program that was stopped, is none."""
    rows = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            rows.append(value)
    return rows


def of_bench(report):
    """The row of a report of `sieve bench --concurrency --json`. ValueError unless every request ended well."""
    asked, ended = report["parameters"], report["requests"]["by_code"]
    if ended != {"OK": asked["requests"]}:
        raise ValueError(f"of {asked['requests']} requests there ended {ended}")
    row = {"measurement": "server", "model": report["server"]["model"],
           "cache_type": report["server"]["cache_type"]}
    row |= {key: asked[key] for key in ("concurrency", "requests", "prompt_tokens", "max_tokens")}
    row["temperature"] = round(asked["temperature"], 6)  # a float there
    row["cached_prompt_tokens"] = report["requests"]["cached_prompt_tokens"]
    row |= {key: report[key] for key in ("tokens_per_second", "time_to_first_token_ms", "inter_token_ms",
                                         "end_to_end_ms")}
    return row


def append(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read(path):
    """The rows of a file, oldest first; none where there is no file."""
    return from_output(path.read_text()) if path.exists() else []


def latest(rows, gpu, /, **wanted):
    """The last row of a GPU whose name has `gpu` in it, with these values; None where there is none. `temperature` is
    that of drawing; None: nothing was drawn."""
    def value(row, key):
        return row.get("sampling", row).get(key) if key == "temperature" else row.get(key)

    fitting = [row for row in rows if gpu in row["gpu"] and all(value(row, k) == v for k, v in wanted.items())]
    return fitting[-1] if fitting else None
