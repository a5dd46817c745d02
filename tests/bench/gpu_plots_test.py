"""The pictures of docs/gpu.md, which are made of the rows of the GPU benchmarks."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import gpu_plots  # noqa: E402  the path must be known first
import gpu_table  # noqa: E402

NO_ROWS = {"kernels": [], "model": [], "server": []}


def picture(folder, name, **files):
    gpu_plots.draw({**NO_ROWS, **files}, "H200", folder)
    return (folder / f"{name}.svg").read_text()


def texts(svg):
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def markers(svg):
    return len(re.findall(r'<use xlink:href="#m[^"]*" x="[^"]*" y="[^"]*" style="fill: ' + gpu_plots.OURS, svg))


def decode(streams, context, rate):
    return {"measurement": f"decode_{streams}_streams", "context_tokens": context, "values": [rate], "gpu": "NVIDIA H200",
            "sampling": {"temperature": 0.0, "top_p": 1.0}}


def test_the_pictures_are_those_of_the_latest_rows(tmp_path):
    gpu_plots.draw(gpu_table.read_all(ROOT / "bench/results"), "H200", tmp_path)
    for name in gpu_plots.PICTURES:
        made, kept = tmp_path / f"{name}.svg", gpu_plots.IMAGES / f"{name}.svg"
        assert made.read_bytes() == kept.read_bytes(), f"bench/gpu_plots.py draws another {kept.name}"


def test_the_document_shows_every_picture():
    shown = re.findall(r"\(images/(gpu_\w+)\.svg\)", gpu_table.DOCUMENT.read_text())
    assert sorted(shown) == sorted(gpu_plots.PICTURES)


def test_what_is_measured_is_drawn(tmp_path):
    one, two = [decode(1, 1024, 1000.0)], [decode(1, 1024, 1000.0), decode(1, 130000, 500.0)]
    legends = [texts(picture(tmp_path, "gpu_context", model=rows)) for rows in ([], one)]
    assert "Sieve" not in legends[0] and gpu_table.PEER in legends[0] and "Sieve" in legends[1]
    drawn = [markers(picture(tmp_path, "gpu_context", model=rows)) for rows in ([], one, two)]
    assert drawn[1] > drawn[0] == 0 and drawn[2] == drawn[1] + 1
    # The other picture has the first of them too.
    assert markers(picture(tmp_path, "gpu_streams", model=two)) == drawn[1]


def test_kernels_are_bars_with_their_values(tmp_path):
    row = {"measurement": "attention", "sequences": 8, "context": 131072, "tokens": 1, "of_copy": 0.9512, "gpu": "NVIDIA H200"}
    drawn = texts(picture(tmp_path, "gpu_kernels", kernels=[row]))
    assert "attention 8 × 128K" in drawn and "0.95" in drawn and "attention 32 × 32K" not in drawn
