"""A server that is confined to a folder of models."""

import json
import os
import shutil
import subprocess

from e2e.harness import SERVER, request, running_server, start_that_fails


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


def test_random_weights_and_the_tokenizer_files_beside_their_config(tmp_path):
    root = tmp_path / "models"
    (root / "tiny").mkdir(parents=True)
    config = root / "tiny/shape"
    config.write_text(json.dumps({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 300}))

    def start(path):
        """With a context that the model does not have: what it prints, having found the files in the root or not."""
        done = subprocess.run(
            [SERVER, f"--random_weights={path}", f"--model_root={root}", "--listen=127.0.0.1:0", "--metrics_listen=",
             "--max_context=12345"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
        assert done.returncode == 1
        return done.stdout.decode(errors="replace")

    outside = tmp_path / "outside.json"
    shutil.copy(config, outside)
    refusal = f"outside the model root {root}"
    assert refusal in start(outside)
    link = root / "tiny/link.json"
    link.symlink_to(outside)
    assert refusal in start(link)
    link.unlink()
    tokenizer = root / "tiny/tokenizer.json"
    tokenizer.symlink_to(outside)
    output = start(config)
    assert refusal in output and str(tokenizer) in output
    tokenizer.unlink()
    assert "a context of 12345 tokens" in start(config)
