"""A server that is confined to a folder of models."""

import os
import shutil

from e2e.harness import request, running_server, start_that_fails


def test_a_model_in_the_root(model_file, tmp_path):
    root = tmp_path / "models"
    root.mkdir()
    shutil.copy(model_file, root / "inside.gguf")
    os.symlink(model_file, root / "outside.gguf")
    with running_server(f"--model_root={root}", "--kv_cache_mb=32",
                        model=root / "inside.gguf") as server:
        assert server.tokens(request(max_tokens=2, ignore_eos=True))
    for model in (model_file, root / "outside.gguf", root / ".." / "models" / "outside.gguf"):
        status, output = start_that_fails(f"--model_root={root}", model=model)
        assert status == 1 and "outside the model root" in output and str(root) in output, output
    status, output = start_that_fails(f"--model_root={tmp_path}/none", model=model_file)
    assert status == 1 and f"{tmp_path}/none" in output
